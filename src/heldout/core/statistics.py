"""Intervals and corrections that several checks share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from heldout.core.interval import Interval


def proportion(successes: int, n: int, level: float = 0.95) -> Interval:
    """Share of successes with the Wilson score interval (Wilson 1927).

    Args:
        successes: how many of the n trials succeeded.
        n: number of independent trials; 0 gives value NaN and the interval [0, 1].
        level: coverage aimed at.

    >>> proportion(8, 10).value, round(proportion(8, 10).low, 3)
    (0.8, 0.49)
    """
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0, level, "wilson")
    found = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return Interval(successes / n, float(found.low), float(found.high), n, level, "wilson")


def difference(a: Interval, b: Interval) -> Interval:
    """Difference a - b of two independent proportions (Newcombe 1998, method 10).

    >>> d = difference(proportion(90, 100), proportion(70, 100))
    >>> round(d.value, 2), 0 in d
    (0.2, False)
    """
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Interval(value, low, high, min(a.n, b.n), min(a.level, b.level), "newcombe")


def bootstrap(
    statistic: Callable[[Int[np.ndarray, " n"]], float],
    n: int,
    rng: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a statistic that takes row numbers.

    Args:
        statistic: maps row numbers (n,), with repeats, to a number.
        n: number of rows to resample.
        rng: source of the resamples.
        draws: resamples.
        level: coverage aimed at.

    Cost: `draws` + 1 evaluations of the statistic.

    >>> x = np.arange(100.0)
    >>> i = bootstrap(lambda rows: x[rows].mean(), 100, np.random.default_rng(0))
    >>> i.value, 49.5 in i
    (49.5, True)
    """
    value = float(statistic(np.arange(n)))
    found = np.array([statistic(rng.integers(n, size=n)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if found.size == 0:
        return Interval(value, float("nan"), float("nan"), n, level, "percentile bootstrap")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), n, level, "percentile bootstrap")


def mean(values: Float[np.ndarray, " n"], level: float = 0.95) -> Interval:
    """Mean with Student's t interval; one value gives an unbounded one.

    >>> i = mean(np.array([1.0, 2.0, 3.0]))
    >>> i.value, round(i.high, 2)
    (2.0, 4.48)
    """
    values = np.asarray(values, dtype=float)
    n = values.size
    centre = float(values.mean()) if n else float("nan")
    if n < 2:
        return Interval(centre, -np.inf, np.inf, n, level, "student t")
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(centre, centre - half, centre + half, n, level, "student t")


def paired_difference(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], level: float = 0.95
) -> Interval:
    """Mean of a - b over the same units, with Student's t interval of the differences.

    >>> paired_difference(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0])).value
    1.0
    """
    return mean(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), level)


def holm(p_values: Float[np.ndarray, " m"], level: float = 0.05) -> Bool[np.ndarray, " m"]:
    """Which of m hypotheses are rejected with family-wise error at most `level` (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [True, False, False]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    limits = level / np.arange(p.size, 0, -1)
    passed = np.logical_and.accumulate(p[order] <= limits)
    rejected = np.zeros(p.size, dtype=bool)
    rejected[order] = passed
    return rejected


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Row-wise softmax in float64.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    z = np.asarray(logits, dtype=np.float64)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def cross_entropy(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Per-example cross-entropy in nats, in float64.

    >>> cross_entropy(np.zeros((1, 2)), np.array([0])).round(4).tolist()
    [0.6931]
    """
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels])
