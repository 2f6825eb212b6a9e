"""How good search is on queries with judged answers.

    python -m heldout.serve.search.evaluate

The queries (judged.jsonl) and their grades were written from the papers' cards before there was a
ranking. Those on odd lines were used to choose the few numbers in `ranking.Tuning` and the weights
of fields; those on even lines are reported. The table of synonyms and the rules of spelling were
written by the same hand as the queries, and with an eye on what was corrected in all of them, so
they flatter; benchmarks/serve_search.py also measures without synonyms. The numbers to go by are
those of judged_blind.jsonl and judged_second.jsonl: queries and grades of two strangers, who had
read abstracts only, and never seen the search, its synonyms or its other queries. Nothing may be
chosen on them. The first set was there before the names and questions of `asked`, to which its
number led; the second was written when all that was there, and has no query of the other sets.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout.serve.items import Library
from heldout.serve.search.engine import Engine
from heldout.serve.search.fuse import reciprocal_ranks
from heldout.serve.search.meaning import encoder_of
from heldout.serve.search.ranking import TUNING, Tuning, ranked
from heldout.serve.storage.database import Database

JUDGED = Path(__file__).with_name("judged.jsonl")
BLIND = {name: Path(__file__).with_name(f"judged_{name}.jsonl") for name in ("blind", "second")}
DEPTH = 5


@dataclass(frozen=True)
class Judged:
    """A query with what a searcher would want."""

    query: str
    """As it is typed."""
    kind: str
    """question, keyword, name, typo, paraphrase or nothing."""
    grades: Mapping[str, int]
    """By slug; 2: an answer, 1: of some use, others 0. Of the blind ones 3: what is wanted."""


def judged(half: str = "both") -> list[Judged]:
    """Return the judged queries: "tune" (odd lines), "report" (even lines), "both", or a blind set.

    >>> [len(judged(name)) for name in ("tune", "report", "blind", "second")]
    [56, 56, 120, 168]
    """
    lines = BLIND.get(half, JUDGED).read_text("utf-8").splitlines()
    chosen = {"tune": lines[0::2], "report": lines[1::2]}.get(half, lines)
    return [Judged(**json.loads(line)) for line in chosen]


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    """Return DCG over that of the best order, with gains 2^grade - 1 and discounts log2(1 + rank).

    From 0 to 1; nan for a query without any answer.

    >>> round(ndcg(["b", "a"], {"a": 2, "b": 1}), 4)
    0.7967
    """

    def gained(values: Sequence[int]) -> float:
        return sum((2.0**g - 1) / math.log2(rank + 1) for rank, g in enumerate(values, 1))

    most = gained(sorted(grades.values(), reverse=True)[:depth])
    return gained([grades.get(s, 0) for s in ranking[:depth]]) / most if most else math.nan


def interval(values: Sequence[float], draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over resampled queries."""
    import numpy as np

    rng, given = np.random.default_rng(seed), np.asarray(values)
    means = given[rng.integers(len(given), size=(draws, len(given)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def library_engine(meaning: bool = True) -> Engine:
    """Return a search in memory over the library's papers, with their vectors if there can be."""
    database = Database("sqlite://")
    database.upgrade()
    engine = Engine(database, Library.load(), None, encoder_of() if meaning else None)
    engine.update_words()
    if engine.load_encoder():
        engine.update_vectors()
    return engine


def methods(engine: Engine, tuning: Tuning = TUNING) -> dict[str, Callable[[str], list[str]]]:
    """Return rankings of slugs: by words, by meaning (if there is a model), and by both.

    Both in two ways: as it is used, and by reciprocal ranks, which were the alternative.
    """

    def slugs(query: str, **how: Any) -> list[str]:
        return [engine.slug(row) for row, _ in ranked(engine, query, **how).scores]

    from dataclasses import replace

    made: dict[str, Callable[[str], list[str]]] = {
        "words": lambda q: slugs(q, meaning=False, tuning=tuning)
    }
    if engine.encoder is not None:
        only_meaning = replace(tuning, meaning=1.0, least=0.0, tail=0.0)
        made["meaning"] = lambda q: slugs(q, tuning=only_meaning)
        made["words and meaning"] = lambda q: slugs(q, tuning=tuning)

        def by_ranks(query: str) -> list[str]:
            alone = ranked(engine, query, meaning=False, tuning=tuning).scores
            near = ranked(engine, query, tuning=only_meaning).scores
            found = reciprocal_ranks([[row for row, _ in alone], [row for row, _ in near]])
            return [engine.slug(row) for row in sorted(found, key=lambda r: (-found[r], -r))]

        made["fused by ranks"] = by_ranks
    return made


def measured(
    rank: Callable[[str], list[str]], queries: Sequence[Judged]
) -> dict[str, float | list[float] | dict[str, float] | int]:
    """Return mean nDCG@5 with its interval, that of each kind, and what is shown for nothing.

    `shown_for_nothing` is the share of the queries without an answer for which there are results,
    if only as what is nearest; see `doubts`.
    """
    values = [(q.kind, ndcg(rank(q.query), q.grades)) for q in queries if q.grades]
    empty = [bool(rank(q.query)) for q in queries if not q.grades]
    every = [v for _, v in values]
    low, high = interval(every)
    kinds = sorted({k for k, _ in values})
    return {
        "ndcg_at_5": round(sum(every) / len(every), 4),
        "interval": [round(low, 4), round(high, 4)],
        "queries": len(every),
        "by_kind": {
            k: round(sum(v for n, v in values if n == k) / sum(n == k for n, _ in values), 4)
            for k in kinds
        },
        "shown_for_nothing": round(sum(empty) / max(1, len(empty)), 4),
    }


def doubts(engine: Engine, queries: Sequence[Judged], meaning: bool = True) -> dict[str, float]:
    """Return how often results are shown as answers to queries that have none, and the reverse.

    `answers_to_nothing`: of the queries without an answer; `doubted`: of those with one, the share
    whose results are shown as merely the nearest.
    """
    sure = [(bool(q.grades), ranked(engine, q.query, meaning=meaning).sure) for q in queries]
    wrong = [s for has, s in sure if not has]
    right = [s for has, s in sure if has]
    return {
        "answers_to_nothing": round(sum(wrong) / max(1, len(wrong)), 4),
        "doubted": round(1 - sum(right) / max(1, len(right)), 4),
    }


def main() -> int:
    """Print what is measured on queries that nothing was chosen on."""
    engine, found = library_engine(), dict[str, Any]()
    try:
        for half in ("report", *BLIND):
            queries = judged(half)
            found[half] = {n: measured(rank, queries) for n, rank in methods(engine).items()}
            found[half]["doubts"] = doubts(engine, queries)
    finally:
        engine.stop()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
