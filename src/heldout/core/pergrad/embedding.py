"""Formulas for tables of rows: out = W[index].

The gradient of row r is the sum of d over the positions of the example that looked r up, so two
positions with the same index meet in one row and their gradients add before the norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .linear import row_squares
from .tapped import Tapped

PAIRED_POSITIONS = 128
"""Up to this many positions, comparing all pairs is cheaper than sorting the indices."""


def _flat(call: Tapped) -> tuple[Tensor, Tensor]:
    n = call.a.shape[0]
    index, d = call.a.reshape(n, -1), call.d.reshape(n, -1, call.d.shape[-1])
    padding = call.opts["padding_idx"]
    if padding is not None:
        d = d * (index != padding).unsqueeze(-1)
    return index, d


def per_example(call: Tapped, role: str) -> Tensor:
    """Return (n, rows, width)."""
    index, d = _flat(call)
    n, rows = index.shape[0], call.shapes[role][0]
    out = d.new_zeros(n * rows, d.shape[-1])
    out.index_add_(0, _keys(index, rows), d.flatten(0, 1))
    return out.view(n, rows, -1)


def _keys(index: Tensor, rows: int) -> Tensor:
    # one key per pair (example, row)
    return (index + torch.arange(len(index), device=index.device).unsqueeze(1) * rows).flatten()


def squares(call: Tapped, role: str) -> Tensor:
    """Return (n,) squared norms, holding only the rows that were looked up."""
    index, d = _flat(call)
    if index.shape[1] == 1:
        return row_squares(d[:, 0])
    if index.shape[1] <= PAIRED_POSITIONS:
        # Row sums repeated at every position that looked the row up, each counted once over.
        same = (index.unsqueeze(1) == index.unsqueeze(2)).to(d.dtype)
        met = torch.bmm(same, d).square_().sum(2)
        return (met / same.sum(2)).sum(1)
    rows = call.shapes[role][0]
    keys, place = torch.unique(_keys(index, rows), return_inverse=True)
    met = d.new_zeros(len(keys), d.shape[-1]).index_add_(0, place, d.flatten(0, 1))
    owner = torch.div(keys, rows, rounding_mode="floor")
    return d.new_zeros(len(index)).index_add_(0, owner, row_squares(met))


def total(call: Tapped, role: str) -> Tensor:
    """Return the sum of the gradients over the examples."""
    index, d = _flat(call)
    out = d.new_zeros(call.shapes[role])
    return out.index_add_(0, index.flatten(), d.flatten(0, 1))


def inner(call: Tapped, role: str, v: Tensor) -> Tensor:
    """Return (n,) products <g_i, v>."""
    index, d = _flat(call)
    products: Tensor = torch.linalg.vecdot(v[index], d)
    return products.sum(1)
