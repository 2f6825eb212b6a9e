"""Multiplying by (G + lambda)^-1 in a layer's eigenbasis, at less than the dense cost.

W = 1 / (Lambda + lambda) is 1/lambda wherever Lambda is far below lambda. With rows and columns
sorted by their sums, the other entries fill a staircase in one corner, a fifth to a third of the
matrix in trained networks, where few directions carry most of the curvature. Beside it the weight
is a constant, and a product of two one-position gradients there is a product of two dot products.
Taking Lambda <= tolerance * lambda for zero changes no entry of W by more than that share of it.

W is never written as 1/lambda minus a correction for all entries: where Lambda is 10^5 lambda, as
it is in trained networks, the difference would have lost five of float32's seven digits.

A bias makes widths odd, 257 for 256, and products of matrices whose rows begin anywhere take up to
twice the time. What is made here has rows that begin at multiples of eight numbers, and a bias's
column of ones may be left out: its product is a row of the eigenvectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .factors import LayerFactors

STEP = 32
"""Rows of a step of the staircase."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 0.0}
"""Largest relative change of an entry of W, by type: exact in float64."""
GROUP_FLOATS = 1 << 19
"""Numbers of the matrices that are multiplied by W together: what the cache holds."""


@dataclass(frozen=True)
class Step:
    """Rows of the staircase that begin at the same column."""

    rows: slice
    start: int
    """First column that counts."""
    weights: Tensor
    """W of these rows from `start` on; before it W is `base`."""


@dataclass(frozen=True)
class Preconditioner:
    """A layer's (G + lambda)^-1, with rows and columns in ascending order of curvature."""

    base: float
    """1 / lambda."""
    steps: tuple[Step, ...]
    shape: tuple[int, int]
    q_a: Tensor | None
    """Sorted eigenvectors of A in columns; None: columns are chosen by `order_a`."""
    q_s: Tensor | None
    """Sorted eigenvectors of S in columns; None: columns are chosen by `order_s`."""
    order_a: Tensor
    order_s: Tensor

    def rotated(self, a: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return a, with or without a bias's column of ones, and d in the sorted eigenbases."""
        if self.q_a is None or self.q_s is None:
            if a.shape[-1] < self.shape[1]:
                a = torch.cat([a, a.new_ones(*a.shape[:-1], 1)], -1)
            return a[..., self.order_a], d[..., self.order_s]
        return _times(a, self.q_a), _times(d, self.q_s)

    def dense(self) -> Tensor:
        """Return W, (n_out, n_in), sorted."""
        out = self.steps[0].weights.new_full(self.shape, self.base)
        for step in self.steps:
            out[step.rows, step.start :] = step.weights
        return out


def preconditioner(
    factors: LayerFactors, damping: float, tolerance: float | None = None
) -> Preconditioner:
    """Prepare (G + lambda)^-1 of a layer.

    Args:
        factors: its curvature.
        damping: lambda.
        tolerance: largest relative change of an entry of W by what is left out; by the type of
            the factors when None.

    >>> f = LayerFactors(torch.tensor([[0.0, 1.0], [1.0, 3.0]]))
    >>> preconditioner(f, 1.0).dense().tolist()
    [[1.0, 0.5], [0.5, 0.25]]
    """
    curvature = factors.eigenvalues
    limit = TOLERANCE.get(curvature.dtype, 1e-4) if tolerance is None else tolerance
    order_s, order_a = curvature.sum(1).argsort(), curvature.sum(0).argsort()
    sorted_ = curvature[order_s][:, order_a].double()
    steps: list[Step] = []
    for begin in range(0, len(sorted_), STEP):
        rows = sorted_[begin : begin + STEP]
        counts = torch.nonzero(rows.amax(0) > limit * damping)
        first = int(counts[0]) if len(counts) and damping > 0 else rows.shape[1]
        first = 0 if damping == 0 else first
        weights = (1 / (rows[:, first:] + damping)).to(curvature.dtype).contiguous()
        if steps and steps[-1].start == first == rows.shape[1]:  # nothing but the constant yet
            steps[-1] = Step(
                slice(0, begin + len(rows)), first, weights.new_empty(begin + len(rows), 0)
            )
            continue
        steps.append(Step(slice(begin, begin + len(rows)), first, weights))
    return Preconditioner(
        1 / damping if damping > 0 else 0.0,
        tuple(steps),
        (curvature.shape[0], curvature.shape[1]),
        None if factors.q_a is None else _chosen(factors.q_a, order_a),
        None if factors.q_s is None else _chosen(factors.q_s, order_s),
        order_a,
        order_s,
    )


def preconditioned(layer: Preconditioner, a: Tensor, d: Tensor) -> Tensor:
    """Return (G + lambda)^-1 applied to gradients sum_t d_t a_t^T, (q, n_out, n_in), unrotated.

    Args:
        layer: from `preconditioner`.
        a: (q, T, n_in), not rotated; with a bias, its column of ones may be left out.
        d: (q, T, n_out), not rotated.

    Cost per gradient: 2 n_out n_in (T + n_out + n_in).

    >>> one = preconditioner(LayerFactors(torch.tensor([[3.0, 1.0]])), 1.0)
    >>> preconditioned(one, torch.ones(1, 1, 2), torch.ones(1, 1, 1)).tolist()
    [[[0.25, 0.5]]]
    """
    out = aligned(a, len(a), *layer.shape)
    for some, made in preconditioned_groups(layer, a, d):
        out[some] = made
    return out


def preconditioned_groups(
    layer: Preconditioner, a: Tensor, d: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield `preconditioned` for a few gradients at a time, in memory that the next few overwrite.

    >>> one = preconditioner(LayerFactors(torch.tensor([[1.0]])), 1.0)
    >>> [found.tolist() for _, found in preconditioned_groups(one, *[torch.ones(2, 1, 1)] * 2)]
    [[[[0.5]], [[0.5]]]]
    """
    a, d = layer.rotated(a, d)
    weights = layer.dense().to(a.dtype)
    size = min(len(a), max(1, GROUP_FLOATS // weights.numel()))
    one, two = (aligned(a, size, *layer.shape) for _ in range(2))
    for i in range(0, len(a), size):
        n = min(size, len(a) - i)
        made, spare = one[:n], two[:n]
        torch.bmm(d[i : i + n].transpose(1, 2), a[i : i + n], out=made)
        made.mul_(weights)
        if layer.q_a is None or layer.q_s is None:
            spare[:, layer.order_s[:, None], layer.order_a] = made
            yield slice(i, i + n), spare
            continue
        torch.mm(made.flatten(0, 1), layer.q_a.t(), out=spare.flatten(0, 1))
        torch.bmm(layer.q_s.expand(n, -1, -1), spare, out=made)
        yield slice(i, i + n), made


def aligned(like: Tensor, *shape: int) -> Tensor:
    """Return an empty tensor whose rows begin at multiples of eight numbers.

    >>> aligned(torch.zeros(1), 2, 3, 9).stride()
    (48, 16, 1)
    """
    return like.new_empty(*shape[:-1], -(-shape[-1] // 8) * 8)[..., : shape[-1]]


def self_products(layer: Preconditioner, a: Tensor, d: Tensor) -> Tensor:
    """Return g^T (G + lambda)^-1 g for gradients g = sum_t d_t a_t^T, (n,).

    >>> f = LayerFactors(torch.tensor([[1.0]]))
    >>> self_products(preconditioner(f, 1.0), torch.ones(1, 1, 1), torch.full((1, 1, 1), 2.0))
    tensor([2.])
    """
    a, d = layer.rotated(a, d)
    weights = layer.dense().to(a.dtype)
    if a.shape[1] == 1:
        return ((d[:, 0].square() @ weights) * a[:, 0].square()).sum(1)
    out = a.new_empty(len(a))
    step = max(1, (1 << 18) // weights.numel())
    for i in range(0, len(a), step):
        grads = torch.bmm(d[i : i + step].transpose(1, 2), a[i : i + step])
        out[i : i + step] = (grads.square_() * weights).flatten(1).sum(1)
    return out


def _times(x: Tensor, q: Tensor) -> Tensor:
    # x q, or [x, 1] q
    out = aligned(x, *x.shape[:-1], q.shape[1])
    flat, rows = out.flatten(0, -2), x.reshape(-1, x.shape[-1])
    if x.shape[-1] == len(q):
        torch.mm(rows, q, out=flat)
    else:
        torch.addmm(q[-1], rows, q[:-1], out=flat)
    return out


def _chosen(q: Tensor, order: Tensor) -> Tensor:
    return aligned(q, *q.shape).copy_(q[:, order])
