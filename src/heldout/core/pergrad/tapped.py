"""One finished tap in batch-first form, and the layouts that bring it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .rules import Bound

CACHE_FLOATS = 1 << 16
"""Scratch size, in numbers, that stays in a core's second-level cache next to its operands."""


class Layout(NamedTuple):
    """Where the examples sit in the leading dimensions of a tap's input and output."""

    how: str
    """"dim": dimension `at` counts examples; "major" and "minor": dimension 0 counts examples
    times `at`, with the example as the slower or the faster index."""
    at: int


@dataclass(frozen=True)
class Tapped:
    """A tapped call after its backward: what the formulas work on."""

    kind: str
    a: Tensor
    """Input, examples first: (n, ...)."""
    d: Tensor
    """Gradient of the summed losses with respect to the output, examples first: (n, ...)."""
    opts: dict[str, Any]
    shapes: dict[str, torch.Size]
    """Shape of each weight by role."""

    def rows(self, part: slice) -> Tapped:
        """Return the same tap for some of the examples."""
        return Tapped(self.kind, self.a[part], self.d[part], self.opts, self.shapes)


def slices(n: int, floats_each: int, budget: int = CACHE_FLOATS) -> Iterator[slice]:
    """Split range(n) so that a slice's scratch stays within `budget` numbers."""
    step = max(1, min(n, budget // max(1, floats_each)))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def leading_dims(bound: Bound, out: Tensor) -> int:
    """Count the dimensions of the output that may hold examples or positions."""
    if bound.kind == "conv" or "axis" in bound.opts:
        return 1
    if bound.kind == "affine":
        return out.ndim - next(iter(bound.roles.values())).ndim
    return out.ndim if bound.kind in ("shift", "scale") else out.ndim - 1


def to_front(t: Tensor, layout: Layout) -> Tensor:
    """Bring the examples to dimension 0: (n, ...) for "dim", else (n, m, ...)."""
    how, at = layout
    if how == "dim":
        return t if at == 0 else t.movedim(at, 0)
    if how == "major":
        return t.reshape(t.shape[0] // at, at, *t.shape[1:])
    return t.reshape(at, t.shape[0] // at, *t.shape[1:]).transpose(0, 1)


def fits(shape: torch.Size, layout: Layout, n: int) -> bool:
    """Whether an output of this shape can have this layout with n examples."""
    how, at = layout
    return shape[at] == n if how == "dim" else shape[0] == n * at


def find_layout(touched: np.ndarray, k: int, example: int) -> Layout | None:
    """Find the one layout under which only one example's positions were touched.

    `touched` marks, over the leading dimensions of a tap's output, where the gradient of example
    number `example` of k is not zero. Shapes alone do not decide: attention layers swap
    dimensions and flatten them in either order, and a table of positions has no examples at all.
    """
    shape = touched.shape
    found: dict[Layout, np.ndarray] = {}
    for b, size in enumerate(shape):
        if size == k:
            found[Layout("dim", b)] = touched if b == 0 else np.moveaxis(touched, b, 0)
    if shape and shape[0] > k and shape[0] % k == 0:
        m = shape[0] // k
        found[Layout("major", m)] = touched.reshape(k, m, *shape[1:])
        found[Layout("minor", m)] = touched.reshape(m, k, *shape[1:]).swapaxes(0, 1)
    others = [i for i in range(k) if i != example]
    good = [layout for layout, view in found.items() if not any(view[i].any() for i in others)]
    return good[0] if len(good) == 1 else None
