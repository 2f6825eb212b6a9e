"""Perturbations of standardized tables: every kind maps (n, d) to (n, d) and keeps the labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
TableKind = Callable[..., Rows]


def _noise(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    return x + 1.5 * s * rng.standard_normal(x.shape)


def _heavy_noise(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    # Student t with 2 degrees of freedom: most entries hardly move, a few move far.
    return x + 0.8 * s * np.clip(rng.standard_t(2.0, x.shape), -20, 20)


def _direction_noise(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    # One random direction carries all the noise: correlated columns, unlike `noise`.
    u = rng.standard_normal(x.shape[1])
    u *= np.sqrt(x.shape[1]) / np.linalg.norm(u)
    return x + 2.0 * s * rng.standard_normal((len(x), 1)) * u


def _scale(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    return x * np.exp(1.2 * s * rng.standard_normal(x.shape[1]))


def _location(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    return x + 1.5 * s * rng.standard_normal(x.shape[1])


def _gain(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    # Every row gets its own factor, common to its columns: an exposure or unit error.
    return x * np.exp(1.2 * s * rng.standard_normal((len(x), 1)))


def _missing(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    return np.where(rng.random(x.shape) < 0.9 * s, 0.0, x)


def _columns(d: int, s: float, rng: np.random.Generator) -> NDArray[np.intp]:
    # At least one column, so that even the mildest severity does something.
    return rng.permutation(d)[: max(1, round(0.8 * s * d))]


def _column_mask(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    out = x.copy()
    out[:, _columns(x.shape[1], s, rng)] = 0.0
    return out


def _column_shuffle(x: Rows, s: float, rng: np.random.Generator, donor: Rows | None = None) -> Rows:
    out, other = x.copy(), x if donor is None else donor
    for j in _columns(x.shape[1], s, rng):
        out[:, j] = other[rng.permutation(len(x)), j]
    return out


def _swap(x: Rows, s: float, rng: np.random.Generator, donor: Rows | None = None) -> Rows:
    # Entries drawn from their own column: the marginals stay, the row falls apart.
    source = x if donor is None else donor
    other = np.take_along_axis(source, rng.integers(0, len(x), x.shape), axis=0)
    return np.where(rng.random(x.shape) < 0.8 * s, other, x)


def _shrink(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    return x * (1.0 - 0.9 * s)


def _mix(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    w = 0.5 * s
    return (1.0 - w) * x + w * x[rng.permutation(len(x))]


def _rounding(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    step = 3.0 * s
    return step * np.round(x / step + rng.uniform(-0.5, 0.5, x.shape[1]))


def _clipping(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    limit = 1.8 * (1.0 - s) + 0.1
    return np.clip(x, -limit, limit)


def _warp(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    power = np.exp(s * rng.uniform(-1.5, 1.0, x.shape[1]))
    return np.sign(x) * np.abs(x) ** power


def _outliers(x: Rows, s: float, rng: np.random.Generator) -> Rows:
    hit = rng.random(x.shape) < 0.4 * s
    return np.where(hit, rng.choice([-4.0, 4.0], x.shape), x)


TABLE_KINDS: dict[str, TableKind] = {
    "noise": _noise,
    "heavy_noise": _heavy_noise,
    "direction_noise": _direction_noise,
    "scale": _scale,
    "location": _location,
    "gain": _gain,
    "missing": _missing,
    "column_mask": _column_mask,
    "column_shuffle": _column_shuffle,
    "swap": _swap,
    "shrink": _shrink,
    "mix": _mix,
    "rounding": _rounding,
    "clipping": _clipping,
    "warp": _warp,
    "outliers": _outliers,
}

TABLE_SWAPS = ("column_shuffle", "swap")
"""Kinds that take parts of other rows, and can take them from a donor table."""
