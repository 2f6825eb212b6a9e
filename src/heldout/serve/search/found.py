"""From a query to a page of results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from heldout.serve.items import Item, Library
from heldout.serve.search import rows
from heldout.serve.search.engine import Engine
from heldout.serve.search.fuse import weighted_sum
from heldout.serve.search.meaning import EncoderError
from heldout.serve.search.passages import Passage, abstract_passages, best, marked
from heldout.serve.search.query import LONGEST, Asked, understood
from heldout.serve.search.vectors import Cosines

__all__ = [
    "BOTH", "LONGEST", "WORDS", "Found", "Only", "Ranking", "Result", "Tuning", "page_of", "ranked",
]  # fmt: skip
WORDS, BOTH = "words", "words and meaning"
MOST = 300
"""Papers that each of words and meaning put forward."""


@dataclass(frozen=True)
class Tuning:
    """Chosen on one half of the judged queries; see `evaluate`."""

    meaning: float = 0.6
    """Share of the cosine in a paper's score; the rest is that of its words."""
    together: float = 0.4
    """Share in the words' score of how many of them stand in one passage."""
    whole: float = 0.5
    """Share of the whole paper's cosine; the rest is its best passage's."""
    least: float = 0.1
    """Papers with less are not shown."""
    least_words: float = 0.12
    """The same where there are words only."""
    tail: float = 0.35
    """Nor are papers with less than this share of the best one's score."""
    sure: float = 0.24
    """Where the best paper has less, results are shown as what is nearest, not as answers."""
    sure_words: float = 0.32
    """The same where there are words only."""


TUNING = Tuning()


@dataclass(frozen=True)
class Result:
    """A paper that was found."""

    key: str
    """Slug or arXiv number."""
    score: float
    """What results are ordered by; comparable within one search only."""
    passage: list[tuple[str, bool]]
    """The best passage in pieces, each with whether it is a word of the query."""
    kind: str
    """What the passage is: title, summary, claim, setting, part or abstract."""
    claim: str
    """The claim that the passage is of, or empty."""
    title: list[tuple[str, bool]]
    """The title in pieces, likewise."""
    item: Item
    """What its card shows."""


@dataclass(frozen=True)
class Found:
    """One page of results."""

    query: str
    """As it was read: cut to 300 characters, spaces made single."""
    items: list[Result]
    """Best first."""
    total: int
    """Papers that were found, on all pages."""
    how: str
    """What was compared: "words", or "words and meaning"."""
    suggestions: list[str] = field(default_factory=list)
    """The query as it may have been meant, where words of it are in no paper."""
    sure: bool = True
    """False: nothing is quite about the query, and the items are merely the nearest."""


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
        w = (1 - t) * min(1.5, BM25 / (2.2 R)) + t * max over passages of P / R

    with R the sum of the rarities of the query's words (`Asked.rarest`), P that of the words that
    stand in a passage, m, t and v from `Tuning`, and cosines below 0 taken for 0. Passages of
    fetched papers are not at hand: their w is the first part alone, and their cosine the whole's.
    Papers below a floor are left out, so that a query about something else finds none.
    """
    library = only.library if only else None
    asked = understood(query, engine.index, engine.vocabulary)
    hits = engine.index.find(asked.weights, MOST, library) if asked.rarest else []
    by_words = {h.row: min(1.5, h.score / (2.2 * asked.rarest)) for h in hits}
    rarity = {stem: weight * engine.index.rarity(stem) for stem, weight in asked.weights.items()}
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
    order = sorted(kept.items(), key=lambda s: (-s[1], -s[0]))
    return Ranking(asked, order, cosines[1] if cosines else None, most >= sure)


def page_of(
    engine: Engine, library: Library, ranking: Ranking, only: Only, limit: int, offset: int
) -> tuple[list[Result], int]:
    """Return some of the papers of a ranking, with their passages, and how many pass the filters.

    Raises:
        StorageError: the database cannot be reached.
    """
    passing = [
        (row, score)
        for row, score in ranking.scores
        if (row > 0 and only.library is not True)
        or (row < 0 and only.library is not False and only.lets(library.items[engine.slug(row)]))
    ]
    shown = passing[offset : offset + limit]
    texts = {
        row: rest for row, *rest in rows.texts(engine.database, [r for r, _ in shown if r > 0])
    }
    cards = rows.items(engine.database, [number for number, *_ in texts.values()])
    results = []
    for row, score in shown:
        if row < 0:
            item, passages = library.items[engine.slug(row)], engine.passages[-1 - row]
        elif row in texts and (card := cards.get(texts[row][0])):
            item, passages = card, abstract_passages(texts[row][1], texts[row][2])
        else:  # taken away since it was indexed
            continue
        results.append(_result(ranking, row, score, item, passages))
    return results, len(passing)


def _result(
    ranking: Ranking, row: int, score: float, item: Item, passages: Sequence[Passage]
) -> Result:
    asked = ranking.asked
    near = ranking.cosines.of(row, len(passages)) if ranking.cosines and row < 0 else []
    chosen = passages[best(passages, asked.weights, near)]
    stems = _shown(asked)
    return Result(
        item.key, score, marked(chosen.text, stems), chosen.kind, chosen.claim,
        marked(item.title, stems), item,
    )  # fmt: skip


def _shown(asked: Asked) -> Collection[str]:
    # Synonyms are marked too: they are why the passage is shown.
    return asked.weights.keys()


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


def word_help(asked: Asked) -> list[str]:
    """Return the query in the words that were meant, if that differs."""
    return [asked.meant] if asked.meant and asked.meant != asked.text else []
