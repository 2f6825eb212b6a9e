"""Formulas for convolutions of one, two or three dimensions, with groups, strides and dilation.

The gradient of one example's filter is the correlation of its (padded) input with d. Stride 1:
one matrix product per filter offset, on shifted views of the padded input, which copies nothing.
Otherwise, and for few input channels: one product with the patches laid out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import row_squares
from .tapped import Tapped, slices

FEW_CHANNELS = 4
"""Below this many input channels per group the products per offset are too thin to pay."""


def per_example(call: Tapped, role: str) -> Tensor:
    """Return (n, *shape)."""
    a, d, repeats = _merged(call)
    out = d.flatten(2).sum(2) if role == "bias" else _arranged(_products(a, d, call), call)
    return out.view(-1, repeats, *out.shape[1:]).sum(1) if repeats > 1 else out


def squares(call: Tapped, role: str) -> Tensor:
    """Return (n,) squared norms, a few examples' gradients at a time."""
    if role == "bias":
        return row_squares(per_example(call, role))
    repeats, n = _merged(call)[2], len(call.d)
    out = call.d.new_empty(n)
    each = _scratch(call)
    for part in slices(n, each * repeats, 1 << 18):
        some = call.rows(part)
        if repeats > 1:
            out[part] = row_squares(per_example(some, role).flatten(1))
        else:
            out[part] = _norms_of(_products(some.a, some.d, call), len(some.d))
    return out


def _norms_of(products: Tensor, n: int) -> Tensor:
    # (offsets, n * groups, out, in) -> (n,), whatever the order of a gradient's entries
    per_block: Tensor = torch.linalg.vector_norm(products.flatten(2), dim=2)
    return per_block.square_().view(len(products), n, -1).sum((0, 2))


def total(call: Tapped, role: str) -> Tensor:
    """Return the sum of the gradients over the examples: the ordinary weight gradient."""
    a, d, _ = _merged(call)
    if role == "bias":
        return d.flatten(2).sum((0, 2))
    weight = a.new_zeros(call.shapes[role])
    o = call.opts
    grads = torch.ops.aten.convolution_backward(
        d, _padded(a, call), weight, None, o["stride"], (0,) * len(o["stride"]), o["dilation"],
        False, (0,) * len(o["stride"]), o["groups"], (False, True, False),
    )  # fmt: skip
    result: Tensor = grads[1]
    return result


def inner(call: Tapped, role: str, v: Tensor) -> Tensor:
    """Return (n,) products <g_i, v>: the output that v as a filter would give, times d."""
    a, d, repeats = _merged(call)
    if role == "bias":
        out = d.flatten(2).sum(2) @ v
    else:
        run = (F.conv1d, F.conv2d, F.conv3d)[v.ndim - 3]
        o = call.opts
        made = run(_padded(a, call), v, None, o["stride"], 0, o["dilation"], o["groups"])
        out = torch.linalg.vecdot(made.flatten(1), d.flatten(1))
    return out.view(-1, repeats).sum(1) if repeats > 1 else out


def _merged(call: Tapped) -> tuple[Tensor, Tensor, int]:
    # several images per example (frames, crops) are handled as examples and added afterwards
    k = len(call.opts["stride"])
    if call.d.ndim == k + 2:
        return call.a, call.d, 1
    return call.a.flatten(0, 1), call.d.flatten(0, 1), call.d.shape[1]


def _padded(a: Tensor, call: Tapped) -> Tensor:
    left, right = call.opts["left"], call.opts["right"]
    pad = [size for pair in zip(reversed(left), reversed(right), strict=True) for size in pair]
    return F.pad(a, pad) if any(pad) else a


def _scratch(call: Tapped) -> int:
    # numbers that one example's products and operands take
    shape = call.shapes["weight"]
    patches = (
        math.prod(shape[1:]) * math.prod(call.d.shape[-len(shape[2:]) :]) * call.opts["groups"]
    )
    by_offset = all(s == 1 for s in call.opts["stride"]) and shape[1] > FEW_CHANNELS
    return math.prod(shape) + (0 if by_offset else patches)


def _products(a: Tensor, d: Tensor, call: Tapped) -> Tensor:
    """Return (offsets, n * groups, out, in), or (1, n * groups, out, in * offsets)."""
    padded, groups = _padded(a, call), call.opts["groups"]
    shape, n = call.shapes["weight"], len(d)
    if all(s == 1 for s in call.opts["stride"]) and shape[1] > FEW_CHANNELS:
        return _by_offset(padded, d, call)
    patches = _patches(padded, d, call).reshape(n * groups, math.prod(shape[1:]), -1)
    return torch.bmm(d.reshape(n * groups, shape[0] // groups, -1), patches.mT).unsqueeze(0)


def _by_offset(padded: Tensor, d: Tensor, call: Tapped) -> Tensor:
    groups, shape, n = call.opts["groups"], call.shapes["weight"], len(d)
    grid, out_size = padded.shape[2:], d.shape[2:]
    steps = [math.prod(grid[j + 1 :]) for j in range(len(grid))]
    # d on the padded grid, so that a filter offset is one shift of the flattened input
    fill = [0] * (2 * len(grid))
    for j in range(1, len(grid)):
        fill[2 * (len(grid) - 1 - j) + 1] = grid[j] - out_size[j]
    length = sum((o - 1) * s for o, s in zip(out_size, steps, strict=True)) + 1
    spread = F.pad(d, fill).reshape(n * groups, shape[0] // groups, -1)[:, :, :length]
    flat = padded.reshape(n * groups, shape[1], -1)
    offsets = list(_offsets(shape, call.opts["dilation"], steps))
    out = d.new_empty(len(offsets), n * groups, shape[0] // groups, shape[1])
    for k, offset in enumerate(offsets):
        torch.bmm(spread, flat[:, :, offset : offset + length].mT, out=out[k])
    return out


def _offsets(shape: torch.Size, dilation: tuple[int, ...], steps: list[int]) -> Iterator[int]:
    for place in itertools.product(*(range(size) for size in shape[2:])):
        yield sum(p * dil * s for p, dil, s in zip(place, dilation, steps, strict=True))


def _patches(padded: Tensor, d: Tensor, call: Tapped) -> Tensor:
    # view (n, channels, *kernel, *out) of the padded input; copied only by the caller's reshape
    padded = padded.contiguous()
    base = padded.stride()
    space = base[2:]
    kernel = call.shapes["weight"][2:]
    by_kernel = [s * dil for s, dil in zip(space, call.opts["dilation"], strict=True)]
    by_out = [s * step for s, step in zip(space, call.opts["stride"], strict=True)]
    size = (*padded.shape[:2], *kernel, *d.shape[2:])
    return padded.as_strided(size, (base[0], base[1], *by_kernel, *by_out))


def _arranged(products: Tensor, call: Tapped) -> Tensor:
    # to (n, *weight shape)
    shape, groups = call.shapes["weight"], call.opts["groups"]
    n = products.shape[1] // groups
    if len(products) == 1 and products.shape[3] != shape[1]:
        return products.view(n, *shape)
    return products.permute(1, 2, 3, 0).reshape(n, *shape)
