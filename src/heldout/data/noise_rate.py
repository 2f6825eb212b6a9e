"""How many labels are wrong, told apart from how hard the classes are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.data.stacking import LapseFit, fit_lapse, lapse_range

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RATES = np.linspace(0.0, 0.6, 121)
_POWERS = np.array([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 14.0])
_HEIGHTS = np.linspace(0.0, 0.75, 16)
_BINS = 40
_CORROBORATED = 0.02  # lapse rate that confirms a floor
_BEYOND_DOUBT = 0.12  # a floor this high needs no confirmation
_FLOOR = 0.002  # share of disagreement that even clean, easy rows may show


def plateau_rate(confidence: FloatArray, disagrees: NDArray[np.bool_]) -> Interval:
    """Rate of wrong labels from how often confident held-out predictions are contradicted.

    Overlap of the classes makes errors that vanish as confidence grows; a wrong label does not
    care how easy its example is, so it leaves a floor. With r the rank of confidence (0 for the
    most confident, 1 for the least), `P(label != prediction) = q + (1 - q) A r^k`; the posterior
    of the floor q is taken over a grid of (q, A, k) with a flat prior, k from 1/2 to 14.

    Args:
        confidence: (n,) held-out confidence, in any monotone unit.
        disagrees: (n,) whether the given label is not the predicted one.

    Returns:
        Posterior mean and 95 % interval of q, in [0, 0.6]. No pass over the data.

    Raises:
        InputError: fewer than 10 rows.

    >>> rng = np.random.default_rng(0)
    >>> confidence = rng.uniform(size=2000)
    >>> wrong = rng.uniform(size=2000) < 0.2 + 0.3 * (1 - confidence) ** 3
    >>> 0.2 in plateau_rate(confidence, wrong)
    True
    """
    n = len(confidence)
    if n < 10:
        raise InputError(f"{n} rows", "at least 10", "collect more labelled examples")
    order = np.argsort(-confidence, kind="stable")
    edges = np.linspace(0, n, min(_BINS, n) + 1).astype(int)
    hits = np.add.reduceat(disagrees[order].astype(float), edges[:-1])
    size, rank = np.diff(edges), (edges[:-1] + edges[1:]) / (2 * n)
    q = _RATES[:, None, None, None]
    shape = _HEIGHTS[:, None, None] * rank ** _POWERS[:, None]
    rate = np.clip(q + (1 - q) * shape[None], _FLOOR, 1 - _FLOOR)
    likelihood = (hits * np.log(rate) + (size - hits) * np.log1p(-rate)).sum(axis=-1)
    weight = np.exp(likelihood - likelihood.max()).sum(axis=(1, 2))
    weight /= weight.sum()
    low, high = (float(np.interp(p, weight.cumsum(), _RATES)) for p in (0.025, 0.975))
    mean = float((weight * _RATES).sum())
    return Interval(mean, min(low, mean), high, n, 0.95, "posterior of the error floor")


def lapse_rate(sources: Mapping[str, FloatArray], labels: IntArray) -> Interval:
    """Rate of wrong labels as a lapse rate: labels no pooled classifier would give.

    With three classes or more, a uniformly wrong label mostly lands in a class that overlap
    cannot explain; with two classes only the tails of the scores tell, so bounded scores hide
    errors and this is a lower estimate.

    Args:
        sources: name to (n, C) held-out probabilities.
        labels: (n,) given class ids.

    Returns:
        `l (C - 1) / C` of the maximum-likelihood fit with its profile interval.

    Raises:
        InputError: see `heldout.data.el2n.check_probs`.

    >>> p = np.tile([[0.99, 0.01], [0.01, 0.99]], (50, 1)); y = np.tile([0, 1], 50)
    >>> bool(lapse_rate({"a": p}, y).value < 0.02)
    True
    """
    fit = fit_lapse(sources, labels)
    low, high = lapse_range(sources, labels, fit)
    share = 1.0 - 1.0 / fit.clean.shape[1]
    return Interval(
        fit.lapse * share, low * share, high * share, len(labels), 0.95, "profile likelihood"
    )


def noise_rate(
    sources: Mapping[str, FloatArray],
    labels: IntArray,
    pooled: LapseFit,
    linear: tuple[str, ...] = ("linear", "logistic", "net"),
) -> Interval:
    """Rate of wrong labels, from the error floor and the lapse rate together.

    The floor errs upwards on hard classes, whose overlap reaches into the most confident rows;
    the lapse rate errs downwards where scores saturate, above all with two classes and many
    errors. Two or three classes: their mean, moving to the floor alone between floors of 20 %
    and 30 %. Four or more: the smaller of the two, the lapse rate being well identified. These
    rules were chosen on real tables, and are checked on others in `benchmarks/label_noise.py`.

    Args:
        sources: name to (n, C) held-out probabilities.
        labels: (n,) given class ids.
        pooled: `fit_lapse(sources, labels)`.
        linear: sources with unbounded scores, for the second reading of the lapse rate.

    Returns:
        Estimate and interval. The lower end is above 0 only where both methods see errors, or
        where the floor is above 12 % beyond doubt: otherwise hard classes may be the cause.

    >>> p = np.tile([[0.98, 0.02], [0.02, 0.98]], (100, 1)); y = np.tile([0, 1], 100)
    >>> y[:20] = 1 - y[:20]
    >>> 0.1 in noise_rate({"a": p}, y, fit_lapse({"a": p}, y))
    True
    """
    ordered = np.sort(pooled.clean, axis=1)
    confidence = ordered[:, -1] - ordered[:, -2]
    floor = plateau_rate(confidence, pooled.clean.argmax(axis=1) != labels)
    unbounded = {k: sources[k] for k in linear if k in sources}
    lapses = [lapse_rate(s, labels) for s in (sources, unbounded) if s]
    classes = pooled.clean.shape[1]
    if classes <= 3:
        value, low, high = _few_classes(floor, lapses, classes)
    else:
        value = min(floor.value, max(x.value for x in lapses))
        low = min(floor.low, max(x.low for x in lapses))
        high = min(floor.high, max(x.high for x in lapses))
    return Interval(value, min(low, value), max(high, value), len(labels), 0.95,
                    "error floor and lapse rate")  # fmt: skip


def _few_classes(
    floor: Interval, lapses: list[Interval], classes: int
) -> tuple[float, float, float]:
    lapse = max(x.value for x in lapses) if classes == 2 else lapses[-1].value
    share = 0.5 + 0.5 * float(np.clip((floor.value - 0.2) / 0.1, 0, 1))
    value = share * floor.value + (1 - share) * min(lapse, floor.value + 0.02)
    seen = lapse >= _CORROBORATED or floor.low > _BEYOND_DOUBT
    return value, floor.low if seen else 0.0, max(floor.high, value)
