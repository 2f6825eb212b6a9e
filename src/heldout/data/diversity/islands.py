"""The island score: how much farther rows of two parts lie apart than rows of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.data.diversity.factors import discrete, table


@dataclass(frozen=True)
class Islands:
    """Mean distances within and between M parts, and the scores made of them."""

    distance: Float[np.ndarray, "m m"]
    """Mean distance of two rows, of one part (diagonal, no row with itself) or of two."""
    spread: list[Interval]
    """The diagonal with its intervals."""
    pair_score: dict[tuple[int, int], Interval]
    """1 - (within one + within the other) / (2 between), for every pair."""
    score: Interval
    """The same with sums over all pairs."""
    chance: float
    """95 % quantile of `score` when rows are dealt to the parts at random."""
    p: float
    """Share of such deals at or above `score`."""


def island_scores(
    features: Float[np.ndarray, "n d"],
    parts: Int[np.ndarray, " n"] | Sequence[str],
    *,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Islands:
    """Energy coefficient of parts: 0 for one distribution, towards 1 for small, far islands.

    `1 - (E|x - x'| + E|y - y'|) / (2 E|x - y|)` for two parts; numerator and denominator summed
    over pairs for more. No row is compared with itself, so that equal parts have mean 0 (a
    single value may fall below). It does not depend on the unit of the features.

    Args:
        features: (n, d); distances are Euclidean.
        parts: part of each row, two parts or more with at least two rows each; M of them are
            numbered from 0 in sorted order.
        draws: bootstrap resamples of rows within parts, and random deals for `chance`.
        level: coverage of the percentile intervals.
        seed: of both.

    Cost: n^2 distances and `2 draws` products of the distance matrix with M columns.

    Raises:
        InputError: one part, a part of one row, lengths that differ, or features that are no
            finite numbers.

    Szekely and Rizzo 2013, Journal of Statistical Planning and Inference 143, section 7.

    >>> x = np.concatenate([np.linspace(0, 1, 50), np.linspace(9, 10, 50)])[:, None]
    >>> found = island_scores(x, np.repeat([0, 1], 50), draws=50)
    >>> round(found.score.value, 2), found.p < 0.05, round(float(found.distance[0, 1]), 1)
    (0.96, True, 9.0)
    """
    part = discrete(parts, "parts")
    x, rows_of = table(features, len(part)), np.bincount(part)
    if len(rows_of) < 2 or rows_of.min() < 2:
        raise InputError(
            f"parts of {rows_of[:5].tolist()} rows",
            "two parts or more, each with two rows or more: distances are within and between",
            "parts=site, robot or source of each row; leave parts of one row out",
        )
    distance = cdist(x, x)
    onehot = np.eye(len(rows_of))[part]
    rng = stream(seed, "islands")
    every = _means(distance, onehot)
    starts = [np.flatnonzero(part == k) for k in range(onehot.shape[1])]
    resampled = []
    for _ in range(draws):
        weight = np.zeros(len(part))
        for rows in starts:
            weight[rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
        resampled.append(_means(distance, onehot * weight[:, None]))
    dealt = [_score(_means(distance, onehot[rng.permutation(len(part))])) for _ in range(draws)]

    def interval(values: list[float], value: float, n: int) -> Interval:
        tails = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.nanquantile(values, tails) if draws else (np.nan, np.nan)
        return Interval(value, float(low), float(high), n, level, "percentile bootstrap")

    m, sizes = onehot.shape[1], [len(rows) for rows in starts]
    spread = [
        interval([float(r[k, k]) for r in resampled], float(every[k, k]), sizes[k])
        for k in range(m)
    ]
    pairs = {
        (i, j): interval(
            [_score(r[np.ix_([i, j], [i, j])]) for r in resampled],
            _score(every[np.ix_([i, j], [i, j])]),
            sizes[i] + sizes[j],
        )
        for i in range(m)
        for j in range(i + 1, m)
    }
    value = _score(every)
    score = interval([_score(r) for r in resampled], value, len(part))
    p = (1 + sum(d >= value - 1e-12 for d in dealt)) / (1 + draws)
    chance = float(np.quantile(dealt, 0.95)) if draws else float("nan")
    return Islands(every, spread, pairs, score, chance, float(p))


def sampled(part: Int[np.ndarray, " n"], most: int, seed: int = 0) -> Int[np.ndarray, " m"]:
    """Return rows in order, at most about `most`, taking as many as there are from small parts.

    >>> len(sampled(np.repeat([0, 1], [100, 10]), 40))
    30
    """
    rng, share = stream(seed, "sampled"), max(2, most // (int(part.max()) + 1))
    rows = [np.flatnonzero(part == k) for k in range(int(part.max()) + 1)]
    return np.sort(np.concatenate([rng.permutation(r)[:share] for r in rows]))


def _means(distance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean distances between parts; a row and its copies are not compared."""
    total = weight.sum(axis=0)
    sums = weight.T @ (distance @ weight)
    counts = np.outer(total, total) - np.diag((weight**2).sum(axis=0))
    return np.asarray(sums / np.maximum(counts, 1e-300))


def _score(mean: np.ndarray) -> float:
    m = len(mean)
    between = mean.sum() - np.trace(mean)  # holds each pair twice: the sum of 2 E|x - y|
    within = (m - 1) * np.trace(mean)
    return float(1 - within / between) if between > 0 else 0.0
