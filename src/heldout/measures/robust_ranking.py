"""The worst case of a measure: the environment in which it ranks most pairs the wrong way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from heldout.core.errors import InputError
from heldout.measures._pairs import by_configuration, configurations_of, of_runs


@dataclass(frozen=True)
class Environments:
    """Pairs of configurations that differ in one hyperparameter, and a measure's error there."""

    loss: Float[np.ndarray, " e"]
    """Weighted share of pairs of runs that the measure ranks wrongly, 0-1; a tie counts 1/2."""
    effective: Float[np.ndarray, " e"]
    """Effective number of pairs, (sum w)^2 / sum w^2."""
    axis: tuple[str, ...]
    """The hyperparameter that differs."""
    between: np.ndarray
    """Both configurations, (e, 2), by their rank in the order of hyperparameter values."""

    def worst(self, weights: np.ndarray | None = None) -> float:
        """Return the largest loss, of environments of which both configurations are drawn.

        Args:
            weights: how often each configuration was drawn; all once when None.
        """
        kept = np.ones(len(self.loss), bool)
        if weights is not None and len(self.loss):
            kept = (weights[self.between] > 0).all(axis=1)
        return float(self.loss[kept].max()) if kept.any() else float("nan")


def hoeffding_weight(
    difference: Float[np.ndarray, "*any"], test_size: int
) -> Float[np.ndarray, "*any"]:
    """`max(0, 1 - 2 exp(-n d^2 / 2))^2`: how surely two gaps on n examples differ at all.

    Each gap is off by more than d / 2 with probability at most 2 exp(-2 n (d/2)^2) (Dziugaite et
    al. 2020, section 5).

    Raises:
        InputError: a test size below 1.

    >>> hoeffding_weight(np.array([0.0, 0.1]), 10_000).round(3).tolist()
    [0.0, 1.0]
    """
    if not test_size >= 1:
        raise InputError(
            f"test size {test_size}",
            "at least one test example",
            "pass the number of examples that the gaps were measured on",
        )
    bound = 2 * np.exp(-2 * test_size * (np.asarray(difference) / 2) ** 2)
    return np.maximum(0.0, 1 - bound) ** 2


def environment_errors(
    measure: Float[np.ndarray, " n"], gap: Float[np.ndarray, " n"],
    axes: Mapping[str, np.ndarray], test_size: int, *, fewest_pairs: float = 12.0,
) -> Environments:  # fmt: skip
    """Sign errors of a measure in every environment (Dziugaite et al. 2020, section 5).

    An environment changes one hyperparameter from one value to another and holds all others. Its
    loss is the mean of `(1 - sign(m_a - m_b) sign(g_a - g_b)) / 2` over pairs of repeats, weighted
    by how far `hoeffding_weight` is above 1/2 (as in the authors' code; pairs at or below do not
    count). Environments with fewer effective pairs than `fewest_pairs` are left out.

    Args:
        measure: of each run.
        gap: of each run.
        axes: hyperparameters of each run, without the seed.
        test_size: examples behind each gap.
        fewest_pairs: 12 in the authors' code; r repeats of both configurations give r^2 at most.

    Raises:
        InputError: arrays of different length, values that are not finite, or a test size
            below 1.

    >>> axes = {"width": np.repeat([1, 2], 4)}
    >>> gap = np.repeat([0.1, 0.4], 4)
    >>> environment_errors(-gap, gap, axes, 10_000).worst()  # the wrong way round
    1.0
    """
    measure, gap = of_runs(measure, gap)
    _, configurations, owner = configurations_of(len(measure), axes)
    change, up = np.subtract.outer(measure, measure), np.subtract.outer(gap, gap)
    wrong = 0.5 * (1 - np.sign(change) * np.sign(up))
    weight = np.maximum(0.0, hoeffding_weight(up, test_size) - 0.5)
    total = by_configuration(owner, weight)
    squares = by_configuration(owner, weight**2)
    errors = by_configuration(owner, weight * wrong)
    differ = (configurations[:, None] != configurations[None]).sum(-1)
    a, b = np.nonzero(np.triu(differ == 1))
    kept = squares[a, b] > 0
    a, b = a[kept], b[kept]
    effective = total[a, b] ** 2 / squares[a, b]
    enough = effective >= fewest_pairs - 1e-9
    a, b, effective = a[enough], b[enough], effective[enough]
    names = list(axes)
    which = (configurations[a] != configurations[b]).argmax(axis=1) if len(a) else []
    return Environments(
        errors[a, b] / total[a, b] if len(a) else np.zeros(0),
        effective, tuple(names[int(i)] for i in which), np.stack([a, b], axis=1),
    )  # fmt: skip
