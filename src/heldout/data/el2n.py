"""Per-example scores that need only predicted probabilities and the given labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heldout.core.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def check_probs(probs: object, labels: object) -> tuple[FloatArray, IntArray]:
    """Return probabilities and labels as arrays, or say what is wrong with them.

    Args:
        probs: (n, C) or (runs, n, C), rows sum to one.
        labels: (n,) integer class ids below C.

    Raises:
        InputError: wrong rank or length, labels that are not class ids, non-finite or
            negative probabilities.

    >>> check_probs([[0.2, 0.8]], [1])[1]
    array([1])
    """
    p, y = np.asarray(probs, dtype=np.float64), np.asarray(labels)
    if p.ndim not in (2, 3) or y.ndim != 1 or p.shape[-2] != len(y):
        raise InputError(
            f"probabilities of shape {p.shape} and labels of shape {y.shape}",
            "(n, classes) or (runs, n, classes), and (n,)",
            "one row of probabilities per label",
        )
    if y.dtype.kind not in "iub" or (len(y) and (y.min() < 0 or y.max() >= p.shape[-1])):
        raise InputError(
            f"labels of dtype {y.dtype}" + (f" in [{y.min()}, {y.max()}]" if len(y) else ""),
            f"integer class ids in [0, {p.shape[-1] - 1}]",
            "encode the classes as 0..C-1",
        )
    if not np.isfinite(p).all() or (p < -1e-9).any():
        raise InputError(
            "probabilities that are negative, NaN or infinite",
            "finite numbers between 0 and 1",
            "apply softmax to logits first, and look for overflow",
        )
    return p, y.astype(np.int64)


def el2n(probs: FloatArray, labels: IntArray) -> FloatArray:
    """Norm of the error vector: `mean over runs of ||p(x) - onehot(y)||_2`.

    Early in training, a large value marks an example that is hard or mislabelled; at the end
    of training a model that memorises has small values everywhere, so use probabilities from
    early-stopped runs or from folds that did not see the example.

    Args:
        probs: (n, C), or (runs, n, C) to average over runs.
        labels: (n,) class ids.

    Returns:
        (n,) scores in [0, sqrt(2)]; larger is harder. No pass over the data.

    Raises:
        InputError: see `check_probs`.

    Paper: Paul, Ganguli & Dziugaite 2021 (arXiv 2107.07075), definition 2.2.

    >>> el2n(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1])).round(3)
    array([0.   , 1.414])
    """
    p, y = check_probs(probs, labels)
    runs = p[None] if p.ndim == 2 else p
    error = runs - np.eye(p.shape[-1])[y]
    norms: FloatArray = np.linalg.norm(error, axis=-1).mean(axis=0)
    return norms


def self_confidence(probs: FloatArray, labels: IntArray) -> FloatArray:
    """Probability given to the given label: `p(x)[y]`, averaged over runs if there are several.

    Args:
        probs: (n, C) or (runs, n, C).
        labels: (n,) class ids.

    Returns:
        (n,) values in [0, 1]; smaller is more suspicious. No pass over the data.

    Raises:
        InputError: see `check_probs`.

    Paper: Northcutt, Jiang & Chuang 2021 (arXiv 1911.00068), section 3.2.

    >>> self_confidence(np.array([[0.3, 0.7]]), np.array([0]))
    array([0.3])
    """
    p, y = check_probs(probs, labels)
    mean = p if p.ndim == 2 else p.mean(axis=0)
    return mean[np.arange(len(y)), y]


def log_margin(probs: FloatArray, labels: IntArray, floor: float = 1e-6) -> FloatArray:
    """Log-odds of the given label against the best other one: `log p_y - max_{c != y} log p_c`.

    Args:
        probs: (n, C) or (runs, n, C); margins are averaged over runs.
        labels: (n,) class ids.
        floor: probabilities below this count as this.

    Returns:
        (n,) log-odds in nats; negative where another class is preferred. No pass over the data.

    Raises:
        InputError: see `check_probs`.

    >>> log_margin(np.array([[0.2, 0.8]]), np.array([0])).round(3)
    array([-1.386])
    """
    p, y = check_probs(probs, labels)
    logs = np.log(np.maximum(p[None] if p.ndim == 2 else p, floor))
    rows = np.arange(len(y))
    given = logs[:, rows, y]
    logs[:, rows, y] = -np.inf
    margin: FloatArray = (given - logs.max(axis=-1)).mean(axis=0)
    return margin
