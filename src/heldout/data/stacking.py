"""One posterior from many held-out predictions, for labels some of which are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from heldout.data.el2n import check_probs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FLOOR = 1e-6
_STARTS = (-4.0, -2.0, -0.5)  # logits of the lapse rate from which the fit starts


@dataclass(frozen=True)
class LapseFit:
    """A pooled classifier of the labels as they would be without random errors."""

    weights: dict[str, float]
    """Weight of each source's log-probabilities."""
    lapse: float
    """Share of labels drawn at random, right ones among them, in [0, 1)."""
    clean: FloatArray
    """(n, C) pooled probabilities of the classes before random errors."""
    log_likelihood: float
    """Of the given labels, in nats."""


def temper(scores: FloatArray, labels: IntArray) -> FloatArray:
    """Turn scores into probabilities: softmax at the temperature of least log-loss.

    Args:
        scores: (n, C) held-out scores, larger for likelier classes.
        labels: (n,) class ids.

    Returns:
        (n, C) probabilities, none below 1e-6. No pass over the data.

    >>> temper(np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]]), np.array([0, 0, 1, 1])).shape
    (4, 2)
    """
    rows = np.arange(len(labels))

    def loss(log_scale: float) -> float:
        return float(-log_softmax(np.exp(log_scale) * scores, axis=1)[rows, labels].mean())

    best = minimize_scalar(loss, bounds=(-3.0, 4.5), method="bounded").x
    probs = np.maximum(softmax(np.exp(best) * scores, axis=1), _FLOOR)
    return probs / probs.sum(axis=1, keepdims=True)


def fit_lapse(
    sources: Mapping[str, FloatArray],
    labels: IntArray,
    lapse: float | None = None,
    pull: float = 1.0,
) -> LapseFit:
    """Pool sources and estimate the share of random labels, by maximum likelihood.

    The model is `P(y = c | x) = (1 - l) softmax(sum_k w_k log p_k(x))_c + l / C` with weights
    `w_k >= 0`. Since every source predicted each row without its own label, the likelihood of
    the given labels is honest. The lapse term keeps a few confident misses from flattening the
    pool, and `l (C - 1) / C` is the rate of wrong labels if these are uniform.

    Args:
        sources: name to (n, C) held-out probabilities.
        labels: (n,) given class ids.
        lapse: hold the lapse rate at this value instead of fitting it.
        pull: strength of the quadratic pull of log-weights towards equal weights.

    Returns:
        The fit. A few hundred evaluations of K n C multiply-adds.

    Raises:
        InputError: see `heldout.data.el2n.check_probs`.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]])
    >>> fit_lapse({"a": p}, np.array([0, 0, 1, 1])).lapse < 0.05
    True
    """
    logs = np.stack([np.log(np.maximum(_tempered(p, labels), _FLOOR)) for p in sources.values()])
    logs -= logs.mean(axis=2, keepdims=True)
    count, n, classes = logs.shape
    rows = np.arange(n)
    equal = np.log(1.0 / count)
    given = logs[:, rows, labels]

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        weights, rate = np.exp(theta[:count]), expit(theta[count]) if lapse is None else lapse
        probs = softmax(np.tensordot(weights, logs, 1), axis=1)
        right = probs[rows, labels]
        mixed = np.maximum((1 - rate) * right + rate / classes, 1e-300)
        away = theta[:count] - equal
        value = float(-np.log(mixed).sum() + pull * (away**2).sum())
        slope = given - np.einsum("knc,nc->kn", logs, probs)
        by_weight = -(((1 - rate) * right / mixed) * slope).sum(axis=1) * weights + 2 * pull * away
        by_rate = -((1 / classes - right) / mixed).sum() * rate * (1 - rate)
        return value, np.append(by_weight, by_rate if lapse is None else 0.0)

    found = [
        minimize(loss, np.append(np.full(count, equal), start), jac=True, method="L-BFGS-B",
                 bounds=[(-7.0, 2.0)] * count + [(-9.0, 3.0)])
        for start in (_STARTS if lapse is None else (0.0,))
    ]  # fmt: skip
    best = min(found, key=lambda r: r.fun)
    weights = np.exp(best.x[:count])
    clean = softmax(np.tensordot(weights, logs, 1), axis=1)
    rate = float(expit(best.x[count])) if lapse is None else lapse
    return LapseFit(
        dict(zip(sources, weights.tolist(), strict=True)), rate, clean, -float(best.fun)
    )


def lapse_range(
    sources: Mapping[str, FloatArray], labels: IntArray, best: LapseFit, drop: float = 1.92
) -> tuple[float, float]:
    """Profile-likelihood interval of the lapse rate: where the log-likelihood falls by `drop`.

    Args:
        sources: as for `fit_lapse`.
        labels: as for `fit_lapse`.
        best: the unrestricted fit.
        drop: 1.92 for 95 % (half the chi-squared quantile with one degree of freedom).

    Returns:
        Lower and upper end. At most about 16 restricted fits.

    >>> p = np.tile([[0.99, 0.01], [0.01, 0.99]], (50, 1)); y = np.tile([0, 1], 50)
    >>> low, high = lapse_range({"a": p}, y, fit_lapse({"a": p}, y))
    >>> low == 0 and high < 0.1
    True
    """

    def inside(rate: float) -> bool:
        held = fit_lapse(sources, labels, lapse=rate)
        return held.log_likelihood > best.log_likelihood - drop

    low = 0.0 if inside(0.0) else _edge(inside, best.lapse, 0.0)
    high = _edge(inside, best.lapse, 0.97)
    return low, high


def _edge(inside: object, start: float, end: float) -> float:
    # Bisection between a rate that is inside and one that is not.
    assert callable(inside)
    for _ in range(7):
        middle = (start + end) / 2
        start, end = (middle, end) if inside(middle) else (start, middle)
    return float((start + end) / 2)


def _tempered(probs: FloatArray, labels: IntArray) -> FloatArray:
    checked, y = check_probs(probs, labels)
    return temper(np.log(np.maximum(checked, _FLOOR)), y)
