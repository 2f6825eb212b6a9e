"""What visitors ask for: views of the feed, papers, and searches."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus

SHARES = {"feed": 45, "paper": 40, "search": 15}
"""Of a hundred requests."""
Requests = list[tuple[str, str]]
"""(kind, path); kinds: feed, paper and search."""


def mix(
    fetched: Sequence[str], slugs: Sequence[str], days: Sequence[str], seed: int = 0,
    n: int = 8000, fresh: bool = False,
) -> Requests:  # fmt: skip
    """Return requests in the order in which they are sent.

    Args:
        fetched: numbers of fetched papers.
        slugs: papers of the library.
        days: days that have papers.
        seed: of the choice.
        n: requests.
        fresh: give every address something that no other has, so that no page was made before.
    """
    rng = random.Random(seed)
    words = itertools.cycle(queries())
    makers = {
        "feed": lambda: _feed(rng, days, len(fetched)),
        "paper": lambda: f"/papers/{rng.choice(slugs if rng.random() < 0.3 else fetched)}",
        "search": lambda: f"/search?q={next(words)}",
    }
    kinds = rng.choices(list(SHARES), list(SHARES.values()), k=n)
    asked = [(kind, makers[kind]()) for kind in kinds]
    if not fresh:
        return asked
    return [(k, f"{p}{'&' if '?' in p else '?'}n={seed}-{at}") for at, (k, p) in enumerate(asked)]


def queries() -> list[str]:
    """Return the judged queries, as they stand in an address."""
    from heldout.serve.search.evaluate import judged

    return [quote_plus(q.query) for q in judged()]


def _feed(rng: random.Random, days: Sequence[str], papers: int) -> str:
    # A third look at the first page; the others at what its links lead to.
    day = days[int(len(days) * (1 - rng.random() ** 2) * 0.9999)]
    views: list[tuple[int, Any]] = [
        (30, lambda: "/"),
        (10, lambda: f"/?page={rng.randint(2, 5)}"),
        (10, lambda: f"/?page={rng.randint(6, papers // 20)}"),
        (10, lambda: f"/?day={day}"),
        (8, lambda: f"/?month={day[:7]}"),
        (7, lambda: f"/?month={day[:7]}&page=2&sort=oldest"),
        (8, lambda: "/?sort=trending"),
        (4, lambda: f"/?sort=oldest&page={rng.randint(1, papers // 20)}"),
        (6, lambda: f"/?package={rng.choice(('data', 'measures', 'shift', 'adapt', 'lm'))}"),
        (7, lambda: f"/?verdict={rng.choice(('holds', 'fails', 'inconclusive', 'toy'))}"),
    ]
    return str(rng.choices([v for _, v in views], [w for w, _ in views])[0]())
