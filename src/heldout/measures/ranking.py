"""Whether a measure ranks models as their generalization gaps do."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.measures._pairs import Pairs, of_runs, pairs_of
from heldout.measures.robust_ranking import environment_errors

Axes = Mapping[str, np.ndarray]
"""Each hyperparameter's value in every run, (n,)."""


@dataclass(frozen=True)
class Ranking:
    """How well one measure ranks; intervals resample whole configurations with all their runs."""

    tau: Interval
    """Kendall's rank correlation, -1 to 1."""
    psi: Interval
    """Granulated: the mean of `by_axis`, -1 to 1."""
    by_axis: dict[str, Interval] = field(default_factory=dict)
    """Rank correlation among runs that differ only in that hyperparameter, -1 to 1."""
    information: Interval | None = None
    """Least normalized conditional information given two hyperparameters or fewer, 0 to 1."""
    worst_sign_error: Interval | None = None
    """Largest weighted share of pairs ranked wrongly over environments, 0 to 1."""
    environments: int = 0
    """How many environments had enough pairs that are not noise."""


def kendall_tau(measure: Float[np.ndarray, " n"], gap: Float[np.ndarray, " n"]) -> float:
    """Mean over pairs of runs of `sign(m_a - m_b) sign(g_a - g_b)`; ties count 0.

    Jiang et al. 2020, eq. 1. In [-1, 1]; 1: the measure ranks as the gap does. NaN below two runs.

    Raises:
        InputError: arrays of different length, or values that are not finite.

    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2])).__round__(3)
    0.333
    """
    measure, gap = of_runs(measure, gap)
    signs = np.sign(np.subtract.outer(measure, measure)) * np.sign(np.subtract.outer(gap, gap))
    n = len(signs)
    return float(signs.sum() / (n * (n - 1))) if n > 1 else float("nan")


def granulated_tau(
    measure: Float[np.ndarray, " n"], gap: Float[np.ndarray, " n"], axes: Axes
) -> dict[str, float]:
    """Kendall's tau among runs that differ in one hyperparameter only, for each of them.

    `psi_i`: among the runs that share all hyperparameters but i, the mean sign product of pairs
    with different i; then the mean over such groups (Jiang et al. 2020, eq. 2). Their mean over
    i is Psi. NaN for a hyperparameter that does not vary.

    Args:
        measure: of each run.
        gap: of each run.
        axes: hyperparameters; runs that share all of them are repeats.

    >>> axes = {"width": np.array([1, 1, 2, 2]), "rate": np.array([1, 2, 1, 2])}
    >>> granulated_tau(np.array([1.0, 3, 2, 4]), np.array([0.1, 0.2, 0.3, 0.4]), axes)
    {'width': 1.0, 'rate': 1.0}
    """
    pairs = pairs_of(measure, gap, axes)
    return _granulated(pairs, np.ones(len(pairs.configurations)))


def conditional_information(
    measure: Float[np.ndarray, " n"], gap: Float[np.ndarray, " n"], axes: Axes, given: int = 2
) -> float:
    """Least of `I(V_m; V_g | U_S) / H(V_g | U_S)` over sets S of at most `given` axes.

    V are the signs of a pair's differences in measure and gap, U_S the values that both runs have
    of the hyperparameters in S (Jiang et al. 2020, eqs. 5-8). 0: the measure says nothing of the
    gap that some two hyperparameters do not say already; 1: it says all. Pairs in which either
    is tied are left out, and each value of U_S weighs the same, as in the paper.

    Raises:
        InputError: arrays of different length, values that are not finite, or `given` below 0.

    >>> axes = {"width": np.arange(6)}
    >>> conditional_information(np.arange(6.0), np.arange(6.0), axes, given=0)
    1.0
    """
    if given < 0:
        raise InputError(f"given={given}", "0 axes or more", "given=2, as in the paper")
    pairs = pairs_of(measure, gap, axes)
    a, b = np.nonzero(pairs.signs != 0)
    ahead = pairs.ahead[a, b]
    agree = pairs.signs[a, b] > 0
    wins = np.where(agree, ahead, ~ahead)
    codes = pairs.run_levels
    found = []
    for size in range(given + 1):
        for subset in itertools.combinations(range(codes.shape[1]), size):
            value, levels = np.zeros(len(codes), int), 1
            for column in subset:
                many = int(codes[:, column].max()) + 1
                value, levels = value * many + codes[:, column], levels * many
            found.append(_information(value[a] * levels + value[b], wins, ahead))
    return float(min(found)) if found else float("nan")


def _information(given: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    if not len(one):
        return float("nan")
    cell = given * 4 + 2 * one + other
    table = np.bincount(cell, minlength=4 * (int(given.max()) + 1)).reshape(-1, 2, 2)
    table = table[table.sum(axis=(1, 2)) > 0]
    joint = table / table.sum(axis=(1, 2), keepdims=True)
    entropy = _entropy(joint.sum(1)).sum()
    both = _entropy(joint.reshape(len(joint), 4)).sum()
    shared = _entropy(joint.sum(2)).sum() + entropy - both
    return float(shared / entropy) if entropy > 0 else float("nan")


def _entropy(p: np.ndarray) -> np.ndarray:
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)


def rank(
    measure: Float[np.ndarray, " n"], gap: Float[np.ndarray, " n"], axes: Axes, test_size: int,
    *, fewest_pairs: float = 12.0, draws: int = 500, seed: int = 0, level: float = 0.95,
) -> Ranking:  # fmt: skip
    """Rank correlation, granulated, by information and at worst, with bootstrap intervals.

    Runs that share all hyperparameters are repeats of one configuration; resampling takes whole
    configurations, and pairs are of runs of different configurations.

    Args:
        measure: of each run.
        gap: test error minus training error of each run.
        axes: hyperparameters of each run, without the seed.
        test_size: examples behind each gap; with few, most differences are noise.
        fewest_pairs: effective pairs that an environment needs; see `environment_errors`.
        draws: resamples.
        seed: of the resamples.
        level: coverage aimed at.

    Raises:
        InputError: arrays of different length, values that are not finite, fewer than three
            configurations, a hyperparameter that never varies, or a level outside 0 to 1.

    Cost: n^2 per draw, for n configurations; information is resampled at most 50 times.

    >>> axes = {"width": np.repeat([1, 2, 3, 4], 2)}
    >>> found = rank(np.arange(8.0), np.arange(8.0) / 10, axes, 1000, draws=20)
    >>> found.tau.value
    1.0
    """
    pairs = pairs_of(measure, gap, axes)
    if len(pairs.configurations) < 3:
        raise InputError(
            f"{len(pairs.configurations)} configurations", "three or more", "train more models"
        )
    if still := [k for k, v in axes.items() if len(np.unique(v)) < 2]:
        raise InputError(
            f"hyperparameters that never vary: {still}", "two values or more", "leave them out"
        )
    if not 0 < level < 1 or draws < 0:
        raise InputError(f"level={level}, {draws} draws", "0 < level < 1", "level=0.95, draws=500")
    errors = environment_errors(measure, gap, axes, test_size, fewest_pairs=fewest_pairs)
    count = len(pairs.configurations)
    rng = stream(seed, "ranking")
    weights: list[np.ndarray] = [np.ones(count)]
    weights += [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(draws)]
    tau = [_weighted(pairs, w) for w in weights]
    by_axis = [_granulated(pairs, w) for w in weights]
    psi = [_mean(list(b.values())) for b in by_axis]
    worst = [
        errors.worst(w) if len(errors.loss) else float("nan") for w in weights
    ]  # fmt: skip
    information = [
        conditional_information(*_resampled(measure, gap, axes, pairs, w)) for w in weights[:51]
    ]

    def interval(found: list[float]) -> Interval:
        kept = np.array(found[1:])
        kept = kept[np.isfinite(kept)]
        ends = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]) if len(kept) else [np.nan] * 2
        method = "percentile bootstrap over configurations"
        return Interval(found[0], float(ends[0]), float(ends[1]), count, level, method)

    return Ranking(
        interval(tau), interval(psi),
        {k: interval([b[k] for b in by_axis]) for k in axes},
        interval(information), interval(worst) if len(errors.loss) else None, len(errors.loss),
    )  # fmt: skip


def _mean(values: list[float]) -> float:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.mean(kept)) if kept else float("nan")


def _weighted(pairs: Pairs, w: np.ndarray) -> float:
    both = np.outer(w, w) * pairs.counts
    np.fill_diagonal(both, 0)
    total = both.sum()
    return float((both * pairs.mean).sum() / total) if total else float("nan")


def _granulated(pairs: Pairs, w: np.ndarray) -> dict[str, float]:
    found = {}
    for name, (group, near) in pairs.single.items():
        both = np.outer(w, w) * pairs.counts * near
        top = np.bincount(group, (both * pairs.mean).sum(1))
        below = np.bincount(group, both.sum(1))
        kept = below > 0
        found[name] = float((top[kept] / below[kept]).mean()) if kept.any() else float("nan")
    return found


def _resampled(
    measure: np.ndarray, gap: np.ndarray, axes: Axes, pairs: Pairs, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Axes]:
    rows = np.repeat(np.arange(len(measure)), w[pairs.owner].astype(int))
    return measure[rows], gap[rows], {k: np.asarray(v)[rows] for k, v in axes.items()}
