"""Formulas for matrix products: out = a W^T + b, with one or many positions per example.

With a_t the input and d_t the output gradient at position t of one example, the gradient of W is
G = sum_t d_t a_t^T. One position: ||G||^2 = ||a||^2 ||d||^2. Many: either G itself, or
||G||^2 = sum_ts (a_t.a_s)(d_t.d_s), whichever needs fewer operations (Goodfellow 2015,
arXiv:1510.01799; Li et al. 2022, arXiv:2110.05679 for sequences).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .tapped import Tapped, slices

CANCELLED = 0.05
"""Below this share of the positions' own squares a sum over pairs is computed again by entries."""


def _flat(call: Tapped) -> tuple[Tensor, Tensor]:
    # (n, positions, width) for both, or (n, width) when there is one position
    a, d = call.a, call.d
    if a.ndim > 3:
        a, d = a.flatten(1, -2), d.flatten(1, -2)
    if a.ndim == 3 and a.shape[1] == 1:
        a, d = a[:, 0], d[:, 0]
    return a, d


def _oriented(grad: Tensor, call: Tapped) -> Tensor:
    return grad.transpose(-1, -2) if call.opts.get("transposed") else grad


def per_example(call: Tapped, role: str) -> Tensor:
    """Return (n, *shape): sum_t d_t a_t^T for the weight, sum_t d_t for the bias."""
    a, d = _flat(call)
    if role == "bias":
        return d if d.ndim == 2 else d.sum(1)
    if d.ndim == 2:
        return _oriented(d.unsqueeze(2) * a.unsqueeze(1), call)
    return _oriented(torch.bmm(d.transpose(1, 2), a), call)


def squares(call: Tapped, role: str) -> Tensor:
    """Return (n,) squared norms without holding n gradients."""
    a, d = _flat(call)
    if role == "bias":
        return row_squares(d if d.ndim == 2 else d.sum(1))
    if d.ndim == 2:
        return row_squares(a) * row_squares(d)
    t, wide, tall = a.shape[1], a.shape[2], d.shape[2]
    return _by_positions(a, d) if t * (wide + tall) < wide * tall else _by_entries(a, d)


def _by_entries(a: Tensor, d: Tensor) -> Tensor:
    out = a.new_empty(a.shape[0])
    for part in slices(a.shape[0], a.shape[2] * d.shape[2]):
        out[part] = row_squares(torch.bmm(d[part].transpose(1, 2), a[part]).flatten(1))
    return out


def _by_positions(a: Tensor, d: Tensor) -> Tensor:
    out, alone = a.new_empty(a.shape[0]), a.new_empty(a.shape[0])
    for part in slices(a.shape[0], 2 * a.shape[1] ** 2):
        left = torch.bmm(a[part], a[part].transpose(1, 2))
        right = torch.bmm(d[part], d[part].transpose(1, 2))
        out[part] = torch.linalg.vecdot(left.flatten(1), right.flatten(1))
        alone[part] = torch.linalg.vecdot(
            left.diagonal(dim1=1, dim2=2), right.diagonal(dim1=1, dim2=2)
        )
    # Where positions cancel, the sum of products has lost digits that the entries still have.
    lossy = torch.nonzero(out < CANCELLED * alone).flatten()
    if len(lossy):
        out[lossy] = _by_entries(a[lossy], d[lossy])
    return out


def total(call: Tapped, role: str) -> Tensor:
    """Return the sum of the gradients over the examples, as one ordinary product."""
    d = call.d.flatten(0, -2)
    if role == "bias":
        return d.sum(0)
    return _oriented(d.t() @ call.a.flatten(0, -2), call)


def inner(call: Tapped, role: str, v: Tensor) -> Tensor:
    """Return (n,) products <g_i, v>: the output that v as a weight would give, times d."""
    out: Tensor
    if role == "bias":
        out = call.d @ v
    else:
        out = torch.linalg.vecdot(call.a @ (v if call.opts.get("transposed") else v.t()), call.d)
    return out.flatten(1).sum(1) if out.ndim > 1 else out


def row_squares(t: Tensor) -> Tensor:
    """Return the squared Euclidean norm of every row of an (n, width) tensor."""
    norms: Tensor = torch.linalg.vector_norm(t, dim=1)
    return norms.square_()
