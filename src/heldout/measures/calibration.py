"""Whether confidence means what it says, and the temperature that would mend it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar

from heldout.core.errors import InputError
from heldout.core.statistics import cross_entropy, softmax


def reliability(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = 15
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """Mean confidence, accuracy and count of bins of equal mass, in order of confidence.

    Args:
        confidence: largest probability of each example, 0 to 1.
        correct: whether the prediction was right.
        bins: number of bins; fewer when there are fewer than 10 examples per bin.

    Raises:
        InputError: there are no examples.

    >>> reliability(np.full(40, 0.9), np.arange(40) % 2 == 0, bins=2)[1].tolist()
    [0.5, 0.5]
    """
    n = len(confidence)
    if n == 0:
        raise InputError("no examples", "at least one", "pass a labelled split")
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, max(1, min(bins, n // 10)))
    mean = np.array([confidence[p].mean() for p in parts])
    accuracy = np.array([np.mean(correct[p]) for p in parts])
    return mean, accuracy, np.array([len(p) for p in parts])


def expected_calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = 15
) -> float:
    """ECE = sum_b (n_b / n) |accuracy_b - confidence_b| with bins of equal mass, 0 to 1.

    The plug-in form is biased up: a perfectly calibrated model gets about sqrt(bins / n). See
    `calibrated_reference` for that bias and `root_calibration_error` for a form without it.
    Naeini et al. 2015; Guo et al. 2017 (arXiv 1706.04599), equation 3.

    >>> expected_calibration_error(np.full(100, 0.75), np.arange(100) % 4 != 0, bins=1)
    0.0
    """
    mean, accuracy, count = reliability(confidence, correct, bins)
    return float(np.sum(count * np.abs(accuracy - mean)) / count.sum())


def root_calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], bins: int = 15
) -> float:
    """Root of the debiased squared calibration error, 0 to 1; 0 where the debiased sum is negative.

    sqrt(max(0, sum_b (n_b / n) [(accuracy_b - confidence_b)^2 - a_b (1 - a_b) / (n_b - 1)])):
    the second term is the sampling variance of the bin's accuracy a_b. Kumar, Liang and Ma 2019
    (arXiv 1909.10155), definition of the debiased estimator.

    >>> root_calibration_error(np.full(100, 0.9), np.arange(100) % 2 == 0, bins=1) > 0.39
    True
    """
    mean, accuracy, count = reliability(confidence, correct, bins)
    variance = accuracy * (1 - accuracy) / np.maximum(count - 1, 1)
    total = float(np.sum(count * ((accuracy - mean) ** 2 - variance)) / count.sum())
    return float(np.sqrt(max(0.0, total)))


def calibrated_reference(
    confidence: Float[np.ndarray, " n"], rng: np.random.Generator, bins: int = 15, draws: int = 200
) -> Float[np.ndarray, " draws"]:
    """ECE values that a perfectly calibrated model with these confidences would get.

    Outcomes are drawn with the stated confidence as probability (consistency resampling,
    Broecker and Smith 2007).

    >>> null = calibrated_reference(np.full(400, 0.5), np.random.default_rng(0), draws=20)
    >>> bool(null.mean() < 0.1)
    True
    """
    return np.array(
        [
            expected_calibration_error(confidence, rng.random(len(confidence)) < confidence, bins)
            for _ in range(draws)
        ]
    )


def temperature(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Temperature T > 0 that minimizes the cross-entropy of softmax(logits / T).

    Above 1: the model is over-confident. Searched between 0.05 and 20. Guo et al. 2017 (arXiv
    1706.04599), section 4.2.

    >>> logits = np.array([[4.0, 0.0]] * 10); labels = np.array([0] * 8 + [1] * 2)
    >>> round(temperature(logits, labels), 2)  # softmax(4 / T) = 0.8 at T = 4 / ln 4
    2.89
    """
    found = minimize_scalar(
        lambda t: float(cross_entropy(logits / np.exp(t), labels).mean()),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def mended(
    logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Float[np.ndarray, "n c"]:
    """Probabilities after temperature scaling, each half with the other half's temperature.

    >>> mended(np.zeros((4, 2)), np.array([0, 1, 0, 1]), np.random.default_rng(0)).shape
    (4, 2)
    """
    halves = np.array_split(rng.permutation(len(labels)), 2)
    out = np.empty(logits.shape)
    for here, other in (halves, halves[::-1]):
        out[here] = softmax(logits[here] / temperature(logits[other], labels[other]))
    return out
