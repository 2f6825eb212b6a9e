"""The scikit-learn digits: 1,797 real 8x8 images of ten classes, with shifted test sets."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.datasets import load_digits

from heldout.core.seeds import stream

Labelled = tuple[Float[np.ndarray, "n 1 8 8"], Int[np.ndarray, " n"]]


def digits(seed: int = 0, n_train: int = 1000) -> tuple[Labelled, Labelled]:
    """Return train and test images, scaled to 0..1, split at random.

    >>> (x, y), (xt, yt) = digits()
    >>> x.shape, xt.shape
    ((1000, 1, 8, 8), (797, 1, 8, 8))
    """
    flat, y = load_digits(return_X_y=True)
    x = (flat / 16.0).reshape(-1, 1, 8, 8).astype(np.float32)
    order = stream(seed, "digits").permutation(len(y))
    train, test = order[:n_train], order[n_train:]
    return (x[train], y[train].astype(np.int64)), (x[test], y[test].astype(np.int64))
