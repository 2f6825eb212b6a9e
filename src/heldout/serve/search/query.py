"""A query as weighted stems: its words, what they may have meant, and other ways to say them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heldout.serve.search.analysis import STOP, Word, plain, stem, words
from heldout.serve.search.index import WordIndex
from heldout.serve.search.synonyms import others, table
from heldout.serve.search.typos import Vocabulary, is_ending

LONGEST = 300
"""Characters of a query that are read."""
MEANT = (1.0, 0.8, 0.6)
"""What the word counts that was meant, by slips."""
SYNONYM = 0.5
"""What another way to say something counts."""
_STOP_STEMS = frozenset(stem(word) for word in STOP)
_MOST = 40  # words of a query that are looked up


@dataclass(frozen=True)
class Asked:
    """A query that is understood."""

    text: str
    """As it was asked, cut to 300 characters."""
    weights: Mapping[str, float]
    """Of stems."""
    own: frozenset[str]
    """The stems of the query's own words, and of what they were meant to be: these are marked."""
    rarest: float
    """Sum over the query's own words of weight times rarity: what a paper with all of them has."""
    meant: str
    """The query in the words that were meant; empty when all its words are known."""


def understood(text: str, index: WordIndex, vocabulary: Vocabulary) -> Asked:
    """Return a query as weighted stems; any text is one.

    Args:
        text: of the visitor.
        index: for how rare words are.
        vocabulary: for what words may have been meant.
    """
    text = " ".join(text[:LONGEST].split())
    weights: dict[str, float] = {}
    fixed: dict[tuple[int, int], str] = {}
    order: list[str] = []
    total = joined = 0.0
    for word in list(words(text))[:_MOST]:
        if word.plain in STOP:
            order.append(word.stem)
            continue
        stems, right = _stems_of(word, index, vocabulary)
        for found, weight in stems.items():
            weights[found] = max(weights.get(found, 0.0), weight)
        if word.extra:
            joined += index.rarity(word.stem)
            continue
        if right:
            fixed[word.start, word.end] = right
        order.append(next(iter(stems)))
        total += max(weight * index.rarity(found) for found, weight in stems.items())
    own = frozenset(weights)
    for _, other in others(order):
        told = [found for found in other if found not in _STOP_STEMS]
        for found in told:
            weights.setdefault(found, SYNONYM / len(told))
    # "Only-IF" is a name, though both of its words say nothing.
    return Asked(text, weights, own, total or joined, _fixed(text, fixed))


def _stems_of(word: Word, index: WordIndex, vocabulary: Vocabulary) -> tuple[dict[str, float], str]:
    sure = word.extra or len(word.plain) < 4 or (word.stem,) in table()
    if sure or index.papers_with(word.stem):
        return {word.stem: 1.0}, ""
    near = vocabulary.near(word.plain)
    if not near:
        return {word.stem: 1.0}, ""
    found: dict[str, float] = {}
    for other, slips in near:
        found.setdefault(stem(plain(other)), MEANT[min(slips, 2)])
    # "solver" beside "solved" is no slip, and nothing to tell the visitor.
    return found, "" if is_ending(word.plain, near[0][0]) else near[0][0]


def _fixed(text: str, fixed: Mapping[tuple[int, int], str]) -> str:
    made, last = text, len(text) + 1
    for (start, end), right in sorted(fixed.items(), reverse=True):
        if end <= last:
            made, last = made[:start] + right + made[end:], start
    return made if fixed else ""
