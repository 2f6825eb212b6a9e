"""Text as words that can be compared: without capitals, accents, endings and spelling customs.

The same steps are taken for papers and for queries, so a rule may map words to something that is
no word ("noise" to "noize") as long as it does so everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

_WORD = re.compile(r"[^\W_]+")
_CHUNK = re.compile(r"[^\W_]+(?:[-‐‑–/'’][^\W_]+)*")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_JOINS = "-‐‑–/"
_LONGEST = 40
"""Characters of a word that count; nothing that is longer is a word."""

_STOP = """
a about after again against all also am an and any are as at be because been before being
between both but by can cannot could did do does doing done during each either else ever
every few for from further get gets got had has have having he her here hers him his how
however i if in into is it its itself just let like made make makes many may me might more
most much must my need no nor not now of off on once one only onto or other our ours out over
own per please rather same shall she should since so some still such than that the their
theirs them then there these they this those through to too under until up upon us use used
uses using very via want was way we well were what when where whether which while who whom
whose why will with within without would yet you your yours s t m d re ve ll
"""
STOP = frozenset(_STOP.split())
"""Words that say nothing of what a text is about."""

_CUSTOMS = (
    (re.compile(r"is(?=(?:e|ed|es|er|ers|ing|ation|ations|able)$)"), "iz"),
    (re.compile(r"ys(?=(?:e|ed|er|ers|ing)$)"), "yz"),
    (re.compile(r"(?<=\w{3})our(?=(?:s|ed|ing|al|able|ite|ites|hood|hoods|less|ful)?$)"), "or"),
    (
        re.compile(
            r"^(\w*(?:label|model|cancel|travel|signal|channel|level|equal|initial))l"
            r"(?=(?:ed|ing|er|ers)$)"
        ),
        r"\1",
    ),
    (re.compile(r"(?<=\w{3})tre(?=s?$)"), "ter"),
    (re.compile(r"(?<=\w{3})ogue(?=s?$)"), "og"),
    (re.compile(r"(?<=def|off|lic)en[cs]e(?=s?$)"), "ense"),
)
_IRREGULAR = {
    "forgot": "forget", "forgotten": "forget", "learnt": "learn", "grokked": "grok",
    "grokking": "grok", "groks": "grok", "forgetting": "forget", "held": "hold",
    "broken": "break", "shown": "show", "known": "know", "seen": "see", "faked": "fake",
    "worse": "bad", "better": "good",
    "llms": "llm", "cnns": "cnn", "pdes": "pde", "axes": "axi", "indices": "index",
    "noisy": "noiz", "forgery": "forg", "vertices": "vertex", "matrices": "matrix",
}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word where it stands in a text."""

    start: int
    """First character."""
    end: int
    """One behind the last."""
    plain: str
    """In small letters, without accents."""
    stem: str
    """Without its ending; equal stems match."""
    extra: bool = False
    """Another reading of words that are given besides: "fewshot" for "few-shot", "stable" and
    "max" for "StableMax"."""


def words(text: str) -> Iterator[Word]:
    """Give the words of a text; joined ones ("few-shot", "StableMax") whole and in parts.

    >>> [w.stem for w in words("Memorising few-shot labels")]
    ['memor', 'few', 'shot', 'fewshot', 'label']
    >>> [w.stem for w in words("<b>Généralisation</b>")][1]
    'general'
    """
    found = list(_WORD.finditer(text))
    at = 0
    while at < len(found):
        last = at
        while (
            last + 1 < len(found)
            and last - at < 3
            and found[last + 1].start() == found[last].end() + 1
            and text[found[last].end()] in _JOINS
        ):
            last += 1
        for match in found[at : last + 1]:
            yield from _of(match.start(), match.group())
        if last > at:
            start, end = found[at].start(), found[last].end()
            joined = "".join(plain(m.group()) for m in found[at : last + 1])
            yield Word(start, end, joined, stem(joined), extra=True)
        at = last + 1


def _of(start: int, token: str) -> Iterator[Word]:
    humps = _HUMP.split(token) if not token.islower() else [token]
    if len(humps) > 1:
        at = start
        for hump in humps:
            small = plain(hump)
            if len(small) > 2:  # "GraNd" and "CoOp" have no words in them
                yield Word(at, at + len(hump), small, stem(small), extra=True)
            at += len(hump)
    small = plain(token)
    if small:
        yield Word(start, start + len(token), small, stem(small))


def indexed(text: str) -> tuple[list[str], list[str]]:
    """Return the stems of a text's words, and the words; ten times as fast as `words`.

    >>> indexed("Few-shot labels")
    (['few', 'shot', 'fewshot', 'label'], ['few', 'shot', 'fewshot', 'labels'])
    """
    stems: list[str] = []
    plains: list[str] = []
    for chunk in _CHUNK.findall(text):
        found = _of_chunk(chunk)
        stems += found[0]
        plains += found[1]
    return stems, plains


@lru_cache(maxsize=32768)  # some ten megabytes
def _of_chunk(chunk: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = list(words(chunk))
    return tuple(w.stem for w in found), tuple(w.plain for w in found)


@lru_cache(maxsize=16384)
def plain(token: str) -> str:
    """Return a word in small letters, without accents, cut to 40 characters.

    >>> plain("Épreuve"), plain("ﬁt"), plain("²")
    ('epreuve', 'fit', '2')
    """
    apart = unicodedata.normalize("NFKD", token[: 4 * _LONGEST]).casefold()
    kept = "".join(c for c in apart if not unicodedata.combining(c) and c.isalnum())
    return kept[:_LONGEST]


@lru_cache(maxsize=16384)
def stem(small: str) -> str:
    """Return what words of one family share (Snowball's English rules, American spelling).

    >>> stem("memorization") == stem("memorising"), stem("neighbourhoods") == stem("neighborhood")
    (True, True)
    """
    if small in _IRREGULAR:
        return _IRREGULAR[small]
    if len(small) > 4:
        for pattern, to in _CUSTOMS:
            small = pattern.sub(to, small)
    return str((_stemmer().analyze(small) or [small])[0])


@cache
def _stemmer() -> Any:
    import tantivy

    raw = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    return raw.filter(tantivy.Filter.stemmer("English")).build()
