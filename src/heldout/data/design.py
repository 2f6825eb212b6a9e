"""Inputs of any form as plain numbers, for models and distances of our own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heldout.core.errors import InputError
from heldout.core.inputs import Inputs
from heldout.core.seeds import stream

FloatArray = NDArray[np.float32]

_WIDE = 400  # more columns than this are projected
_LEVELS = 30  # a column of strings with more values than this is left out of the numbers


def numeric_matrix(inputs: Inputs) -> FloatArray | None:
    """Return the inputs as (n, d) numbers, or None when they are not numbers by nature.

    Columns of strings become indicators when they have at most 30 values. Token ids are names,
    not numbers, so they give None.

    Args:
        inputs: n examples.

    Returns:
        (n, d) float32. One pass over the data.

    >>> numeric_matrix(Inputs({"": np.zeros((2, 1, 2, 2))})).shape
    (2, 4)
    >>> numeric_matrix(Inputs({"a": np.array([1.0, 2.0]), "b": np.array(["x", "y"])})).tolist()
    [[1.0, 1.0, 0.0], [2.0, 0.0, 1.0]]
    """
    if inputs.kind == "tokens":
        return None
    parts = []
    for values in inputs.columns.values():
        flat = values.reshape(len(values), -1)
        if flat.dtype.kind in "fiub":
            parts.append(flat.astype(np.float32))
            continue
        for column in flat.T.astype(str):
            levels = np.unique(column)
            if len(levels) <= _LEVELS:
                parts.append((column[:, None] == levels).astype(np.float32))
    return np.hstack(parts) if parts else None


def standardize(x: np.ndarray, seed: int = 0) -> NDArray[np.float64]:
    """Columns with mean 0 and deviation 1, outliers clipped at 5, wide data projected.

    Args:
        x: (n, ...) finite numbers; trailing axes are flattened, constant columns dropped.
        seed: of the Gaussian projection used beyond 400 columns.

    Returns:
        (n, d) with d at most 400. One pass over the data.

    Raises:
        InputError: NaN or infinite values, or no column that varies.

    >>> standardize(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist()
    [[-1.0], [1.0]]
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    if not np.isfinite(flat).all():
        raise InputError("NaN or infinite inputs", "finite numbers", "impute missing values first")
    scale = flat.std(axis=0)
    kept = scale > 1e-12 * max(1.0, float(np.abs(flat).max()))
    if not kept.any():
        raise InputError("inputs that never vary", "at least one varying column", "check loading")
    z = np.clip((flat[:, kept] - flat[:, kept].mean(axis=0)) / scale[kept], -5, 5)
    if z.shape[1] > _WIDE:
        z = z @ stream(seed, "probe projection").normal(size=(z.shape[1], _WIDE)) / np.sqrt(_WIDE)
    return z


def image_versions(images: FloatArray, shifts: bool = True) -> list[FloatArray]:
    """Images without brightness and contrast, as they are and moved by one pixel.

    Each is centred and scaled to unit norm, so a copy that was brightened, re-encoded or given
    more contrast stays where it was. Moved images repeat their edge.

    Args:
        images: (n, c, h, w).
        shifts: whether to add the eight moved versions.

    Returns:
        One or nine arrays (n, c * h * w) float32.

    >>> a = np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)
    >>> plain, brighter = image_versions(a)[0], image_versions(3 * a + 1)[0]
    >>> len(image_versions(a)), bool(np.allclose(plain, brighter, atol=1e-5))
    (9, True)
    """
    moves = [(0, 0)]
    if shifts:
        moves += [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = images.shape[2:]
    return [_unit(padded[:, :, 1 + i : 1 + i + height, 1 + j : 1 + j + width]) for i, j in moves]


def _unit(images: FloatArray) -> FloatArray:
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(norm > 1e-6, norm, 1.0), dtype=np.float32)
