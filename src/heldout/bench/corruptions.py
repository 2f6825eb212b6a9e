"""Shifts made on purpose: perturb tables and images, or resample rows, at a chosen severity.

Labels stay true under every kind, up to what the perturbation itself destroys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heldout.bench.image_corruptions import IMAGE_KINDS, IMAGE_SWAPS
from heldout.bench.table_corruptions import TABLE_KINDS, TABLE_SWAPS
from heldout.core.errors import InputError

EXAMPLE_KINDS = ("noise", "blur", "rotation", "contrast", "occlusion")
LEVELS = {1: 0.25, 2: 0.5, 3: 0.85}
SWAP_KINDS = (*TABLE_SWAPS, *IMAGE_SWAPS)
RESAMPLE_KINDS = ("tilt", "region", "class_prior", "hard")


def corruption_kinds(ndim: int) -> tuple[str, ...]:
    """Names that `corrupt` accepts for inputs with `ndim` dimensions (2: table, 4: images).

    >>> "noise" in corruption_kinds(2) and "blur" in corruption_kinds(4)
    True
    """
    if ndim not in (2, 4):
        raise InputError(f"inputs with {ndim} dimensions", "2 (n, d) or 4 (n, C, H, W)", "reshape")
    return tuple(TABLE_KINDS if ndim == 2 else IMAGE_KINDS)


def corrupt(
    x: ArrayLike,
    kind: str,
    severity: float,
    rng: np.random.Generator,
    value_range: tuple[float, float] | None = None,
    donor: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Perturb every example of `x` by one kind of corruption.

    Tables (n, d) are taken as standardized by training statistics (mean 0, deviation 1 per
    column). Images (n, C, H, W) are mapped from `value_range` (default: the range of `x`) to
    [0, 1], perturbed, and mapped back. Severity runs over (0, 1]; 1 is about as far as most
    models still beat chance. `LEVELS` holds three named severities.
    `SWAP_KINDS` put parts of other examples in: of `x` itself, or of `donor`, shaped like `x`.

    Returns a new array of the shape of `x`. Cost: one pass over `x`.
    Raises InputError for an unknown kind, a severity outside (0, 1] or a wrong shape.

    >>> x = np.zeros((4, 3))
    >>> corrupt(x, "noise", 0.5, np.random.default_rng(0)).shape
    (4, 3)
    """
    x = np.asarray(x, dtype=np.float64)
    known = corruption_kinds(x.ndim)
    if kind not in known:
        raise InputError(f"corruption {kind!r}", f"one of {', '.join(known)}", "corruption_kinds()")
    if not 0 < severity <= 1:
        raise InputError(f"severity {severity}", "a number in (0, 1]", "LEVELS[1], [2] or [3]")
    more = {} if donor is None or kind not in SWAP_KINDS else {"donor": np.asarray(donor)}
    if x.ndim == 2:
        return TABLE_KINDS[kind](x, severity, rng, **more)
    low, high = value_range if value_range is not None else (float(x.min()), float(x.max()))
    width = max(high - low, 1e-12)
    more = {k: (v - low) / width for k, v in more.items()}
    return low + width * IMAGE_KINDS[kind]((x - low) / width, severity, rng, **more)


def example_shifts(
    x: ArrayLike, seed: int, value_range: tuple[float, float] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Fifteen shifted copies of images: five kinds at three levels, keyed like "blur-2".

    Each copy has its own random stream, so one copy does not depend on which others are made.

    >>> sorted(example_shifts(np.random.default_rng(0).random((2, 1, 8, 8)), seed=0))[:3]
    ['blur-1', 'blur-2', 'blur-3']
    """
    return {
        f"{kind}-{level}": corrupt(
            x, kind, severity, np.random.default_rng([seed, i, level]), value_range
        )
        for i, kind in enumerate(EXAMPLE_KINDS)
        for level, severity in LEVELS.items()
    }


def resample(
    x: ArrayLike,
    y: ArrayLike,
    kind: str,
    severity: float,
    rng: np.random.Generator,
    size: int | None = None,
    difficulty: ArrayLike | None = None,
) -> NDArray[np.intp]:
    """Choose rows so that the mix of examples shifts while each example stays as it was.

    Row i is drawn with probability proportional to exp(4 * severity * t_i), where t is a
    standardized score: a random linear direction of the inputs ("tilt"), minus the distance to
    a random example ("region"), a random number per class ("class_prior"), or `difficulty` with
    a random sign ("hard"; larger = harder, for example minus the model's confidence).
    Without replacement, `size` rows (default: half).

    Returns indices (size,). Cost: one pass over `x`.
    Raises InputError for an unknown kind, or "hard" without `difficulty`.

    >>> y = np.repeat([0, 1], 50)
    >>> rng = np.random.default_rng(0)
    >>> rows = resample(np.zeros((100, 2)), y, "class_prior", 1.0, rng)
    >>> abs(float(y[rows].mean()) - 0.5) > 0.3
    True
    """
    x = np.asarray(x, dtype=np.float64)
    x, y = x.reshape(len(x), -1), np.asarray(y)
    if kind not in RESAMPLE_KINDS or (kind == "hard" and difficulty is None):
        raise InputError(
            f"resampling kind {kind!r}",
            f"one of {', '.join(RESAMPLE_KINDS)}",
            "pass `difficulty`",
        )
    if kind == "tilt":
        score = x @ rng.standard_normal(x.shape[1])
    elif kind == "region":
        score = -np.linalg.norm(x - x[rng.integers(len(x))], axis=1)
    elif kind == "class_prior":
        classes, codes = np.unique(y, return_inverse=True)
        score = rng.permutation(len(classes)).astype(float)[codes]
    else:
        score = rng.choice([-1.0, 1.0]) * np.asarray(difficulty, dtype=np.float64)
    score = (score - score.mean()) / (score.std() + 1e-12)
    # Gumbel top-k draws without replacement with these probabilities.
    keys = 4.0 * severity * score + rng.gumbel(size=len(x))
    count = min(len(x), size if size is not None else max(1, len(x) // 2))
    return np.argsort(-keys)[:count]
