"""Sums over examples: covariances of inputs and output gradients, and eigenvalues in their bases.

All sums are additive over examples: sums of parts of the data add up to those of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 256
"""Columns of a block of a symmetric product; only blocks on and above the diagonal are made."""
CACHE_FLOATS = 1 << 18
"""Per-example gradients made at a time, in numbers: what the second-level cache holds."""


@dataclass
class Covariance:
    """Sums for a layer's Kronecker factors."""

    a: Tensor
    """sum over positions of a a^T, (n_in, n_in); above the diagonal until `closed`."""
    s: Tensor
    """sum over positions of d d^T, (n_out, n_out); likewise."""
    positions: int = 0
    """How many positions were summed."""
    examples: int = 0
    """How many examples they belong to."""

    def add(self, a: Tensor | None, d: Tensor, positions: int, examples: int) -> None:
        """Add (n, T, n_in) inputs, or None where they were added before, and gradients."""
        if a is not None:
            gram_(self.a, a.flatten(0, 1))
            self.positions += positions
            self.examples += examples
        gram_(self.s, d.flatten(0, 1))

    def closed(self) -> tuple[Tensor, Tensor]:
        """Return A = E[a a^T] and S = E[d d^T] over positions, both halves filled in."""
        k = max(1, self.positions)
        return _mirrored(self.a) / k, _mirrored(self.s) / k


def gram_(out: Tensor, x: Tensor) -> None:
    """Add x^T x to `out`, on and above its diagonal (blocks below are left as they are).

    >>> out = torch.zeros(2, 2)
    >>> gram_(out, torch.eye(2))
    >>> out.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    for i in range(0, x.shape[1], BLOCK):
        out[i : i + BLOCK, i:].addmm_(x[:, i : i + BLOCK].t(), x[:, i:])


def _mirrored(upper: Tensor) -> Tensor:
    top = upper.triu()
    return top + top.triu(1).t()


def eigenbasis(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending and not below zero, and eigenvectors in columns.

    In float64: singular factors are common (constant inputs, units that are off, fewer examples
    than inputs), and float32 then gives eigenvectors that are not orthogonal.

    >>> eigenbasis(torch.diag(torch.tensor([2.0, 1.0])))[0].tolist()
    [1.0, 2.0]
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.clamp_(min=0).to(matrix.dtype), vectors.to(matrix.dtype)


def add_squares_(total: Tensor, a: Tensor, d: Tensor) -> None:
    """Add sum_i (sum_t d_it a_it^T)^2, entry by entry, to (n_out, n_in).

    One position: (d a^T)^2 = d^2 (a^2)^T, so the sum is one product of squares. Several: each
    example's gradient is made in a buffer that stays in the cache.

    >>> total = torch.zeros(1, 2)
    >>> add_squares_(total, torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0]]]))
    >>> total.tolist()
    [[9.0, 36.0]]
    """
    if a.shape[1] == 1:
        total.addmm_(d[:, 0].square().t(), a[:, 0].square())
        return
    step = max(1, CACHE_FLOATS // total.numel())
    buffer = total.new_empty(min(step, len(a)), *total.shape)
    for i in range(0, len(a), step):
        part = buffer[: len(a[i : i + step])]
        torch.bmm(d[i : i + step].transpose(1, 2), a[i : i + step], out=part)
        if len(part) == 1:
            total.addcmul_(part[0], part[0])
        else:
            total += part.square_().sum(0)
