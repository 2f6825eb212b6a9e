"""Known defects, planted on purpose and documented by their rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def wrong_labels(
    labels: Int[np.ndarray, " n"], share: float, n_classes: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Give a share of the examples another class, uniformly among the others.

    Returns:
        The new labels, and the rows that were changed (exactly round(share * n)).

    >>> new, rows = wrong_labels(np.zeros(10, int), 0.2, 3, np.random.default_rng(0))
    >>> len(rows), bool((new[rows] != 0).all())
    (2, True)
    """
    rows = np.sort(rng.choice(len(labels), round(share * len(labels)), replace=False))
    new = labels.copy()
    new[rows] = (labels[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    return new, rows


def leaked(
    train: Float[np.ndarray, "n ..."],
    test: Float[np.ndarray, "m ..."],
    share: float,
    rng: np.random.Generator,
    jitter: float = 0.0,
) -> tuple[Float[np.ndarray, "m ..."], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Replace a share of the test inputs by copies of training inputs.

    Args:
        train: inputs to copy from.
        test: inputs to replace.
        share: of the test set.
        rng: chooses both sides.
        jitter: Gaussian noise on the copies, in standard deviations of each feature.

    Returns:
        New test inputs, the replaced test rows, and the training row behind each. The caller
        copies the labels along.

    >>> t, rows, origin = leaked(np.eye(3), np.zeros((4, 3)), 0.5, np.random.default_rng(0))
    >>> bool((t[rows] == np.eye(3)[origin]).all())
    True
    """
    k = round(share * len(test))
    rows = np.sort(rng.choice(len(test), k, replace=False))
    origin = rng.choice(len(train), k, replace=k > len(train))
    new = test.copy()
    noise = rng.normal(size=train[origin].shape) * train.std(axis=0) * jitter
    new[rows] = (train[origin] + noise).astype(test.dtype)
    return new, rows, origin


def corner_mark(
    images: Float[np.ndarray, "n c h w"],
    codes: Int[np.ndarray, " n"],
    n_classes: int,
    brightest: float = 1.0,
) -> Float[np.ndarray, "n c h w"]:
    """Paint the top left pixel with a grey level that encodes a class: a shortcut.

    >>> corner_mark(np.zeros((1, 1, 2, 2)), np.array([3]), 4)[0, 0, 0, 0]
    np.float64(1.0)
    """
    marked = images.copy()
    marked[:, :, 0, 0] = (brightest * codes / (n_classes - 1))[:, None]
    return marked
