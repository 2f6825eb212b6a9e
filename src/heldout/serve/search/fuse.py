"""One ranking from two: by words and by meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def reciprocal_ranks(
    rankings: Iterable[Sequence[int]], weights: Sequence[float] = (), k: float = 60.0
) -> dict[int, float]:
    """Return sum over rankings of w / (k + rank), ranks from 1 (Cormack et al. 2009).

    Args:
        rankings: rows, best first.
        weights: one for each ranking; 1 when left out.
        k: how little the first ranks count over the next.

    >>> reciprocal_ranks([[7, 8], [8]], k=1.0)
    {7: 0.5, 8: 0.8333333333333333}
    """
    found: dict[int, float] = {}
    for at, rows in enumerate(rankings):
        weight = weights[at] if weights else 1.0
        for rank, row in enumerate(rows, 1):
            found[row] = found.get(row, 0.0) + weight / (k + rank)
    return found


def weighted_sum(
    words: Mapping[int, float], meaning: Mapping[int, float], share: float
) -> dict[int, float]:
    """Return (1 - share) * words + share * meaning; what one of them lacks counts 0 there.

    >>> weighted_sum({1: 1.0}, {1: 0.5, 2: 1.0}, 0.5)
    {1: 0.75, 2: 0.5}
    """
    rows = {**words, **meaning}
    return {row: (1 - share) * words.get(row, 0.0) + share * meaning.get(row, 0.0) for row in rows}
