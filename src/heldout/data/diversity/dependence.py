"""How far two factors of a data set go together: normalized information, corrected for chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy import stats
from scipy.special import xlogy

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.data.diversity.factors import discrete

Correction = Literal["miller-madow", "shuffled", "none"]


@dataclass(frozen=True)
class Dependence:
    """Normalized mutual information of two discrete factors, and what chance would give."""

    nmi: Interval
    """2 I(u; v) / (H(u) + H(v)), corrected; 0 independent, 1 one-to-one. Interval by jackknife."""
    plugin: float
    """The same from plain frequencies: too high for few rows or many values."""
    chance: float
    """Mean of `plugin` over shuffles of v: what independent factors would show."""
    p: float
    """Share of shuffles at or above `plugin`, (1 + k) / (1 + shuffles)."""
    nats: float
    """I(u; v), corrected, in nats."""
    correction: Correction
    """How `nmi` and `nats` were corrected."""


def normalized_information(
    u: Any,
    v: Any,
    *,
    correction: Correction = "miller-madow",
    shuffles: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Dependence:
    """Normalized mutual information `2 I(u; v) / (H(u) + H(v))` of two discrete factors.

    Frequencies overstate I by about (cells - rows - columns + 1) / 2n. Miller-Madow adds
    (values seen - 1) / 2n to each entropy, which takes off too little where cells hold fewer than
    about five rows; `shuffled` takes the mean over shuffles off, as (I - E I) / ((H(u) + H(v)) / 2
    - E I), right for independent factors and too much where dependence is strong.

    Args:
        u: values of one factor (n,): integers, strings or booleans.
        v: of the other.
        correction: for finite n.
        shuffles: of v, for `chance` and `p`.
        level: coverage of the interval, delete-one jackknife, cut to 0 to 1.
        seed: of the shuffles.

    Cost: O(n) per shuffle.

    Raises:
        InputError: lengths differ, fewer than 2 rows, a constant factor, continuous values, a
            correction that there is not, or a level outside 0 to 1.

    Jang et al. 2025, arXiv:2508.06426 (shortcut potential); Miller 1955; Vinh et al. 2010.

    >>> u = np.repeat([0, 1], 100)
    >>> normalized_information(u, u).nmi.value
    1.0
    >>> normalized_information(u, np.tile([0, 1], 100)).nmi.value
    0.0
    """
    a, b = discrete(u, "u"), discrete(v, "v")
    if len(a) != len(b) or len(a) < 2:
        raise InputError(f"{len(a)} and {len(b)} values", "equally many, at least 2", "one per row")
    shape = (int(a.max()) + 1, int(b.max()) + 1)
    if min(shape) == 1:
        raise InputError(
            f"a factor with one value ({'u' if shape[0] == 1 else 'v'})",
            "two values or more of each: a constant depends on nothing",
            "pass the whole pooled data set",
        )
    if correction not in get_args(Correction) or not 0 < level < 1 or shuffles < 0:
        raise InputError(
            f"correction={correction!r}, level={level}, {shuffles} shuffles",
            f"one of {get_args(Correction)}, 0 < level < 1, no shuffles or more",
            "correction='miller-madow', level=0.95",
        )
    rng = stream(seed, "normalized information")
    table = _table(a, b, shape)
    null = np.array([_parts(_table(a, rng.permutation(b), shape)) for _ in range(shuffles)])
    hu, hv, joint = _parts(table)
    information = hu + hv - joint
    chances = null[:, 0] + null[:, 1] - null[:, 2] if shuffles else np.zeros(1)
    expected = float(chances.mean())
    value, nats = _corrected(*_moments(table, correction), correction, expected)
    rest = _corrected(*_leave_one_out(table, correction), correction, expected)[0]
    n, cells = len(a), table[table > 0]
    centre = float((cells * rest).sum() / n)
    error = float(np.sqrt((n - 1) / n * (cells * (rest - centre) ** 2).sum()))
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    value = float(np.clip(value, 0, 1))
    found = Interval(
        value, max(0.0, value - half), min(1.0, value + half), n, level,
        f"{correction}, delete-one jackknife",
    )  # fmt: skip
    p = float((1 + (chances >= information - 1e-12).sum()) / (1 + shuffles)) if shuffles else 1.0
    twice = hu + hv
    return Dependence(
        found, 2 * information / twice, 2 * expected / twice, p, max(0.0, float(nats)), correction
    )


def disjoint_islands_information(
    task_entropy: Sequence[float], factor_entropy: Sequence[float]
) -> float:
    """Closed form for M equal parts that share no task and no value of the factor.

    `2 ln M / (2 ln M + mean_i(H_i(u) + H_i(v)))`: variety inside the parts lowers it; how far
    apart they lie does not appear.

    Args:
        task_entropy: H_i(u) of each part, nats.
        factor_entropy: H_i(v) of each part, nats.

    Raises:
        InputError: fewer than two parts, unequal numbers of entropies, or some below 0.

    Jang et al. 2025, arXiv:2508.06426.

    >>> round(disjoint_islands_information([0.0, 0.0], [np.log(2)] * 2), 3)
    0.667
    """
    every = np.concatenate([task_entropy, factor_entropy])
    if len(task_entropy) != len(factor_entropy) or len(task_entropy) < 2 or not (every >= 0).all():
        raise InputError(
            f"{len(task_entropy)} and {len(factor_entropy)} entropies",
            "one of each kind per part, two parts or more",
            "disjoint_islands_information([0.0, 0.0], [0.7, 0.7])",
        )
    between = 2 * np.log(len(task_entropy))
    return float(between / (between + np.mean(np.add(task_entropy, factor_entropy))))


def entropy(values: Any, correction: Correction = "miller-madow") -> float:
    """Entropy of a discrete factor in nats, by default with Miller and Madow's (K - 1) / 2n.

    >>> round(entropy([0, 1] * 500, "none"), 4), round(entropy([0, 1] * 500), 4)
    (0.6931, 0.6936)
    """
    counts = np.bincount(discrete(values, "values"))
    plain = float(np.log(counts.sum()) - xlogy(counts, counts).sum() / counts.sum())
    more = (len(counts) - 1) / (2 * counts.sum()) if correction == "miller-madow" else 0.0
    return float(plain + more)


def _table(a: np.ndarray, b: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1]).reshape(shape)


def _parts(table: np.ndarray) -> tuple[float, float, float]:
    """Return the plain entropies of rows, columns and cells."""
    n = table.sum()
    hu, hv, joint = (
        float(np.log(n) - xlogy(c, c).sum() / n) for c in (table.sum(1), table.sum(0), table)
    )
    return hu, hv, joint


def _moments(table: np.ndarray, correction: Correction) -> tuple[Any, Any, Any]:
    found = np.array(_parts(table))
    if correction == "miller-madow":
        seen = [(c > 0).sum() - 1 for c in (table.sum(1), table.sum(0), table)]
        found = found + np.array(seen) / (2 * table.sum())
    return found[0], found[1], found[2]


def _leave_one_out(table: np.ndarray, correction: Correction) -> tuple[Any, Any, Any]:
    """The same entropies without one row of each occupied cell, from the change of c ln c."""
    n = table.sum() - 1
    i, j = np.nonzero(table)
    rows, columns = table.sum(1), table.sum(0)
    found = []
    for every, own in ((rows, rows[i]), (columns, columns[j]), (table, table[i, j])):
        total = xlogy(every, every).sum() - xlogy(own, own) + xlogy(own - 1, own - 1)
        h = np.log(n) - total / n
        if correction == "miller-madow":
            h = h + ((every > 0).sum() - 1 - (own == 1)) / (2 * n)
        found.append(h)
    return found[0], found[1], found[2]


def _corrected(hu: Any, hv: Any, joint: Any, correction: Correction, expected: float) -> Any:
    information, half = hu + hv - joint, (hu + hv) / 2
    if correction == "shuffled":
        return (information - expected) / np.maximum(half - expected, 1e-12), information - expected
    return information / np.maximum(half, 1e-12), information
