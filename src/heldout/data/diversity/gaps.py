"""Distances between two parts of a data set in feature space; information cannot see them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError
from heldout.core.seeds import stream
from heldout.data.diversity.factors import finite

_DIRECTIONS = 50


def wasserstein_gap(a: Any, b: Any, *, directions: int = _DIRECTIONS, seed: int = 0) -> float:
    """Wasserstein-1 distance of two samples; for several columns sliced.

    In one column `int_0^1 |F_a^-1(q) - F_b^-1(q)| dq`, exact for the two samples; in d columns
    its mean over random directions of unit length (sliced; at most the distance itself).

    Args:
        a: one sample (n,) or (n, d), in the features' own unit, which the result has too.
        b: the other, (m,) or (m, d).
        directions: random ones, for d > 1.
        seed: of the directions.

    Cost: O(directions (n + m) log(n + m)).

    Raises:
        InputError: empty samples, other numbers of columns, no directions, NaN.

    Villani 2003, theorem 2.18; Rabin et al. 2011 (sliced).

    >>> wasserstein_gap([0.0, 1.0], [3.0, 4.0])
    3.0
    """
    x, y = columns(a, b)
    if directions < 1:
        raise InputError(f"{directions} directions", "one or more", "directions=50")
    if x.shape[1] > 1:
        across = stream(seed, "directions", x.shape[1]).normal(size=(x.shape[1], directions))
        across /= np.linalg.norm(across, axis=0)
        x, y = x @ across, y @ across
    return float(sorted_gap(np.sort(x, axis=0), np.sort(y, axis=0)).mean())


def sorted_gap(x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " k"]:
    """Wasserstein-1 distance per column of two samples that are sorted by column.

    >>> sorted_gap(np.array([[0.0], [1.0]]), np.array([[0.5]])).tolist()
    [0.5]
    """
    n, m = len(x), len(y)
    # Both quantile functions are steps; they change only at multiples of 1/n and 1/m.
    steps = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))
    weight = np.diff(steps, prepend=0) / (n * m)
    at_x, at_y = (steps - 1) // m, (steps - 1) // n
    return np.asarray(weight @ np.abs(x[at_x] - y[at_y]))


def mmd_gap(a: Any, b: Any, bandwidth: float | None = None) -> float:
    """Maximum mean discrepancy of two samples with a Gaussian kernel, 0 or more, at most sqrt 2.

    Square root of the unbiased estimate of `E k(x,x') + E k(y,y') - 2 E k(x,y)`, cut at 0, with
    k = exp(-|x - y|^2 / 2 h^2).

    Args:
        a: one sample (n,) or (n, d), n at least 2.
        b: the other.
        bandwidth: h; by default the median distance in both samples together.

    Cost: O((n + m)^2 d).

    Raises:
        InputError: samples of fewer than two rows, other numbers of columns, a bandwidth that
            is not positive, NaN.

    Gretton et al. 2012, JMLR 13, eq. 3.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> mmd_gap(x, x + 10) > 1 > 0.2 > mmd_gap(x, rng.normal(size=(200, 2)))
    True
    """
    x, y = columns(a, b)
    if min(len(x), len(y)) < 2:
        raise InputError(f"{len(x)} and {len(y)} rows", "two or more in each", "pass more rows")
    if bandwidth is not None and not bandwidth > 0:
        raise InputError(f"bandwidth {bandwidth}", "above 0", "bandwidth=None takes the median")
    h = bandwidth or float(np.median(pdist(np.concatenate([x, y])))) or 1.0
    within = [2 * _kernel(pdist(z), h).sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float(np.sqrt(max(0.0, sum(within) - 2 * _kernel(cdist(x, y), h).mean())))


def neighbour_overlap(a: Any, b: Any, k: int = 10) -> Float[np.ndarray, " rows"]:
    """Per row, the share of its k nearest neighbours from the other sample over the share mixed.

    Mean 1 where both samples are one cloud, 0 for islands; rows of `a` first, then of `b`.

    Args:
        a: one sample (n,) or (n, d).
        b: the other, (m,) or (m, d).
        k: neighbours, itself not counted; fewer where there are not as many rows.

    Cost: O((n + m) log(n + m)) for few columns, else O((n + m)^2 d).

    Raises:
        InputError: fewer than two rows in all, other numbers of columns, NaN.

    >>> float(neighbour_overlap(np.arange(20.0), np.arange(20.0) + 100).mean())
    0.0
    """
    from scipy.spatial import cKDTree

    x, y = columns(a, b)
    n, m = len(x), len(y)
    k = min(k, n + m - 1)
    if k < 1:
        raise InputError(f"{n} and {m} rows, k = {k}", "a neighbour for each row", "k=10")
    pool, own = np.concatenate([x, y]), np.arange(n + m) < n
    found = cKDTree(pool).query(pool, k + 1)[1]
    # Among copies, the row itself need not come first: it is taken out, else the farthest is.
    self_ = found == np.arange(n + m)[:, None]
    self_[~self_.any(axis=1), -1] = True
    others = found[~self_].reshape(n + m, k)
    share = (own[others] != own[:, None]).mean(axis=1)
    return np.asarray(share / (np.where(own, m, n) / (n + m - 1)))


def columns(a: Any, b: Any) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Return two samples as float64 matrices with the same columns.

    Raises:
        InputError: one is empty, they differ in columns, or hold NaN.

    >>> [x.shape for x in columns([1, 2], [3])]
    [(2, 1), (1, 1)]
    """
    x, y = (finite(as_numpy(v), "a sample") for v in (a, b))
    if x.size and y.size:
        x, y = (v[:, None] if v.ndim == 1 else v.reshape(len(v), -1) for v in (x, y))
    if not x.size or not y.size or x.shape[1] != y.shape[1]:
        raise InputError(
            f"samples of shapes {x.shape} and {y.shape}", "rows of one width", "same features"
        )
    return x, y


def _kernel(distance: np.ndarray, h: float) -> np.ndarray:
    return np.asarray(np.exp(-(distance**2) / (2 * h * h)))
