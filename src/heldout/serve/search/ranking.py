"""From a query to all papers that it finds, best first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from heldout.serve.items import Item
from heldout.serve.search.engine import Engine
from heldout.serve.search.fuse import weighted_sum
from heldout.serve.search.meaning import EncoderError
from heldout.serve.search.numbers import numbers_in, rows_of
from heldout.serve.search.passages import Passage
from heldout.serve.search.query import Asked, understood
from heldout.serve.search.vectors import Cosines

MOST = 300
"""Papers that each of words and meaning put forward."""
NAMED = 2.0
"""Score of a paper whose number stands in the query: more than any other can have."""


@dataclass(frozen=True)
class Tuning:
    """Chosen on one half of the judged queries; see `evaluate`."""

    meaning: float = 0.6
    """Share of the cosine in a paper's score; the rest is that of its words."""
    together: float = 0.6
    """Share in the words' score of how many of them stand in one passage."""
    asked: float = 1.5
    """What the names and questions by which people ask for a paper count beside its own words."""
    whole: float = 0.75
    """Share of the whole paper's cosine; the rest is its best passage's."""
    least: float = 0.1
    """Papers with less are not shown."""
    least_words: float = 0.12
    """The same where there are words only."""
    tail: float = 0.35
    """Nor are papers with less than this share of the best one's score."""
    sure: float = 0.305
    """Where the best paper has less, results are shown as what is nearest, not as answers."""
    sure_words: float = 0.4
    """The same where there are words only."""


TUNING = Tuning()


@dataclass(frozen=True)
class Only:
    """Filters; empty ones let everything through."""

    package: str = ""
    """Package of the library."""
    verdict: str = ""
    """What at least one of a paper's claims must be."""
    source: str = ""
    """library, or fetched."""

    @property
    def library(self) -> bool | None:
        """Whether only papers of the library, or only others, can pass."""
        if self.source == "fetched":
            return False
        needs = self.package or (self.verdict and self.verdict != "not built")
        return True if needs or self.source == "library" else None

    def lets(self, item: Item) -> bool:
        """Whether a paper of the library passes."""
        return (not self.package or item.package == self.package) and (
            not self.verdict or item.counts.get(self.verdict, 0) > 0
        )


@dataclass(frozen=True)
class Ranking:
    """All papers that a query finds."""

    asked: Asked
    """The query."""
    scores: list[tuple[int, float]]
    """(row, score), best first."""
    cosines: Cosines | None
    """Of all passages; None: words only."""
    sure: bool = True
    """Whether the best paper is an answer rather than merely the nearest there is."""


def ranked(
    engine: Engine, query: str, only: Only | None = None, *, meaning: bool = True,
    tuning: Tuning = TUNING,
) -> Ranking:  # fmt: skip
    """Return the papers that a query finds, best first.

        score = (1 - m) * w + m * (v * cos(whole) + (1 - v) * max over passages of cos)
        w = (1 - t) * min(1.5, (BM25 + a A) / (2.2 R)) + t * max over passages of P / R

    with A the BM25 of the names and questions by which people ask for the paper (their length set
    aside), R the sum of the rarities of the query's words (`Asked.rarest`), P that of the words
    that stand in a passage, m, t, a and v from `Tuning`, and cosines below 0 taken for 0. Passages
    of fetched papers are not at hand: their w is the BM25 alone, and their cosine the whole's.
    Papers below a floor are left out, so that a query about something else finds none. Those whose
    arXiv number stands in the query come before all.

    Raises:
        StorageError: a number is asked for, and the database cannot be reached.
    """
    library = only.library if only else None
    numbers, said = numbers_in(query)
    named = rows_of(numbers, engine.library, engine.slugs, engine.database)
    asked = understood(said, engine.index, engine.vocabulary)
    hits = engine.index.find(asked.weights, MOST, library) if asked.rarest else []
    rarity = {stem: weight * engine.index.rarity(stem) for stem, weight in asked.weights.items()}
    found = {h.row: h.score for h in hits}
    if asked.rarest and library is not False:
        for row in engine.library_rows:
            if value := _asked_for(engine.asked[-1 - row], rarity):
                found[row] = found.get(row, 0.0) + tuning.asked * value
    by_words = {row: min(1.5, value / (2.2 * asked.rarest)) for row, value in found.items()}
    for row in by_words:
        if row < 0:
            most = _together(engine.stems[-1 - row], rarity) / asked.rarest
            by_words[row] += tuning.together * (min(1.5, most) - by_words[row])
    cosines = _cosines(engine, asked.meant or asked.text) if meaning and asked.text else None
    if cosines is None:
        scores, least, sure = by_words, tuning.least_words, tuning.sure_words
    else:
        near, values = cosines
        rows_near = [r for r, _ in near if library is None or (r < 0) == library]
        if library:
            rows_near = list(engine.library_rows)
        by_meaning = {r: _nearness(engine, values, r, tuning) for r in {*by_words, *rows_near}}
        scores = weighted_sum(by_words, by_meaning, tuning.meaning)
        least, sure = tuning.least, tuning.sure
    most = max(scores.values(), default=0.0)
    kept = {row: s for row, s in scores.items() if s >= max(least, tuning.tail * most)}
    kept |= {row: NAMED for row in named if library is None or (row < 0) == library}
    order = sorted(kept.items(), key=lambda s: (-s[1], -s[0]))
    return Ranking(asked, order, cosines[1] if cosines else None, bool(named) or most >= sure)


def _asked_for(counts: Mapping[str, int], rarity: Mapping[str, float]) -> float:
    return sum(
        value * 2.2 * counts[stem] / (counts[stem] + 1.2)
        for stem, value in rarity.items()
        if stem in counts
    )


def _together(
    passages: Sequence[tuple[Passage, Collection[str]]], rarity: Mapping[str, float]
) -> float:
    # A note on the setting that has all words is half an answer.
    return max(
        sum(value for stem, value in rarity.items() if stem in stems)
        * (0.5 if passage.kind == "setting" else 1.0)
        for passage, stems in passages
    )


def _nearness(engine: Engine, values: Cosines, row: int, tuning: Tuning) -> float:
    whole = values.best(row)
    if row > 0:
        return max(0.0, whole)
    passages = max(values.of(row, len(engine.passages[-1 - row])), default=whole)
    return max(0.0, tuning.whole * whole + (1 - tuning.whole) * passages)


def _cosines(engine: Engine, text: str) -> tuple[list[tuple[int, float]], Cosines] | None:
    encoder, vectors = engine.encoder, engine.vectors
    if encoder is None or vectors is None or not len(vectors):
        return None
    try:
        query = encoder.encode([text], urgent=True)[0]
    except EncoderError as error:
        engine.lost(error)
        return None
    return vectors.nearest(query, MOST)
