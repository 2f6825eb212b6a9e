"""How `perpendicular_gradients` is computed without a Python step per number or per tensor.

Large tensors on the CPU: three dot products, and one pass that projects and rescales at once; where
more than half of the gradient is parallel, the same twice. Small ones side by side, in float64.
What float32 cannot do (products outside its range, gradients within 6 degrees of their weights) in
float64, slice by slice. Elsewhere, and where the step is
compiled, one tensor after the other in float64, without waiting for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

GUARD = 1e-30  # of a tensor of zeros: its gradient is left as it is
_SMALL = 4096  # numbers: below, the work is mostly the overhead of calls
_BATCH = 1 << 14  # numbers of small tensors at once: in float64 they stay in the cache
_SLICE = 1 << 13  # the same for a large one
_PART = 1 << 16  # numbers in one dot product; these are added in float64
_TINY, _HUGE = 1e-24, 1e36  # squared norms that float32 adds up without under- or overflow
_SPLIT = 0.5  # of ||g||^2: above, what is left is well enough known from the dot products
_NEAR = 0.01  # of ||g||^2: above, taking the parallel part away twice is well enough

_WIDE = (torch.float32, torch.float64)
Pair = tuple[Tensor, Tensor]


@torch.no_grad()
def project(weights: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
    """Make each gradient perpendicular to its weights, in place, its norm kept.

    The formula and what becomes of zeros, parallel gradients and NaN: `perpendicular_gradients`.
    Result against float64: off by at most 2e-6 of ||g||, in float32 as in float16 and
    bfloat16 before they round the result.

    Args:
        weights: real, dense, any strides and devices.
        grads: in the shapes of the weights.

    Cost: four reads of weights and gradients and one that writes; about twice that where more than
    half of a gradient is parallel.

    >>> g = torch.tensor([3.0, 4.0])
    >>> project([torch.tensor([1.0, 0.0])], [g]); g
    tensor([0., 5.])
    """
    small: list[Pair] = []
    compiled = torch.compiler.is_compiling()
    for w, g in zip(weights, grads, strict=True):
        n = g.numel()
        if compiled or g.device.type != "cpu":
            g.copy_(perpendicular(g, w))
        elif n < _SMALL:
            small.append((w, g))
        elif g.dtype == w.dtype in _WIDE and g.is_contiguous() and w.is_contiguous():
            _large(w.view(-1), g.view(-1))
        else:
            _copied(w, g)
    for batch in _batches(small):
        _side_by_side(batch)


def perpendicular(grad: Tensor, weights: Tensor) -> Tensor:
    """Return the projected gradient of one tensor by the definition; on any device, compilable.

    >>> perpendicular(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0]))
    tensor([0., 5.], dtype=torch.float64)
    """
    # the one kind of device without float64
    wide = torch.float32 if grad.device.type == "mps" else torch.float64
    g, t = grad.to(wide), weights.detach().to(wide)
    rest = g - ((t * g).sum() / ((t * t).sum() + GUARD)) * t
    before, after = g.norm(), rest.norm()
    noise = 4 * torch.finfo(grad.dtype).eps * before
    floor = torch.finfo(wide).tiny
    scale = torch.where(after > noise, before / after.clamp(min=floor), torch.zeros_like(after))
    # NaN > noise is false: keep what is not finite visible rather than turn it into 0
    return torch.where(torch.isfinite(before), rest * scale, g)


def _large(w: Tensor, g: Tensor, eps: float | None = None) -> None:
    # flat and of one type; eps: of the type that the gradient came in, where it is a copy
    wg, gg = _dot(w, g), _dot(g, g)
    ww, before = _dot(w, w), gg
    along = wg / (ww + GUARD)
    rest = gg - along * wg
    # written so that NaN goes to the careful way, too
    if not (_TINY < ww < _HUGE and _TINY < gg < _HUGE and rest > _NEAR * gg):
        return _careful(w, g, torch.finfo(g.dtype).eps if eps is None else eps)
    if rest < _SPLIT * gg:  # the difference of two float32 sums would be too coarse: take it away
        g.add_(w, alpha=-along)
        wg, gg = _dot(w, g), _dot(g, g)
        along = wg / ww
        rest = gg - along * wg
    scale = math.sqrt(before / rest)
    # addr with a vector of a single 1: scale * g - scale * along * w in one pass, no temporary
    column = g.unsqueeze(1)
    torch.addr(column, w, w.new_ones(1), beta=scale, alpha=-scale * along, out=column)
    return None


def _dot(a: Tensor, b: Tensor) -> float:
    if len(a) <= _PART:
        return float(a.dot(b))
    parts = zip(a.split(_PART), b.split(_PART), strict=True)
    return math.fsum(float(x.dot(y)) for x, y in parts)


def _copied(w: Tensor, g: Tensor) -> None:
    # half precision, other strides, or a gradient of another type than its weights
    wide = torch.float64 if torch.float64 in (w.dtype, g.dtype) else torch.float32
    flat = g.to(wide, memory_format=torch.contiguous_format, copy=True).view(-1)
    _large(w.detach().to(wide).reshape(-1), flat, torch.finfo(g.dtype).eps)
    g.copy_(flat.view(g.shape))


def _careful(w: Tensor, g: Tensor, eps: float) -> None:
    # the definition in float64, slice by slice, the remainder's norm from the remainder itself
    parts = list(zip(w.split(_SLICE), g.split(_SLICE), strict=True))
    wg = ww = gg = left = 0.0
    for a, b in parts:
        t, x = a.double(), b.double()
        wg, ww, gg = wg + float(t.dot(x)), ww + float(t.dot(t)), gg + float(x.dot(x))
    if not math.isfinite(gg):
        return
    along = wg / (ww + GUARD)
    for a, b in parts:
        x = b.double().sub_(a.double(), alpha=along)
        left += float(x.dot(x))
    scale = math.sqrt(gg / left) if left > 0 and not left <= 16 * eps**2 * gg else 0.0
    scale = math.nan if math.isnan(left) else scale
    for a, b in parts:
        b.copy_(b.double().sub_(a.double(), alpha=along).mul_(scale))


def _batches(pairs: list[Pair]) -> list[list[Pair]]:
    # of equal types, each of at most `_BATCH` numbers
    open_: dict[tuple[torch.dtype, torch.dtype], tuple[int, list[Pair]]] = {}
    full: list[list[Pair]] = []
    for w, g in pairs:
        kind, n = (w.dtype, g.dtype), g.numel()
        held, batch = open_.get(kind, (0, []))
        if held + n > _BATCH:
            full.append(batch)
            held, batch = 0, []
        if n:  # an empty tensor has no start of its own among the others
            batch.append((w, g))
        open_[kind] = (held + n, batch)
    return full + [batch for _, batch in open_.values() if batch]


def _side_by_side(batch: list[Pair]) -> None:
    grads = [g.reshape(-1) for _, g in batch]  # views, but of gradients with odd strides
    joined = torch.cat(grads)
    t = torch.cat([w.reshape(-1) for w, _ in batch]).double().numpy()
    g = joined.double().numpy()
    sizes = np.array([len(x) for x in grads])
    starts = np.cumsum(sizes) - sizes
    with np.errstate(all="ignore"):  # what is not finite stays so, as in the other ways
        along = np.add.reduceat(t * g, starts) / (np.add.reduceat(t * t, starts) + GUARD)
        rest = g - np.repeat(along, sizes) * t
        before = np.sqrt(np.add.reduceat(g * g, starts))
        after = np.sqrt(np.add.reduceat(rest * rest, starts))
        noise = 4 * torch.finfo(joined.dtype).eps * before
        scale = np.where(after > noise, before / np.maximum(after, 1e-300), 0.0)
        out = np.where(np.repeat(np.isfinite(before), sizes), rest * np.repeat(scale, sizes), g)
    new = torch.from_numpy(out).to(joined.dtype)
    torch._foreach_copy_(grads, new.split(sizes.tolist()))
    for (_, grad), flat in zip(batch, grads, strict=True):
        if not grad.is_contiguous():
            grad.copy_(flat.view(grad.shape))
