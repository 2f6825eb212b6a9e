"""Formulas for weights that meet their input entry by entry: norm layers, added or scaling weights.

Norm layers give out = h * W + b with h the normalized input, which is recomputed here; a shift
gives out = a + W and a scale out = a * W with broadcasting. The gradient is d, or d times the
other factor, summed over the dimensions along which the weight was repeated.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .linear import row_squares
from .tapped import Tapped


def per_example(call: Tapped, role: str) -> Tensor:
    """Return (n, *shape)."""
    shape = call.shapes[role]
    if call.kind != "affine":
        product = call.d if call.kind == "shift" else call.d * call.a
        return _collapse(product, call.opts["kept"]).reshape(len(product), *shape)
    product = call.d if role == "bias" else call.d * call.a
    axis = call.opts.get("axis")
    if axis is None:  # the weight spans the last dimensions
        return product.reshape(len(product), -1, *shape).sum(1)
    channel = product.ndim - call.opts["spatial"] - 1
    return product.movedim(channel, -1).reshape(len(product), -1, *shape).sum(1)


def _collapse(product: Tensor, kept: tuple[int, ...]) -> Tensor:
    # product is (n, *out without the examples); the weight was repeated where its size is 1
    dims = [1 + j for j, size in enumerate(kept) if size == 1]
    return product.sum(dims) if dims else product


def squares(call: Tapped, role: str) -> Tensor:
    """Return (n,) squared norms."""
    return row_squares(per_example(call, role).reshape(len(call.d), -1))


def total(call: Tapped, role: str) -> Tensor:
    """Return the sum of the gradients over the examples."""
    return per_example(call, role).sum(0)


def inner(call: Tapped, role: str, v: Tensor) -> Tensor:
    """Return (n,) products <g_i, v>."""
    return per_example(call, role).reshape(len(call.d), -1) @ v.flatten()


def normalized(plain: Callable[[Tensor], Tensor], a: Tensor) -> Tensor:
    """Return the layer's output for unit weight and no bias."""
    return plain(a)
