"""Pairs of runs, summed up by the configurations that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heldout.core.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """Sign products of all pairs of runs, and their means between configurations."""

    signs: np.ndarray
    """sign(m_a - m_b) sign(g_a - g_b), (runs, runs)."""
    ahead: np.ndarray
    """Whether g_a > g_b, (runs, runs)."""
    owner: np.ndarray
    """Configuration of each run."""
    configurations: np.ndarray
    """Levels of each hyperparameter, (configurations, axes)."""
    run_levels: np.ndarray
    """The same for each run."""
    counts: np.ndarray
    """Pairs of runs between two configurations."""
    mean: np.ndarray
    """Mean sign product between two configurations."""
    single: dict[str, tuple[np.ndarray, np.ndarray]]
    """By hyperparameter: group of each configuration by all others, and whether two
    configurations differ in this one only."""


def pairs_of(measure: np.ndarray, gap: np.ndarray, axes: Mapping[str, np.ndarray]) -> Pairs:
    """See `Pairs`.

    >>> pairs_of(np.arange(2.0), np.arange(2.0), {"a": np.arange(2)}).mean.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    measure, gap = of_runs(measure, gap)
    levels, configurations, owner = configurations_of(len(measure), axes)
    up = np.subtract.outer(gap, gap)
    signs = np.sign(np.subtract.outer(measure, measure)) * np.sign(up)
    counts, total = by_configuration(owner, np.ones_like(signs)), by_configuration(owner, signs)
    single = {}
    for i, name in enumerate(axes):
        rest = np.delete(configurations, i, axis=1)
        group = np.unique(rest, axis=0, return_inverse=True)[1].reshape(-1)
        other = configurations[:, i][:, None] != configurations[:, i][None]
        single[name] = (group, (group[:, None] == group[None]) & other)
    return Pairs(
        signs, up > 0, owner, configurations, levels, counts, total / counts, single
    )  # fmt: skip


def of_runs(measure: ArrayLike, gap: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return a measure and a gap of every run as float64.

    Raises:
        InputError: arrays of different length, or values that are not finite.

    >>> of_runs([1, 2], [0.1, 0.2])[0]
    array([1., 2.])
    """
    one, other = np.asarray(measure, float), np.asarray(gap, float)
    if one.ndim != 1 or one.shape != other.shape or not (
        np.isfinite(one).all() and np.isfinite(other).all()
    ):  # fmt: skip
        raise InputError(
            f"measures {one.shape} and gaps {other.shape}, finite or not",
            "one finite number of each for every run",
            "drop the runs that did not converge, from both",
        )
    return one, other


def configurations_of(
    n: int, axes: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels of each run, the distinct ones, and which of these each run has.

    >>> configurations_of(3, {"a": np.array([5, 5, 7])})[2].tolist()
    [0, 0, 1]
    """
    columns = {k: np.asarray(v).reshape(-1) for k, v in axes.items()}
    if not columns or any(len(v) != n for v in columns.values()):
        raise InputError(
            f"{n} runs and hyperparameters of lengths {[len(v) for v in columns.values()]}",
            "the value of at least one hyperparameter in every run",
            "axes={'width': widths, ...}",
        )
    codes = [np.unique(v, return_inverse=True)[1].reshape(-1) for v in columns.values()]
    levels = np.stack(codes, axis=1)
    configurations, owner = np.unique(levels, axis=0, return_inverse=True)
    return levels, configurations, owner.reshape(-1)


def by_configuration(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum a (runs, runs) array over the runs of each configuration.

    >>> by_configuration(np.array([0, 0, 1]), np.ones((3, 3))).tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    member = np.zeros((owner.max() + 1, len(owner)))
    member[owner, np.arange(len(owner))] = 1
    return member @ values @ member.T
