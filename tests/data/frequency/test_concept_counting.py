"""Counts against brute force on tricky captions, and what is refused."""

from __future__ import annotations

import random
import re
import unicodedata

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.data.frequency.count import caption_concepts, count_concepts
from heldout.data.frequency.matching import compile_concepts
from heldout.data.frequency.words import forms, singular, words

CONCEPTS = {
    "dog": ["puppy", "hound"], "hot dog": [], "hot-dog stand": [], "woman": [], "berry": [],
    "black_footed albatross": [], "Café": [], "straße": [], "東京": ["Tokyo"], "strawberry": [],
    "field of mice": [], "glass": [], "x": [], "antidisestablishmentarianism": [],
    "antidisestablishmentarianist": [], "hindi हिन्दी": [],
}  # fmt: skip
PIECES = [
    "dog", "Dogs", "DOG'S", "puppies", "hot", "hot dogs", "HOT-DOG", "stands", "stand", "women",
    "Woman", "berries", "strawberries", "black", "Black-Footed", "footed", "albatrosses", "café",
    "cafe\u0301", "ＣＡＦÉ", "CAFÉS", "STRASSE", "straße", "東京", "東京都", "tokyo",
    "field of mouse",
    "fields", "of", "mice", "glass", "glasses", "x", "xs", "antidisestablishmentarianism",
    "antidisestablishmentarianists", "do\u00adg", "d\u200bog", "ﬁeld", "hindi", "हिन्दी", "hotdog",
    "dog\u0301", "underdog", "१", "dog2", "", "ＤＯＧ", "ǆ", "İ",
]  # fmt: skip
GLUE = [
    " ",
    "  ",
    "-",
    "_",
    ", ",
    ". ",
    "/",
    "\u00a0",
    "\n",
    "—",
    "'",
    "\u3000",
    "",
    "🐶",
    "(",
    ")",
]


UNSPACED = (
    "CJK ", "IDEOGRAPHIC ", "VERTICAL KANA", "VERTICAL IDEO", "HANGZHOU", "MASU MARK",
    "HIRAGANA", "KATAKANA",
    "HENTAIGANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ",
)  # fmt: skip


def spaced(text: str) -> str:
    """Blanks around letters, with their marks, of scripts without any, told by their names."""
    parts, inside = [""], False
    for char in text:
        named = unicodedata.name(char, "").startswith(UNSPACED)
        kind = unicodedata.category(char)
        if named and (kind[0] == "L" or kind == "Nl"):
            parts.append(f" {char}")
            inside = True
        elif inside and kind[0] == "M" and (named or unicodedata.combining(char)):
            parts[-1] += char
        else:
            parts.append(f" {char}" if inside else char)
            inside = False
    return "".join(parts)


def selects(char: str) -> bool:
    return unicodedata.name(char, "").startswith("VARIATION SELECTOR")


def brute_words(text: str) -> list[str]:
    text = text.replace("\u200b", " ")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" and not selects(c))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    runs = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
    return spaced(runs).split()


def brute(caption: str, concepts: dict[str, list[str]], anywhere: bool = False) -> set[str]:
    """Another road to the same definition: regular expressions on lemmatized, folded text."""
    lemmas = [singular(w) for w in brute_words(caption)]
    line, found = f" {' '.join(lemmas)} ", set()
    for name, others in concepts.items():
        for form in (name, *others):
            wanted = [singular(w) for w in brute_words(form)]
            if anywhere:
                hit = set(wanted) <= set(lemmas)
            else:
                hit = re.search(f" {re.escape(' '.join(wanted))} ", line) is not None
            found |= {name} if hit else set()
    return found


def captions(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        "".join(rng.choice(PIECES) + rng.choice(GLUE) for _ in range(rng.randrange(9)))
        for _ in range(n)
    ]


@pytest.mark.parametrize("match", ["phrase", "words"])
def test_equal_to_brute_force(match: str) -> None:
    texts = captions(3000, 0)
    expected = [brute(t, CONCEPTS, match == "words") for t in texts]
    pairs = caption_concepts(texts, CONCEPTS, match=match)
    names, got = list(CONCEPTS), [set[str]() for _ in texts]
    for row, c in pairs.tolist():
        got[row].add(names[c])
    assert got == expected
    counts = count_concepts(texts, CONCEPTS, match=match)
    assert counts.by_name() == {n: sum(n in e for e in expected) for n in CONCEPTS}
    assert counts.matched == sum(map(bool, expected)) and len(pairs) == counts.counts.sum()
    assert sum(counts.counts > 0) >= 14  # the captions do ask something


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6), st.lists(st.sampled_from(PIECES), max_size=6))
def test_any_text_and_any_split_into_batches(texts: list[str], pieces: list[str]) -> None:
    texts = [t for t in texts if not any(0xD800 <= ord(c) < 0xE000 for c in t)]
    texts += [" ".join(pieces), "".join(pieces)]
    whole = count_concepts(texts, CONCEPTS)
    assert whole.by_name() == {n: sum(n in brute(t, CONCEPTS) for t in texts) for n in CONCEPTS}
    single = [count_concepts([t], CONCEPTS).counts for t in texts]
    assert (np.sum(single, axis=0) == whole.counts).all()


NO_BLANKS = {
    "猫": [], "東京": [], "大阪城": ["おおさかじょう"], "ネコ": ["ねこ"], "แมว": [], "น้ำ": [],
    "ที": [], "ແມວ": [], "ឆ្មា": [], "ကြောင်": [], "T恤": [], "dog": [], "가방": [], "हिन्दी": [],
}  # fmt: skip
LETTERS = [
    "猫", "東", "京", "東京", "大阪城", "ネコ", "ﾈｺ", "ね", "こ", "が",
    "か\u3099", "ｶﾞ", "ー", "แมว", "แม", "ว", "น้ำ", "น\u0e33", "น",
    "ที", "ท", "ิ", "ี", "่", "ແມວ", "ຳ", "ឆ្មា", "ឆ", "\u17d2",
    "ကြောင်", "က", "်", "t", "T恤", "dog", "s", "1", "๒", "가방",
    "हिन्दी", "ि", "\u0301", "\u200b", "\u200c", "\u200d", "\u2060",
    "\U000e0100", "\ufe00", " ", "-", "・", "。", "\u20dd", "〇", "々",
    "𠮷", "\uf900", "\n",
]  # fmt: skip


@pytest.mark.parametrize(
    ("caption", "found"),
    [("一只猫在桌上", ["猫"]), ("แมวน่ารัก", ["แมว"]), ("東京都の大阪城", ["東京", "大阪城"]),
     ("クロネコ", ["ネコ"]), ("ｸﾛﾈｺ", ["ネコ"]), ("新T恤dog", ["T恤", "dog"]), ("น้ำแข็ง", ["น้ำ"]),
     ("ที่นี่", []), ("東\U000e0100京", ["東京"]), ("dogs猫", ["猫", "dog"]), ("京東", []),
     ("ແມວນ້ອຍ", ["ແມວ"]), ("ឆ្មាពីរ", ["ឆ្មា"]), ("ကြောင်လေး", ["ကြောင်"]), ("hot\u200bdog", ["dog"]),
     ("do\u200bg", []), ("do\u2060g", ["dog"]), ("do\u200cg", ["dog"]), ("do\u200dg", ["dog"])],
)  # fmt: skip
def test_scripts_without_blanks(caption: str, found: list[str]) -> None:
    wanted = {name: int(name in found) for name in NO_BLANKS}
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        names = [unicodedata.normalize(form, name) for name in NO_BLANKS]
        synonyms = dict(zip(names, NO_BLANKS.values(), strict=True))
        counts = count_concepts([unicodedata.normalize(form, caption)], synonyms).counts
        assert counts.tolist() == list(wanted.values()), form


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from(LETTERS), max_size=12).map("".join), max_size=6))
@pytest.mark.parametrize("match", ["phrase", "words"])
def test_mixed_scripts_against_brute_force(match: str, texts: list[str]) -> None:
    found = count_concepts(texts, NO_BLANKS, match=match).by_name()
    wanted = [brute(text, NO_BLANKS, match == "words") for text in texts]
    assert found == {name: sum(name in w for w in wanted) for name in NO_BLANKS}


def test_every_character_between_letters() -> None:
    codes = [c for c in range(0x32000) if not 0xD800 <= c < 0xE000 and chr(c).isalnum()]
    texts = [f"q{chr(c)}q" for c in codes]
    wrong = [ascii(text) for text in texts if words(text) != brute_words(text)]
    assert len(codes) > 100_000 and wrong == []


def test_unicode_forms_are_one() -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        texts = [unicodedata.normalize(form, t) for t in ("Zwei CAFÉS", "ＣＡＦÉ", "straße")]
        assert count_concepts(texts, ["café", "STRASSE"]).counts.tolist() == [2, 1]


def test_words_that_share_a_key_are_told_apart() -> None:
    # Twelve bytes whose key (rotation by a byte) equals that of others: swap bytes 8 apart.
    one, other = "abcdefghXbcY", "Xbcdefghabc"
    assert one != other
    a, b = "pqrstuvwxyzk", "xyzktuvwpqrs"
    found = count_concepts([a, b, b], [a, "zebra"])
    assert found.counts.tolist() == [1, 0]
    assert count_concepts([a, b, b], [a, b]).counts.tolist() == [1, 2]


def test_lemmas_and_their_inverse() -> None:
    everyday = "cats boxes berries women men glass glasses houses potatoes shoes series leaves bus"
    assert [singular(w) for w in everyday.split()] == (
        [
            "cat",
            "box",
            "berry",
            "woman",
            "man",
            "glass",
            "glass",
            "house",
            "potato",
            "shoe",
            "series",
            "leaf",
            "bus",
        ]
    )
    stems = ["cat", "box", "berry", "woman", "glass", "leaf", "movie", "specimen", "a", "ty", "an"]
    for stem in stems:
        for w in (stem, stem + "s", stem + "es", stem[:-1] + "ies", stem[:-2] + "en"):
            assert w == "" or w in forms(singular(w))
    assert count_concepts(["dogs"], ["dog"], lemmatize=False).counts.tolist() == [0]
    own = count_concepts(["zwei Hunde"], ["Hund"], lemmas={"Hunde": "Hund"})
    assert own.counts.tolist() == [1]


def test_arrow_polars_and_lists_agree() -> None:
    texts: list[str | None] = [*captions(300, 1), None, ""]
    wanted = count_concepts(texts, CONCEPTS)
    assert wanted.missing == 1 and wanted.captions == 301
    column = pa.array(texts)
    for other in (
        column, column.cast(pa.large_string()), column.dictionary_encode(), pl.Series(texts),
        pa.chunked_array([column[:100], column[100:]]),
    ):  # fmt: skip
        found = count_concepts(other, CONCEPTS)
        assert (found.counts == wanted.counts).all() and found.missing == 1
    part = count_concepts(column[50:120], CONCEPTS)
    assert (part.counts == count_concepts(texts[50:120], CONCEPTS).counts).all()
    assert part.data_bytes == sum(len((t or "").encode()) for t in texts[50:120])


def test_refusals() -> None:
    for concepts, said in (
        ([], "concepts"), ("dog", "concepts"), (["dog", "dog"], "twice"),
        (["dog", "!?"], "no letter"),
        ({"dog": "hound"}, "string"), ([1], "type int"), (["a" * 300], "bytes"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            compile_concepts(concepts)  # type: ignore[arg-type]
    for texts in ("one caption", [1], ["\ud800"], pa.array([1, 2]), 7):
        with pytest.raises(InputError):
            count_concepts(texts, ["dog"])
    with pytest.raises(InputError, match="matcher"):
        count_concepts(["dog"], compile_concepts(["dog"]), lemmatize=False)


def test_other_settings_are_another_matcher() -> None:
    marks = {
        compile_concepts(["dog"]).fingerprint,
        compile_concepts(["dog"], lemmatize=False).fingerprint,
        compile_concepts(["dog"], match="words").fingerprint,
        compile_concepts({"dog": ["hound"]}).fingerprint,
    }
    assert len(marks) == 4
    assert compile_concepts(["dog"]).fingerprint == compile_concepts(["dog"]).fingerprint
