"""Search by words: BM25 as it is defined, spelling, synonyms, and text that means harm."""

from __future__ import annotations

import math
import re
from html import unescape
from pathlib import Path

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.serve.items import Library
from heldout.serve.search.analysis import STOP, indexed, stem, words
from heldout.serve.search.index import FIELDS, WordIndex
from heldout.serve.search.passages import (
    Passage,
    Text,
    best,
    fetched_text,
    library_texts,
    marked,
    passages_of,
    sentences,
)
from heldout.serve.search.query import LONGEST, understood
from heldout.serve.search.synonyms import others, table
from heldout.serve.search.typos import Vocabulary, is_ending

ANY = st.text(max_size=400)


@pytest.fixture(scope="module")
def library() -> WordIndex:
    made = WordIndex()
    made.change(library_texts(Library.load()))
    return made


def small() -> list[Text]:
    """Texts short enough that the index stores their lengths exactly."""
    made = [
        ("Grokking and noise", "Noise in labels delays grokking. Labels are wrong."),
        ("Wrong labels", "A network learns wrong labels late, and noise early."),
        ("Flat minima", "Sharpness of minima and the gap, with noise."),
        ("Noise noise noise", "noise"),
    ]
    return [fetched_text(n, 1, title, body) for n, (title, body) in enumerate(made, 1)]


def brute_force(texts: list[Text], weights: dict[str, float]) -> dict[int, float]:
    """The formula in `index`, word by word."""
    counted = {t.row: {n: indexed(v)[0] for n, v in t.fields.items()} for t in texts}
    found: dict[int, float] = {}
    for term, weight in weights.items():
        for name, boost in FIELDS.items():
            mean = sum(len(c[name]) for c in counted.values()) / len(texts)
            having = sum(term in c[name] for c in counted.values())
            rarity = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            for row, fields in counted.items():
                times = fields[name].count(term)
                if times:
                    length = 1.2 * (0.25 + 0.75 * len(fields[name]) / mean)
                    part = rarity * 2.2 * times / (times + length)
                    found[row] = found.get(row, 0.0) + weight * boost * part
    return found


@pytest.mark.parametrize(
    "weights", [{"nois": 1.0}, {"noiz": 1.0, "label": 0.5}, {"label": 2.0, "grok": 1.0, "x": 1.0}]
)
def test_scores_are_those_of_the_formula(weights: dict[str, float]) -> None:
    index = WordIndex()
    index.change(small())
    found = {h.row: h.score for h in index.find(weights, 10)}
    assert found == pytest.approx(brute_force(small(), weights), rel=1e-4)


def test_rarity_is_the_formula_s_and_of_a_word_in_no_paper_the_largest(library: WordIndex) -> None:
    index = WordIndex()
    index.change(small())
    assert index.rarity("minima") == pytest.approx(math.log(1 + 3.5 / 1.5))
    assert index.rarity("absent") == pytest.approx(math.log(1 + 4.5 / 0.5))
    assert library.rarity("model") < library.rarity("grok") < library.rarity("absent")


def test_only_one_kind_of_paper_where_it_is_asked_for(library: WordIndex) -> None:
    index = WordIndex()
    index.change([*library_texts(Library.load()), *small()])
    weights = {"label": 1.0}
    assert {h.row > 0 for h in index.find(weights, 99)} == {True, False}
    assert all(h.row < 0 for h in index.find(weights, 99, library=True))
    assert {h.row for h in index.find(weights, 99, library=False)} == {1, 2}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("groking", "grokking"), ("grokkign", "grokking"), ("memorrization", "memorization"),
        ("influense", "influence"), ("adverserial", "adversarial"), ("cohernce", "coherence"),
        ("compositonal", "compositional"), ("spetcrum", "spectrum"),
    ],
)  # fmt: skip
def test_a_slip_finds_the_word_that_was_meant(library: WordIndex, typed: str, meant: str) -> None:
    asked = understood(typed, library, Vocabulary.of(library.vocabulary()))
    assert stem(meant) in asked.weights and (asked.meant or is_ending(typed, meant))
    right = library.find(understood(meant, library, Vocabulary.of({})).weights, 3)
    assert library.find(asked.weights, 1)[0].row in {h.row for h in right}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("memorising", "memorization"), ("generalisation", "generalize"), ("labelled", "labeling"),
        ("behaviour", "behaviors"), ("neighbouring", "neighbors"), ("analyse", "analyzing"),
        ("Grokking", "grokked"), ("centres", "center"), ("forgotten", "forgets"),
        ("modelling", "models"), ("naïve", "naive"), ("optimiser", "optimizer"),
    ],
)  # fmt: skip
def test_one_word_in_two_spellings_has_one_stem(one: str, other: str) -> None:
    assert [w.stem for w in words(one)] == [w.stem for w in words(other)]


def test_a_known_word_is_never_corrected(library: WordIndex) -> None:
    vocabulary = Vocabulary.of(library.vocabulary())
    for known in ("grokking", "labels", "EL2N", "robots", "the"):
        assert understood(known, library, vocabulary).meant == ""
    assert "label" not in understood("table", library, vocabulary).weights or vocabulary.near(
        "table"
    )


def test_the_nearer_word_comes_first_and_of_equally_near_ones_the_frequent() -> None:
    made = Vocabulary.of({"coherence": 2, "coherent": 50, "inherence": 900, "cohort": 9})
    assert made.near("coherense")[0] == ("coherence", 1)
    assert Vocabulary.of({"labels": 40, "lapels": 1}).near("labesl")[0] == ("labels", 1)
    assert made.near("zzzz") == [] and made.near("co") == [] and made.near("x1y2") == []


def test_acronyms_and_what_they_stand_for_are_the_same_both_ways() -> None:
    ood = ("ood",)
    for phrase, found in table().items():
        assert phrase not in found and all(phrase in table()[other] for other in found)
    assert ("out", "of", "distribut") in table()[ood]
    assert not others(["nothing", "of", "the", "kind"])


def test_every_acronym_of_the_field_is_known() -> None:
    for name in ("OOD", "EL2N", "NTK", "SGD", "MoE", "LoRA", "RLHF", "PDE", "CNN", "LLM"):
        assert (next(words(name)).stem,) in table(), name


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", ":", "*", "AND", "OR NOT", "title:grokking", "grok*", "a AND (b", "\\", "\\\\\"",
        "<script>alert(1)</script>", "%", "_", "';DROP TABLE fetched;--", "\0", "+-~^[]{}|&&||!()",
        "NEAR(a b)", "/regex/", "^2", "~1", "𝔤𝔯𝔬𝔨𝔨𝔦𝔫𝔤", "ﬁne", "😀", "\ud800", "a" * 5000,
        "é" * 300, "בדיקה", "测试 泛化", "\u202egnikkorg", " ", "",
    ],
)  # fmt: skip
def test_no_text_is_syntax(library: WordIndex, query: str) -> None:
    asked = understood(query, library, Vocabulary.of(library.vocabulary()))
    assert len(asked.text) <= LONGEST
    library.find(asked.weights, 5)


def test_operators_are_words_like_others(library: WordIndex) -> None:
    none = Vocabulary.of({})
    plain = understood("grokking label", library, none).weights
    for query in (
        '"grokking label"',
        "grokking AND label",
        "+grokking -label",
        "grokking* label~2",
    ):
        found = understood(query, library, none).weights
        assert {k: v for k, v in found.items() if not k.isdigit()} == plain


@given(ANY)
@settings(max_examples=150, deadline=None)
def test_any_text_can_be_asked_and_indexed(text: str) -> None:
    stems, plains = indexed(text)
    assert (stems, plains) == ([w.stem for w in words(text)], [w.plain for w in words(text)])
    assert all(s and not re.search(r"\s", s) for s in stems + plains)


@given(
    st.text(alphabet="aB<>&\"'- élabels1.ﬁ’", max_size=80),
    st.sets(st.sampled_from(["a", "b", "label"])),
)
@settings(max_examples=200, deadline=None)
def test_marking_keeps_every_letter_and_never_breaks_html(text: str, stems: set[str]) -> None:
    pieces = marked(text, stems)
    assert "".join(piece for piece, _ in pieces) == text
    template = jinja2.Environment(autoescape=True).from_string(
        "{% for t, m in pieces %}{% if m %}<mark>{{ t }}</mark>{% else %}{{ t }}{% endif %}"
        "{% endfor %}"
    )
    html = template.render(pieces=pieces)
    rest = html.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in rest and ">" not in rest and unescape(rest) == text
    assert html.count("<mark>") == html.count("</mark>") == sum(m for _, m in pieces)


def test_what_is_marked_are_whole_words() -> None:
    found = marked("Labels label labelling; unlabeled StableMax.", {stem("label"), "stabl"})
    assert [t for t, m in found if m] == ["Labels", "label", "labelling", "Stable"]


def test_passages_of_a_paper_are_what_its_page_says() -> None:
    found = passages_of("data_diet")
    assert found[0].kind == "title" and {p.kind for p in found} >= {"summary", "claim", "setting"}
    assert all(p.claim for p in found if p.kind in ("claim", "setting"))
    assert len({(p.kind, p.text) for p in found}) == len(found)


def test_sentences_lose_nothing_and_are_short() -> None:
    text = "One. Two (e.g. three) and 3.5 more. " + "word " * 200
    found = sentences(text)
    assert " ".join(found).split() == text.split() and max(map(len, found)) <= 320
    assert sentences("") == [] and len(sentences("x" * 1000)) == 4


def test_the_passage_with_most_of_the_query_is_shown() -> None:
    passages = [
        Passage("title", "On labels"), Passage("summary", "Nothing here."),
        Passage("summary", "Wrong labels are found."),
        Passage("setting", "Wrong labels are found."),
    ]  # fmt: skip
    weights = {"wrong": 1.0, "label": 1.0}
    assert best(passages, weights) == 2
    assert best(passages, {"absent": 1.0}) == 1
    assert best(passages, {"absent": 1.0}, [0.0, 0.6, 0.1, 0.1]) == 1
    assert best(passages[:1], {}) == 0


def test_stop_words_alone_find_nothing_by_words(library: WordIndex) -> None:
    asked = understood("what is this and how does it do that", library, Vocabulary.of({}))
    assert asked.weights == {} and library.find(asked.weights, 5) == []
    assert {w.plain for w in words("what is it")} <= STOP


def test_an_index_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    first = WordIndex(tmp_path)
    first.change(small())
    del first
    for path in (tmp_path / "words-1").glob("*"):
        path.write_bytes(b"garbled")
    again = WordIndex(tmp_path)
    again.change(small())
    assert again.papers == 4 and again.find({"minima": 1.0}, 1)[0].row == 3
