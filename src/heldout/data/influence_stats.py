"""How influence is spread: the tail over sequences, and whether word order matters.

Claims of Grosse et al. 2023 (arXiv:2308.03296) as functions of a row of scores: the tail is a
power law (section 5.2.1), the top 1 % of sequences carry 12 to 52 % of the positive influence, and
influence vanishes unless what resembles the prompt comes before what resembles the completion
(section 5.3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.statistics import bootstrap, proportion


@dataclass(frozen=True)
class Tail:
    """A power law p(x) ~ x^-alpha fitted to the values from `xmin` on."""

    alpha: Interval
    """Exponent of the density; the interval is of the bootstrap with xmin chosen anew."""
    xmin: float
    """Where the tail begins."""
    n: int
    """Values in the tail."""
    distance: float
    """Kolmogorov-Smirnov distance of the tail from the fitted law, 0 to 1."""


def tail_exponent(
    values: np.ndarray, rng: np.random.Generator, *, least: int = 50, draws: int = 100
) -> Tail:
    """Fit a power law to the positive values' upper tail (Clauset et al. 2009, arXiv:0706.1062).

    alpha = 1 + n / sum ln(x_i / xmin) over x_i >= xmin (equation 3.1), with the xmin whose tail is
    nearest to its law (section 3.3). That a fit is given does not mean that a power law fits well:
    look at `distance`, which is about 0.6 / sqrt(n) where it does.

    Args:
        values: scores; those that are not positive are left out.
        rng: for the bootstrap.
        least: fewest values in the tail.
        draws: bootstrap draws.

    Raises:
        InputError: fewer than `least` positive values, values that are all equal, or NaN.

    Cost: 200 candidates for xmin, n log n each, for every draw.

    >>> x = np.random.default_rng(0).pareto(1.5, 2000) + 1  # density x^-2.5
    >>> found = tail_exponent(x, np.random.default_rng(1), draws=20)
    >>> abs(found.alpha.value - 2.5) < 0.2
    True
    """
    x = _finite(values)
    x = np.sort(x[x > 0])
    if len(x) < least or x[-1] <= x[0]:
        raise InputError(
            f"{len(x)} positive values", f"at least {least} that differ", "score more sequences"
        )
    alpha, xmin, n, distance = _fitted(x, least)

    def again(chosen: np.ndarray) -> float:
        return _fitted(np.sort(x[chosen]), least)[0]

    spread = bootstrap(again, len(x), rng, draws)
    return Tail(Interval(alpha, spread.low, spread.high, n, 0.95, spread.method), xmin, n, distance)


def top_share(
    values: np.ndarray, rng: np.random.Generator, share: float = 0.01, draws: int = 1000
) -> Interval:
    """Return the part of all positive influence that the largest `share` of values carries.

    The largest ceil(share n) of all n values, over the sum of the positive ones: `share` itself
    where influence is equal, 1 where a few have it all.

    Raises:
        InputError: no positive value, a share outside (0, 1], or NaN.

    >>> top_share(np.array([3.0] + [0.1] * 10), np.random.default_rng(0), 0.05).value
    0.75
    """
    x = _finite(values)
    if not 0 < share <= 1 or not (x > 0).any():
        raise InputError(f"share {share}, {int((x > 0).sum())} positive", "both positive", "0.01")
    k = int(np.ceil(share * len(x)))

    def part(chosen: np.ndarray) -> float:
        gains = np.sort(np.clip(x[chosen], 0, None))[::-1]
        total = gains.sum()
        return float(gains[:k].sum() / total) if total > 0 else 0.0

    return bootstrap(part, len(x), rng, draws)


@dataclass(frozen=True)
class OrderEffect:
    """Ranks of constructed sequences for the query of their fact, 1 the most positive."""

    same: float
    """Median rank of sequences with the phrases in the query's order."""
    flipped: float
    """Median rank of those with the phrases flipped."""
    chance: float
    """Median rank of the same sequences for other facts' queries."""
    wins: Interval
    """Share of facts whose best same-order sequence ranks above its best flipped one; Wilson's
    interval. One half where order does not matter."""
    p: float
    """One-sided p-value of the mean difference in log rank, facts' signs flipped at random."""
    n: int
    """Sequences ranked."""


def order_effect(
    scores: np.ndarray,
    same: Sequence[Sequence[int]],
    flipped: Sequence[Sequence[int]],
    rng: np.random.Generator,
    draws: int = 10_000,
) -> OrderEffect:
    """Compare sequences that tell a fact in the query's order with flipped ones, by rank.

    Args:
        scores: (f, n) influence on the queries of f facts of all n sequences.
        same: columns of each fact's sequences in the query's order.
        flipped: columns of those with the phrases flipped.
        rng: for the null.
        draws: sign flips: under the null a fact's two kinds could be exchanged.

    Raises:
        InputError: fewer than two facts, a fact without both kinds, columns that there are not,
            or NaN.

    >>> s = np.array([[9.0, 1.0, 3.0, 0.0], [2.0, 1.0, 9.0, 0.0]])
    >>> found = order_effect(s, [[0], [2]], [[1], [3]], np.random.default_rng(0), 100)
    >>> found.same, found.flipped, found.wins.value
    (1.0, 3.5, 1.0)
    """
    facts = len(scores)
    sizes = [len(part) for part in (*same, *flipped)]
    if facts < 2 or not len(same) == len(flipped) == facts or min(sizes, default=0) < 1:
        raise InputError(
            f"{facts} facts with {sizes} sequences", "two or more with both kinds", "add facts"
        )
    last = max(max(part) for part in (*same, *flipped))
    if scores.ndim != 2 or last >= scores.shape[1]:
        raise InputError(
            f"column {last} of scores {scores.shape}", "columns of the scores", "count from 0"
        )
    ranks = np.argsort(np.argsort(-_finite(scores), axis=1), axis=1) + 1
    ours = [ranks[f, list(same[f])] for f in range(facts)]
    theirs = [ranks[f, list(flipped[f])] for f in range(facts)]
    others = [ranks[(f + k) % facts, list(same[f])] for f in range(facts) for k in range(1, facts)]
    gaps = np.array(
        [np.log(t).mean() - np.log(o).mean() for o, t in zip(ours, theirs, strict=True)]
    )
    signs = rng.choice([-1.0, 1.0], (draws, facts))
    null = (signs * gaps).mean(1)
    wins = sum(int(o.min() < t.min()) for o, t in zip(ours, theirs, strict=True))
    return OrderEffect(
        float(np.median(np.concatenate(ours))),
        float(np.median(np.concatenate(theirs))),
        float(np.median(np.concatenate(others))),
        proportion(wins, facts),
        float((1 + (null >= gaps.mean() - 1e-12).sum()) / (1 + draws)),
        int(scores.shape[1]),
    )


def _finite(values: np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if bad := int((~np.isfinite(x)).sum()):
        raise InputError(f"{bad} of {x.size} scores not finite", "finite scores", "score again")
    return x


def _fitted(x: np.ndarray, least: int) -> tuple[float, float, int, float]:
    # x ascending; candidates for xmin are spread over the values that leave enough in the tail
    best = (np.nan, float(x[0]), len(x), np.inf)
    for start in np.unique(np.linspace(0, len(x) - least, 200).astype(int)):
        tail = x[start:]
        logs = np.log(tail / tail[0])
        if logs.sum() <= 0:
            continue
        alpha = 1 + len(tail) / logs.sum()
        law = 1 - np.exp((1 - alpha) * logs)
        steps = np.arange(len(tail) + 1) / len(tail)
        distance = float(max(np.abs(law - steps[1:]).max(), np.abs(law - steps[:-1]).max()))
        if distance < best[3]:
            best = (float(alpha), float(tail[0]), len(tail), distance)
    return best
