"""Perturbed copies of labelled rows: the sets on which a forecast of accuracy is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heldout.bench.corruptions import (
    RESAMPLE_KINDS,
    SWAP_KINDS,
    corrupt,
    corruption_kinds,
    resample,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Copy:
    """One perturbed copy: which rows, and what is done to them."""

    kinds: tuple[str, ...]
    """Corruptions in the order applied; one resampling kind; or none (clean)."""
    severities: tuple[float, ...]
    """One per kind, in (0, 1]."""
    seed: int
    """Seed of the copy's own random stream."""

    @property
    def name(self) -> str:
        """Kinds joined by "+", or "clean".

        >>> Copy(("noise", "blur"), (0.1, 0.2), 0).name
        'noise+blur'
        """
        return "+".join(self.kinds) or "clean"


def plan_copies(
    ndim: int | None,
    rng: np.random.Generator,
    exclude: tuple[str, ...] = (),
    levels: int = 2,
    pairs: int = 24,
) -> list[Copy]:
    """Choose kinds and severities of a meta-set.

    Every kind at `levels` severities spread over (0.03, 1); `pairs` random pairs of kinds at
    mild severities, every fourth of which ends in a kind that swaps in parts of clean examples,
    so that cues which contradict a worn content occur; each resampling kind four times; one
    clean copy. `ndim` 2 for tables, 4 for images, None for inputs that can only be resampled.
    `exclude` names kinds left out, also from the pairs.

    >>> copies = plan_copies(2, np.random.default_rng(0), exclude=("noise",))
    >>> len(copies), any("noise" in c.kinds for c in copies)
    (71, False)
    """
    known = () if ndim is None else corruption_kinds(ndim)
    kinds = [k for k in known if k not in exclude]
    edges = np.linspace(0.03, 1.0, levels + 1)
    chosen: list[tuple[tuple[str, ...], tuple[float, ...]]] = []
    for kind in kinds:
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            chosen.append(((kind,), (float(rng.uniform(low, high)),)))
    swaps = [k for k in kinds if k in SWAP_KINDS]
    for i in range(pairs if len(kinds) > 1 else 0):
        a, b = (str(k) for k in rng.choice(kinds, 2, replace=False))
        if i % 4 == 0 and swaps and a not in swaps:
            b = str(rng.choice(swaps))
        mild = rng.uniform(0.05, 0.6, 2)
        chosen.append(((a, b), (float(mild[0]), float(mild[1]))))
    for kind in (k for k in RESAMPLE_KINDS if k not in exclude):
        chosen += [((kind,), (severity,)) for severity in (0.2, 0.4, 0.6, 0.9)]
    chosen.append(((), ()))
    return [Copy(k, s, int(rng.integers(2**31))) for k, s in chosen]


def make_copy(
    x: ArrayLike,
    y: ArrayLike,
    copy: Copy,
    size: int,
    value_range: tuple[float, float] | None = None,
    difficulty: ArrayLike | None = None,
) -> tuple[NDArray[np.intp], Floats]:
    """Rows (m,) of `x` that a copy takes, and their perturbed inputs (m, ...).

    `x` (n, d) standardized, or images (n, C, H, W) with `value_range`; `difficulty` (n,) for the
    resampling kind "hard". At most `size` rows; resampled copies take at most a third of them
    all, since a shift of the mix needs rows left to drop.

    >>> x = np.arange(12.0).reshape(6, 2)
    >>> rows, z = make_copy(x, [0, 1] * 3, Copy((), (), 1), size=4)
    >>> np.array_equal(z, x[rows]), len(rows)
    (True, 4)
    """
    x, rng = np.asarray(x, dtype=np.float64), np.random.default_rng(copy.seed)
    if copy.kinds and copy.kinds[0] in RESAMPLE_KINDS:
        count = min(size, max(10, len(x) // 3))
        severity = copy.severities[0]
        rows = resample(x, y, copy.kinds[0], severity, rng, count, difficulty)
        return rows, x[rows]
    rows = rng.permutation(len(x))[:size].astype(np.intp)
    clean = z = x[rows]
    for kind, severity in zip(copy.kinds, copy.severities, strict=True):
        z = corrupt(z, kind, severity, rng, value_range, donor=clean)
    return rows, z


def hardening_rows(
    x: ArrayLike,
    y: ArrayLike,
    ndim: int,
    rng: np.random.Generator,
    exclude: tuple[str, ...] = (),
    total: int = 8000,
    value_range: tuple[float, float] | None = None,
) -> tuple[Floats, NDArray[np.intp]]:
    """Perturbed training rows and their labels, for the hardened probes.

    Only a random half of the kinds is used: the meta-set then holds kinds that the probes have
    seen and kinds that they have not, as the user's shift may be either.

    >>> z, labels = hardening_rows(np.zeros((50, 3)), np.zeros(50), 2, np.random.default_rng(0))
    >>> z.shape[1], len(z) == len(labels)
    (3, True)
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    kinds = rng.permutation([k for k in corruption_kinds(ndim) if k not in exclude])
    kinds = kinds[: max(1, len(kinds) // 2)]
    swaps = [k for k in kinds if k in SWAP_KINDS]
    size = max(20, min(len(x), total // (4 * len(kinds))))
    rows, parts, left = [np.arange(len(x))], [x], total - len(x)
    while left > 0 and len(parts) < 200:
        for kind in kinds:
            chosen = rng.permutation(len(x))[:size]
            rows.append(chosen)
            severity = float(rng.uniform(0.05, 1.0))
            z = corrupt(x[chosen], str(kind), severity, rng, value_range)
            if swaps and rng.random() < 0.5:
                swap, severity = str(rng.choice(swaps)), float(rng.uniform(0.05, 1.0))
                z = corrupt(z, swap, severity, rng, value_range, donor=x[chosen])
            parts.append(z)
            left -= size
    return np.concatenate(parts), y[np.concatenate(rows)]
