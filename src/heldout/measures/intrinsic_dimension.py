"""Intrinsic dimension of a cloud of points, from distances to nearest neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream

_MOST = 10_000  # points whose neighbours are looked up, as the authors do
_BLOCK = 500  # of them at a time
_WIDE = 50  # columns beyond which candidates are found by matrix products


def intrinsic_dimension(
    x: Float[np.ndarray, "n d"], k: int = 5, draws: int = 200, seed: int = 0
) -> Interval:
    """Maximum-likelihood dimension from the k nearest neighbours (Levina and Bickel 2004).

    `1 / m = mean over points and j < k of ln(T_k / T_j)`, where T_j is the distance to the j-th
    neighbour; the mean is taken before the inverse (MacKay and Ghahramani 2005), as in
    arXiv:2305.01034. Too low in high dimensions: on spheres of 6 and 8 dimensions with some
    thousand points it reads about 5.7 and 7.5.

    Args:
        x: points; repeated rows count once.
        k: neighbours.
        draws: bootstrap resamples of the points' mean log-ratios, for the interval.
        seed: of those, and of the choice of points where there are more than 10,000.

    Raises:
        InputError: what `neighbour_log_ratios` refuses.

    Cost: n^2 d for distances.

    >>> points = np.random.default_rng(0).normal(size=(2000, 3)) @ np.ones((3, 3))
    >>> round(intrinsic_dimension(points).value, 1)  # a line in three dimensions
    1.0
    """
    ratios = neighbour_log_ratios(x, k, seed)
    found = dimension_draws(ratios, draws, seed)
    low, high = np.quantile(found, [0.025, 0.975])
    value = float(1 / ratios.mean())
    return Interval(value, float(low), float(high), len(ratios), method="bootstrap of points")


def dimension_draws(
    ratios: Float[np.ndarray, " n"], draws: int, seed: int
) -> Float[np.ndarray, " draws"]:
    """Return the dimension in bootstrap resamples of `neighbour_log_ratios`.

    >>> dimension_draws(np.full(10, 0.5), 3, 0).tolist()
    [2.0, 2.0, 2.0]
    """
    rng = stream(seed, "intrinsic dimension")
    n = len(ratios)
    return np.array([1 / ratios[rng.integers(n, size=n)].mean() for _ in range(draws)])


def neighbour_log_ratios(
    x: Float[np.ndarray, "n d"], k: int = 5, seed: int = 0
) -> Float[np.ndarray, " m"]:
    """Return each point's mean over j < k of ln(T_k / T_j), T_j the distance to neighbour j.

    Args:
        x: points; repeated rows count once.
        k: neighbours, at least 2.
        seed: of the choice of points where there are more than 10,000.

    Raises:
        InputError: NaN or infinite values, k below 2, fewer than 5 k different points, or all
            points equally far from their k neighbours, as on a grid.

    Cost: n^2 d for distances.

    >>> neighbour_log_ratios(np.arange(10.0)[:, None] ** 2, k=2).shape
    (10,)
    """
    x = finite_points(x)
    if k < 2:
        raise InputError(f"k={k} neighbours", "2 or more", "k=5")
    points = np.unique(x, axis=0)
    if len(points) < 5 * k:
        raise InputError(
            f"{len(points)} different points", f"at least 5 k = {5 * k}", "more data, or a lower k"
        )
    chosen = np.arange(len(points))
    if len(points) > _MOST:
        chosen = stream(seed, "dimension points").choice(len(points), _MOST, replace=False)
    parts = [
        _nearest(points, block, k) for block in np.split(chosen, range(_BLOCK, len(chosen), _BLOCK))
    ]
    logs = np.log(np.concatenate(parts))
    ratios = (logs[:, -1:] - logs[:, :-1]).mean(axis=1)
    if not ratios.mean() > 0:
        raise InputError(
            "points all equally far from their neighbours",
            "distances that differ",
            "is this a grid, or one-hot codes? the dimension of such a set is not defined",
        )
    return ratios


def finite_points(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return the points as float64 (n, d), trailing axes flattened.

    Raises:
        InputError: fewer than two axes, or NaN or infinite values.

    >>> finite_points(np.zeros((3, 2, 2))).shape
    (3, 4)
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim < 2:
        raise InputError(f"x of shape {x.shape}", "(n, ...)", "x[:, None] for one column")
    if not np.isfinite(x).all():
        raise InputError("x with NaN or infinite values", "finite numbers", "impute them first")
    return x.reshape(len(x), -1)


def _nearest(points: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Distances (len(rows), k) to the k nearest other points."""
    if points.shape[1] <= _WIDE:
        far = cdist(points[rows], points)
        far[np.arange(len(rows)), rows] = np.inf
        return np.sort(np.partition(far, k - 1, axis=1)[:, :k], axis=1)
    # Products of matrices are fast and lose small distances to rounding: they only choose
    # candidates, more than are needed, whose distances are then taken from differences.
    centred = points - points.mean(axis=0)
    square = (centred**2).sum(axis=1)
    far = square[None, :] - 2 * centred[rows] @ centred.T
    far[np.arange(len(rows)), rows] = np.inf
    taken = min(2 * k + 5, len(points) - 1)
    near = np.argpartition(far, taken - 1, axis=1)[:, :taken]
    exact = [
        np.linalg.norm(points[i] - points[js], axis=1) for i, js in zip(rows, near, strict=True)
    ]
    return np.sort(np.array(exact), axis=1)[:, :k]
