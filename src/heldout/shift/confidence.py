"""Published forecasts of accuracy without labels, from predicted probabilities alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from heldout.core.errors import InputError

Floats = NDArray[np.float64]


def _probabilities(p: ArrayLike, name: str) -> Floats:
    out = np.asarray(p, dtype=np.float64)
    if out.ndim != 2 or out.shape[1] < 2 or len(out) == 0:
        raise InputError(f"{name} of shape {out.shape}", "(n, K), n > 0, K > 1", "predict_proba")
    if not np.isfinite(out).all() or out.min() < -1e-6 or np.abs(out.sum(1) - 1).max() > 1e-3:
        raise InputError(f"{name} that are not probabilities", "rows that sum to 1", "softmax")
    return out


def _correct(p: Floats, y: ArrayLike) -> Floats:
    labels = np.asarray(y)
    if labels.shape != (len(p),):
        raise InputError(f"labels of shape {labels.shape}", f"({len(p)},)", "one per row")
    return (p.argmax(1) == labels).astype(np.float64)


def average_confidence(shifted: ArrayLike) -> float:
    """Mean over examples of the largest predicted probability, read as accuracy.

    `shifted` (n, K) probabilities. In [1/K, 1]. One pass. Equals the expected accuracy where
    the model is calibrated (Hendrycks & Gimpel 2017, arXiv:1610.02136, use the same score).

    >>> round(average_confidence([[0.9, 0.1], [0.4, 0.6]]), 6)
    0.75
    """
    return float(_probabilities(shifted, "shifted").max(1).mean())


def difference_of_confidences(test: ArrayLike, y_test: ArrayLike, shifted: ArrayLike) -> float:
    """Test accuracy minus the drop in average confidence, clipped to [0, 1].

    a_test - (AC_test - AC_shifted), with probabilities (n, K) and (m, K). One pass over each.
    Guillory et al. 2021, "Predicting with Confidence on Unseen Distributions"
    (arXiv:2107.03315), the difference of confidences with unit slope.

    >>> difference_of_confidences([[0.9, 0.1]] * 2, [0, 0], [[0.6, 0.4]] * 3)
    0.7
    """
    p, q = _probabilities(test, "test"), _probabilities(shifted, "shifted")
    value = _correct(p, y_test).mean() - (p.max(1).mean() - q.max(1).mean())
    return float(np.clip(round(value, 12), 0, 1))


def atc_score(p: ArrayLike, score: str = "max_confidence") -> Floats:
    """Per-example score of average thresholded confidence; larger = surer. (n, K) -> (n,).

    "max_confidence": the largest probability. "negative_entropy": sum_k p_k log p_k, in nats.

    >>> atc_score([[0.5, 0.5]], "negative_entropy").round(4).tolist()
    [-0.6931]
    """
    probabilities = _probabilities(p, "probabilities")
    if score == "max_confidence":
        return np.asarray(probabilities.max(1))
    if score == "negative_entropy":
        return np.asarray((probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(1))
    raise InputError(f"score {score!r}", "max_confidence or negative_entropy", "one of the two")


def average_thresholded_confidence(
    test: ArrayLike, y_test: ArrayLike, shifted: ArrayLike, score: str = "max_confidence"
) -> float:
    """Share of shifted examples whose score exceeds the threshold t learned on the test set.

    t is the score below which the share of test examples equals the test error:
    mean_i [s(p_i) < t] = 1 - a_test; the forecast is mean_j [s(q_j) >= t], in [0, 1].
    Ties at t count by the share that reproduces the test accuracy exactly, so that a model with
    few distinct confidences (a tree ensemble, a saturated network) is not read as 0 or 1.
    DIFFERS: the authors' code breaks such ties by sort order. One sort.
    Garg et al. 2022, "Leveraging Unlabeled Data to Predict Out-of-Distribution Performance"
    (arXiv:2201.04234), eq. 1 and 2.

    >>> test = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    >>> average_thresholded_confidence(test, [0, 0, 0, 1], [[0.55, 0.45], [0.95, 0.05]])
    0.5
    """
    p, q = _probabilities(test, "test"), _probabilities(shifted, "shifted")
    s, t = np.sort(atc_score(p, score)), atc_score(q, score)
    accuracy = _correct(p, y_test).mean()
    errors = round((1 - accuracy) * len(s))
    if errors >= len(s):
        return 0.0
    threshold = s[errors]
    at = s == threshold
    # Of the test examples tied at the threshold, this share lies on the accepted side.
    share = (at.sum() - (errors - (s < threshold).sum())) / at.sum()
    return float((t > threshold).mean() + share * (t == threshold).mean())


def confidence_optimal_transport(
    class_shares: ArrayLike, shifted: ArrayLike, max_rows: int = 500
) -> float:
    """One minus the transport cost between shifted probabilities and one-hot labels.

    1 - W(q, e_y), with y distributed as `class_shares` (K,) (the source's label shares) and the
    cost ||q_j - e_y||_1 / 2 = 1 - q_{j,y}. In [0, 1]; at most average confidence, with equality
    when the predicted classes have the source's shares. Exact assignment on at most `max_rows`
    evenly spaced rows, cubic in them. Lu et al. 2023, "Predicting Out-of-Distribution Error
    with Confidence Optimal Transport" (arXiv:2302.05018), eq. 3.

    >>> confidence_optimal_transport([0.5, 0.5], [[1.0, 0.0], [1.0, 0.0]])
    0.5
    """
    q = _probabilities(shifted, "shifted")
    q = q[np.linspace(0, len(q) - 1, min(max_rows, len(q))).astype(int)]
    shares = np.asarray(class_shares, dtype=np.float64)
    # Quantiles of the shares give every class its count, rounded without bias.
    middle = (np.arange(len(q)) + 0.5) / len(q)
    y = np.searchsorted(np.cumsum(shares / shares.sum()), middle).clip(0, q.shape[1] - 1)
    cost = 1.0 - q[:, y]
    rows, cols = linear_sum_assignment(cost)
    return float(1.0 - cost[rows, cols].mean())


def nuclear_norm_score(shifted: ArrayLike) -> float:
    """Nuclear norm of the probability matrix over its largest possible value.

    ||P||_* / sqrt(n min(n, K)), in (0, 1]; larger = surer and more diverse predictions, a
    score that rises with accuracy but is not an accuracy. One thin SVD. Deng et al. 2023,
    "Confidence and Dispersity Speak" (arXiv:2302.01094), eq. 3.

    >>> nuclear_norm_score([[1.0, 0.0], [0.0, 1.0]])
    1.0
    """
    p = _probabilities(shifted, "shifted")
    scale = np.sqrt(len(p) * min(p.shape))
    return float(np.linalg.svd(p, compute_uv=False).sum() / scale)


def matrix_norm_score(shifted: ArrayLike, order: float = 4.0) -> float:
    """Entry-wise p-norm of the probability matrix: (mean_ik P_ik^p)^(1/p), in (0, 1].

    A score that rises with accuracy but is not an accuracy. One pass. Xie et al. 2024, "MaNo"
    (arXiv:2405.18979), eq. 4, with order 4.
    DIFFERS: the paper replaces the softmax of badly calibrated models by a Taylor
    polynomial of the logits; this takes the probabilities as they are.

    >>> round(matrix_norm_score([[1.0, 0.0]]) ** 4, 6)
    0.5
    """
    p = _probabilities(shifted, "shifted")
    return float((p**order).mean() ** (1 / order))
