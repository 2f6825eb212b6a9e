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


def border_mark(
    images: Float[np.ndarray, "n c h w"], codes: Int[np.ndarray, " n"], brightness: float = 1.0
) -> Float[np.ndarray, "n c h w"]:
    """Light one pixel at the left or right border whose position encodes a class: a shortcut.

    Classes go down the left border, then down the right one; 2 * h classes at most.

    >>> border_mark(np.zeros((1, 1, 4, 4)), np.array([5]))[0, 0, 1, 3]
    np.float64(1.0)
    """
    marked = images.copy()
    height, width = images.shape[2:]
    column = np.where(codes < height, 0, width - 1)
    marked[np.arange(len(codes)), :, codes % height, column] = brightness
    return marked


def added_column(
    table: Float[np.ndarray, "n d"],
    codes: Int[np.ndarray, " n"],
    noise: float,
    rng: np.random.Generator,
    scale: float = 1.0,
) -> Float[np.ndarray, "n d+1"]:
    """Append a column, the class code plus noise, with deviation `scale`: a shortcut.

    >>> added_column(np.zeros((4, 2)), np.arange(4), 0.1, np.random.default_rng(0)).shape
    (4, 3)
    """
    column = codes + noise * rng.normal(size=len(codes))
    column = scale * (column - column.mean()) / column.std()
    return np.column_stack([table, column]).astype(table.dtype)
