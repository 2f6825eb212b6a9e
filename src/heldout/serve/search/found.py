"""A page of results: the papers that were found, with the passage that answers best."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from heldout.serve.items import Item, Library
from heldout.serve.search import rows
from heldout.serve.search.engine import Engine
from heldout.serve.search.passages import Passage, abstract_passages, best, marked
from heldout.serve.search.query import Asked
from heldout.serve.search.ranking import Only, Ranking

WORDS, BOTH = "words", "words and meaning"


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
    """What the passage is; see `Passage`."""
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


def word_help(asked: Asked) -> list[str]:
    """Return the query in the words that were meant, if that differs."""
    return [asked.meant] if asked.meant and asked.meant != asked.text else []
