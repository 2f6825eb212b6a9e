"""Rates of many groups at once: tests against the rest, and shrinkage of the extremes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats
from scipy.special import betaln

from heldout.core.interval import Interval
from heldout.core.statistics import difference, holm, proportion

SMALLEST = 10
"""Smallest group that is judged: below it no plausible difference survives the correction."""
MAX_LEVELS = 100
"""Metadata with more levels than this are identifiers, not groups."""
BINS = 4
"""Numeric metadata with many levels are cut at their quantiles into this many groups."""
LEVEL = 0.95
"""Coverage of every interval; 1 - LEVEL is the family-wise error."""


@dataclass(frozen=True)
class Cell:
    """One group of test examples, against all others."""

    family: str
    """`class`, a metadata name, or `class x <name>`."""
    name: str
    """Name within the family."""
    rows: Bool[np.ndarray, " n"]
    """Which test examples belong to it."""


@dataclass(frozen=True)
class Judged:
    """A cell with what was measured of it."""

    cell: Cell
    accuracy: Interval
    """Share right in the group, Wilson."""
    gap: Interval
    """Accuracy of the group minus that of the rest, Newcombe, Bonferroni-widened."""
    shrunk: Interval
    """Accuracy of the group after shrinkage towards its family."""
    rejected: bool
    """Whether `worse than the rest` survives Holm's correction."""

    @property
    def key(self) -> str:
        """Name among the numbers."""
        return f"{self.cell.family}/{self.cell.name}"

    @property
    def rest(self) -> float:
        """Accuracy of everything else."""
        return self.accuracy.value - self.gap.value


def cells(
    labels: Int[np.ndarray, " n"], names: list[str], metadata: Mapping[str, np.ndarray]
) -> list[Cell]:
    """Return classes, metadata groups, and their intersections where large enough.

    Metadata with very many levels are cut at their quartiles when numeric, else left out.

    Args:
        labels: class ids.
        names: name of each class id.
        metadata: strings (n,) by name.

    >>> [c.name for c in cells(np.array([0, 0, 1]), ["cat", "dog"], {})]
    ['cat', 'dog']
    """
    classes = [Cell("class", names[k], labels == k) for k in np.unique(labels)]
    found = list(classes)
    for family, values in metadata.items():
        levels = _levels(family, values)
        found += levels
        for level in levels:
            both = [(c, c.rows & level.rows) for c in classes]
            # An intersection says something new only when it splits both of its sides.
            found += [
                Cell(f"class x {family}", f"{c.name} & {level.name}", rows)
                for c, rows in both
                if SMALLEST <= rows.sum() < min(c.rows.sum(), level.rows.sum())
            ]
    return found


def judge(found: list[Cell], correct: Bool[np.ndarray, " n"]) -> list[Judged]:
    """Compare every cell with the rest; Fisher's exact test, Holm over all cells.

    Args:
        found: groups, each neither empty nor everything.
        correct: whether each test example is predicted right.
    """
    if not found:
        return []
    total, hits = len(correct), int(correct.sum())
    n = np.array([int(c.rows.sum()) for c in found])
    k = np.array([int(correct[c.rows].sum()) for c in found])
    rejected = holm(stats.hypergeom.cdf(k, total, hits, n), 1 - LEVEL)
    wide = 1 - (1 - LEVEL) / len(found)
    families = np.array([c.family for c in found])
    shrunk: list[Interval | None] = [None] * len(found)
    for family in set(families.tolist()):
        members = np.flatnonzero(families == family)
        for at, interval in zip(members, shrink(k[members], n[members]), strict=True):
            shrunk[at] = interval
    return [
        Judged(
            c,
            proportion(int(k[i]), int(n[i])),
            difference(
                proportion(int(k[i]), int(n[i]), wide),
                proportion(hits - int(k[i]), total - int(n[i]), wide),
            ),
            shrunk[i],  # type: ignore[arg-type]
            bool(rejected[i]),
        )
        for i, c in enumerate(found)
    ]


def shrink(successes: Int[np.ndarray, " g"], trials: Int[np.ndarray, " g"]) -> list[Interval]:
    """Rates of several groups under a common Beta prior of unknown strength.

    Prior Beta(m M, (1 - m) M), with m the pooled rate and M on a grid from 1 to the number of
    trials (no prior is known better than the data it is made of), flat in log M and weighted
    by the beta-binomial likelihood of all groups. The posterior of a rate is the mixture over
    M of Beta(m M + k, (1 - m) M + n - k); averaging over M instead of taking the best one
    keeps the intervals from being too short. Ends: of the Beta with the mixture's moments.

    >>> [round(i.value, 2) for i in shrink(np.array([0, 90]), np.array([1, 100]))]
    [0.82, 0.9]
    """
    k, n = np.asarray(successes, float), np.asarray(trials, float)
    m = float(np.clip((k.sum() + 0.5) / (n.sum() + 1), 1e-6, 1 - 1e-6))
    strength = np.geomspace(1, max(2.0, n.sum()), 40)[:, None]
    a, b = m * strength, (1 - m) * strength
    likelihood = (betaln(a + k, b + n - k) - betaln(a, b)).sum(axis=1)
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    total = a + b + n
    means = (a + k) / total
    value = weight @ means
    spread = weight @ (means * (1 - means) / (total + 1) + means**2) - value**2
    size = value * (1 - value) / spread - 1
    low, high = stats.beta.ppf(
        [[(1 - LEVEL) / 2], [(1 + LEVEL) / 2]], value * size, (1 - value) * size
    )
    return [
        Interval(float(v), float(lo), float(hi), int(t), LEVEL, "beta-binomial shrinkage")
        for v, lo, hi, t in zip(value, low, high, n, strict=True)
    ]


def _levels(family: str, values: np.ndarray) -> list[Cell]:
    levels = np.unique(values)
    if len(levels) < 2:
        return []
    if len(levels) > min(MAX_LEVELS, len(values) // 3):
        return _quartiles(family, values)
    return [Cell(family, str(v), values == v) for v in levels]


def _quartiles(family: str, values: np.ndarray) -> list[Cell]:
    try:
        numeric = values.astype(float)
    except ValueError:
        return []  # names of many kinds: an identifier
    cuts = np.unique(np.nanquantile(numeric, np.linspace(0, 1, BINS + 1)))
    return [
        Cell(
            family,
            f"{lo:.4g} to {hi:.4g}",
            (numeric > lo if i else numeric >= lo) & (numeric <= hi),
        )
        for i, (lo, hi) in enumerate(pairwise(cuts))
    ]
