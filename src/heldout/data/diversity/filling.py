"""Fill the gap between parts: copies of rows with the irrelevant factor moved towards another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError
from heldout.core.seeds import stream
from heldout.data.diversity.factors import discrete, finite
from heldout.data.diversity.swap import donor_rows

Render = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`render(x, factor) -> x'`: the same rows with another value (n, k) of the factor."""


def fill_gap(
    x: Any,
    y: Any,
    parts: Any,
    factor: list[int] | Any,
    *,
    render: Render | None = None,
    reach: float = 1.0,
    copies: int = 1,
    relevant: Callable[[np.ndarray], Any] | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, Int[np.ndarray, " m"]]:
    """Add rows whose irrelevant factor lies between the parts, everything else as it was.

    Each copy of a row gets `v + t (v' - v)`, t uniform on [0, reach] and v' the factor of a
    random row of another part. Labels stay, so that the factor no longer tells the part.

    Args:
        x: inputs (n, ...).
        y: labels (n,), copied along.
        parts: part of each row (n,), two or more.
        factor: columns of x that hold the factor; or, with `render`, its values (n,) or (n, k).
        render: makes inputs with another value of the factor, such as a view from another
            angle or another background.
        reach: 0 to 1: how far towards the other part; 1 bridges the gap fully.
        copies: of the whole data set to add.
        relevant: `relevant(x)` returns what must not change; checked for every new row.
        seed: of partners and positions.

    Returns:
        Inputs ((1 + copies) n, ...), labels, and the row that each was made of; originals first.

    Cost: one pass, and `render` of every copy.

    Raises:
        InputError: one part, lengths that differ, reach outside 0 to 1, columns that do not
            exist, `render` that changes the shape, or relevant content that changed.

    Jang et al. 2025, arXiv:2508.06426 (viewpoint augmentation, object swapping).

    >>> x, y, origin = fill_gap(np.array([[7.0, 0.0], [8.0, 1.0]]), [3, 4], ["a", "b"], [1])
    >>> x[2:, 0].tolist(), y.tolist(), bool((0 <= x[:, 1]).all() and (x[:, 1] <= 1).all())
    ([7.0, 8.0], [3, 4, 3, 4], True)
    """
    array, labels, part = as_numpy(x), as_numpy(y), discrete(parts, "parts")
    n = len(array)
    if not (n == len(labels) == len(part)) or part.max() < 1:
        raise InputError(
            f"{n} inputs, {len(labels)} labels and parts {np.unique(part).size}",
            "a label and a part for each input, and two parts or more",
            "fill_gap(x, y, parts, columns)",
        )
    if not 0 < reach <= 1 or copies < 1:
        raise InputError(f"reach {reach} and {copies} copies", "0 < reach <= 1, copies >= 1", "1.0")
    values = _values(array, factor, render)
    rng = stream(seed, "fill gap")
    made = [array]
    for _ in range(copies):
        step = reach * rng.random((n, 1))
        moved = values + step * (values[donor_rows(part, rng)] - values)
        made.append(_rendered(array, factor, render, moved, relevant))
    return np.concatenate(made), np.tile(labels, 1 + copies), np.tile(np.arange(n), 1 + copies)


def _values(array: np.ndarray, factor: Any, render: Render | None) -> Float[np.ndarray, "n k"]:
    if render is None:
        at = np.asarray(factor)
        if array.ndim != 2 or at.ndim != 1 or at.dtype.kind not in "iu" or not at.size or (
            at.max() >= array.shape[1] or at.min() < 0
        ):  # fmt: skip
            raise InputError(
                f"inputs of shape {array.shape} and factor {at[:5].tolist()}",
                "columns of a table (n, d), or values with render(x, factor)",
                "fill_gap(x, y, parts, angle, render=my_renderer)",
            )
        return finite(array[:, at], "the factor's columns")
    values = finite(as_numpy(factor), "factor")
    if len(values) != len(array):
        raise InputError(f"{len(values)} values for {len(array)} rows", "one per row", "align them")
    return values.reshape(len(values), -1)


def _rendered(
    array: np.ndarray,
    factor: Any,
    render: Render | None,
    moved: np.ndarray,
    relevant: Callable[[np.ndarray], Any] | None,
) -> np.ndarray:
    if render is None:
        out = array.astype(np.result_type(array.dtype, np.float32))
        out[:, np.asarray(factor)] = moved
    else:
        out = np.asarray(render(array.copy(), moved))
    if out.shape != array.shape:
        raise InputError(
            f"render gave shape {out.shape} of {array.shape}", "the same shape", "keep every row"
        )
    if relevant is not None:
        before, after = as_numpy(relevant(array)), as_numpy(relevant(out))
        if before.shape != after.shape or not np.allclose(before, after, rtol=1e-5, atol=1e-6):
            raise InputError(
                "an augmentation that changes what is relevant",
                "rows that differ in the irrelevant factor alone",
                "look at relevant(x) before and after render",
            )
    return out
