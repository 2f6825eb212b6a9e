"""Which labels are probably wrong, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.data.el2n import check_probs, self_confidence
from heldout.data.noise_rate import noise_rate
from heldout.data.stacking import fit_lapse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class NoiseRanking:
    """Every label with its suspicion, and the estimated share of wrong ones."""

    score: FloatArray
    """(n,) one minus the pooled probability of the given label, in [0, 1]."""
    probability: FloatArray
    """(n,) probability that the label is wrong, if `rate` labels were changed at random."""
    suggested: IntArray
    """(n,) most probable class; the given label itself where that is most probable."""
    rate: Interval
    """Estimated share of wrong labels."""
    clean: FloatArray
    """(n, C) pooled probabilities of the classes before random errors."""
    weights: dict[str, float]
    """Weight of each source in the pool."""

    @property
    def order(self) -> IntArray:
        """Positions, most suspicious first."""
        return np.argsort(-self.score, kind="stable")


def rank_label_noise(sources: Mapping[str, FloatArray], labels: IntArray) -> NoiseRanking:
    """Rank labels by suspicion from several models' held-out probabilities.

    The sources are pooled by maximum likelihood with a share of random labels
    (`heldout.data.stacking.fit_lapse`); the rate is `heldout.data.noise_rate.noise_rate`.

    Args:
        sources: name to (n, C) probabilities, each row predicted without its own label.
        labels: (n,) given class ids.

    Returns:
        The ranking. No pass over the data; a second or so for 2,000 rows of ten classes.

    Raises:
        InputError: no source, shapes that differ, labels that are not class ids.

    >>> p = np.tile([[0.98, 0.02], [0.02, 0.98]], (20, 1)); y = np.tile([0, 1], 20); y[3] = 0
    >>> int(rank_label_noise({"a": p}, y).order[0])
    3
    """
    if not sources:
        raise InputError("no source of probabilities", "at least one", "see crossfit_probes")
    checked = {k: check_probs(p, labels)[0] for k, p in sources.items()}
    if len({p.shape for p in checked.values()}) > 1 or any(p.ndim != 2 for p in checked.values()):
        shapes = {k: p.shape for k, p in checked.items()}
        raise InputError(f"shapes {shapes}", "(n, classes) for all", "average over runs first")
    y = np.asarray(labels, dtype=np.int64)
    pooled = fit_lapse(checked, y)
    rate = noise_rate(checked, y, pooled)
    right = self_confidence(pooled.clean, y)
    return NoiseRanking(
        1.0 - right,
        wrong_probability(right, rate.value, pooled.clean.shape[1]),
        pooled.clean.argmax(axis=1).astype(np.int64),
        rate,
        pooled.clean,
        pooled.weights,
    )


def wrong_probability(right: FloatArray, rate: float, classes: int) -> FloatArray:
    """Probability that a label is wrong when a share of labels was redrawn at random.

    With `e = rate / (C - 1)` the chance that a label was changed into one given other class,
    `P(wrong | given) = e (1 - p) / ((1 - rate) p + e (1 - p))` (Bayes).

    Args:
        right: (n,) probability of the given label before random errors.
        rate: share of wrong labels.
        classes: C.

    Returns:
        (n,) probabilities.

    >>> wrong_probability(np.array([0.5, 0.01]), 0.1, 2).round(3)
    array([0.1  , 0.917])
    """
    change = rate / max(classes - 1, 1)
    wrong = change * (1 - right)
    total = (1 - rate) * right + wrong
    return np.divide(wrong, total, out=np.zeros_like(total), where=total > 0)
