"""Folding by units against folding whole strings: all of Unicode, and any text."""

from __future__ import annotations

import threading
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.data.frequency import folding
from heldout.data.frequency.count import count_concepts
from heldout.data.frequency.folding import begins_anew, fold_rows
from heldout.data.frequency.words import fold

# What is glued to what is before it, what composes, what folds to more or to nothing.
JOINING = [
    "e", "E", "<", " ", "\n", "\u0301", "\u0338", "\u0345", "\u0323", "\u1100", "\u1161", "\u11a8",
    "\u3131", "\u314f", "ｶ", "\uff9e", "が", "\u3099", "\u00ad", "\u200d", "\ufe0f", "ß", "İ", "ǆ",
    "ﬁ", "ﷺ", "ᾳ", "α", "\u0f71", "\u0f72", "क", "\u093c", "\u09c7", "\u09be", "🐶", "—", "東", "ΐ",
    "ก", "\u0e34", "\u0e33", "\u0eb3", "\u17d2", "\u1025", "\u102e", "\u200b", "\U000e0100", "ー",
]  # fmt: skip


def folded(texts: list[str], rows: list[int] | None = None) -> list[str]:
    coded = [t.encode() for t in texts]
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in coded])]).astype(np.int64)
    chosen = np.array(range(len(texts)) if rows is None else rows, np.int64)
    out, at = fold_rows(np.frombuffer(b"".join(coded), np.uint8), offsets, chosen)
    return [out[at[i] : at[i + 1]].tobytes().decode() for i in range(len(chosen))]


def whole(text: str) -> str:
    return fold(text.replace("\n", " "))


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("e", "\u0301"), ("\u1100", "\u1161"), ("ก", "\u0e34")]
)
def test_every_character_in_its_company(before: str, after: str) -> None:
    codes = [c for c in range(0x1F000) if not (0xD800 <= c < 0xE000 or 0x3400 <= c < 0xA000)]
    texts = [before + chr(c) + after for c in codes if not 0xAC10 <= c < 0xD790]
    wrong = [ascii(t) for t, got in zip(texts, folded(texts), strict=True) if got != whole(t)]
    assert len(texts) > 60_000 and wrong == []


def test_what_marks_make_of_a_letter_begins_anew_too() -> None:
    # Else a unit could join the one before it once both are folded.
    composed = [chr(c) for c in range(0x20000) if unicodedata.decomposition(chr(c))]
    made = [c for c in composed if begins_anew(unicodedata.normalize("NFD", c)[0])]
    assert len(made) > 5000
    assert [c for c in made if not begins_anew(unicodedata.normalize("NFKC", c))] == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(JOINING), max_size=20),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_any_text(texts: list[str]) -> None:
    assert folded(texts) == [whole(t) for t in texts]
    assert folded(texts, [len(texts) - 1]) == [whole(texts[-1])]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["Café", "ｄog", "가방", "ΐ", "हिन्दी", "a", "—"]), max_size=8))
def test_equal_counts_in_every_form(pieces: list[str]) -> None:
    concepts, text = ["café", "dog", "가방", "हिन्दी", "ΐ"], " ".join(pieces)
    plain = [sum(c in whole(text).split() for c in (whole(name),)) for name in concepts]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        text_in = unicodedata.normalize(form, text)
        assert count_concepts([text_in], concepts).counts.tolist() == plain, form


def test_long_captions_and_many_units(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "ﷺ" * 3000 + "e" + "\u0301\u0323" * 500 + "東京 " * 2000
    assert folded([long, "ü"]) == [whole(long), "ü"]
    many = "".join(
        chr(97 + i % 26) + chr(0x300 + i // 26 % 60) * (1 + i // 1560) for i in range(6000)
    )
    monkeypatch.setattr(folding, "_ASKED", 64)
    monkeypatch.setattr(folding, "_KEPT", 100)
    for _ in range(2):
        assert folded([many]) == [whole(many)]


def test_threads_do_not_meet() -> None:
    texts = [chr(0x4E00 + i) + "é" + chr(0x61 + i % 26) + "\u0302" for i in range(3000)]
    found: list[bool] = []
    run = [
        threading.Thread(target=lambda: found.append(folded(texts) == [whole(t) for t in texts]))
        for _ in range(4)
    ]
    for one in run:
        one.start()
    for one in run:
        one.join()
    assert found == [True] * 4


@pytest.mark.parametrize(
    "wrong",
    [b"\xff", b"caf\xe9", b"\xc3", b"a\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80",
     b"\xe0\x80\x80", b"\xf4\x90\x80\x80", b"e\xcc\x81\xcc"],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused(wrong: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        wrong.decode()
    column = pa.array([b"dog", wrong], pa.binary()).view(pa.string())
    with pytest.raises(InputError, match="caption 1"):
        count_concepts(column, ["dog"])
