"""Factors of a data set: names and whole numbers as codes, measurements by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError


@dataclass(frozen=True)
class Binning:
    """How continuous values become discrete; information depends on it, so it must be chosen."""

    rule: Literal["width", "quantile", "clusters"]
    """`width`: bins of one width in the values' own unit; `quantile`: equally full bins;
    `clusters`: cells of k-means, the only rule for several columns."""
    size: float
    """Width of a bin, or number of bins or clusters."""


def binned(
    values: Any, binning: Binning | None, seed: int = 0
) -> tuple[Int[np.ndarray, " n"], int]:
    """Return codes 0 .. K-1 of a factor, and K; discrete values need no binning.

    Args:
        values: (n,), or (n, d) for `clusters`.
        binning: a rule for continuous values.
        seed: of k-means.

    Raises:
        InputError: continuous values without a rule, a rule that does not fit, or NaN.

    >>> binned([0.1, 0.12, 0.9], Binning("width", 0.25))
    (array([0, 0, 1]), 2)
    >>> binned(["a", "b", "a"], None)
    (array([0, 1, 0]), 2)
    """
    v = as_numpy(values)
    v = v[:, 0] if v.ndim == 2 and v.shape[1] == 1 else v
    if not continuous(v):
        codes = discrete(v, "values")
        return codes, int(codes.max()) + 1
    v = finite(v, "values")
    if binning is None or not binning.size > 0 or (v.ndim > 1) != (binning.rule == "clusters"):
        raise InputError(
            f"continuous values of shape {v.shape} with binning={binning}",
            "a rule: information depends on the bins. 'width' or 'quantile' for one column, "
            "'clusters' for several",
            "binning=Binning('width', 0.05), or Binning('clusters', 8)",
        )
    if binning.rule == "width":
        found = np.floor(v / binning.size + 1e-9)
    elif binning.rule == "quantile":
        inner = np.linspace(0, 1, int(binning.size) + 1)[1:-1]
        found = np.searchsorted(np.quantile(v, inner), v, side="right")
    else:
        from sklearn.cluster import KMeans

        k = min(int(binning.size), len(np.unique(v, axis=0)))
        found = KMeans(k, n_init=4, random_state=seed).fit_predict(v)
    codes = np.unique(found, return_inverse=True)[1].reshape(-1)
    return codes.astype(np.int64), int(codes.max()) + 1


def continuous(v: np.ndarray) -> bool:
    """Whether values are measurements rather than names: several columns, or any fraction.

    >>> continuous(np.array([0.5])), continuous(np.array([1.0, 2.0]))
    (True, False)
    """
    if v.ndim > 1:
        return True
    return bool(v.dtype.kind == "f" and not np.all(np.mod(v, 1) == 0))


def discrete(values: Any, name: str) -> Int[np.ndarray, " n"]:
    """Return codes 0 .. K-1 of names or whole numbers.

    Raises:
        InputError: they are continuous, several columns, or none.

    >>> discrete(["b", "a", "b"], "part")
    array([1, 0, 1])
    """
    v = as_numpy(values)
    if v.ndim != 1 or len(v) == 0 or continuous(v):
        raise InputError(
            f"{name} of dtype {v.dtype} and shape {v.shape}",
            "one discrete value per row: integers, strings or booleans",
            "bin continuous values first: binned(values, Binning('width', 0.05))[0]",
        )
    if v.dtype.kind == "O":
        v = v.astype(str)
    return np.asarray(np.unique(v, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def finite(x: np.ndarray, name: str) -> Float[np.ndarray, ...]:
    """Return values as float64.

    Raises:
        InputError: they are not numbers, or some are NaN or infinite.

    >>> finite(np.array([1, 2]), "x")
    array([1., 2.])
    """
    try:
        found = x.astype(np.float64)
    except ValueError as error:
        raise InputError(f"{name} of dtype {x.dtype}", "numbers", "encode them first") from error
    if not np.isfinite(found).all():
        raise InputError(
            f"{name} with {int((~np.isfinite(found)).sum())} non-finite entries",
            "finite numbers",
            "drop or impute those rows",
        )
    return found


def table(features: Any, rows: int) -> Float[np.ndarray, "n d"]:
    """Return features as float64, with a row for each of the values beside them.

    Raises:
        InputError: another shape, or entries that are no finite numbers.

    >>> table([[1], [2]], rows=2).shape
    (2, 1)
    """
    x = finite(as_numpy(features), "features")
    if x.ndim != 2 or len(x) != rows:
        raise InputError(
            f"features of shape {x.shape} beside {rows} values",
            f"({rows}, d), a row for each",
            "x[:, None] for one feature, x.reshape(len(x), -1) for images",
        )
    return x
