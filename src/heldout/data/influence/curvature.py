"""Products with the whole curvature matrix, and systems solved with it, without making it.

    (G + lambda) x = v,   G = mean over examples and labels of w g g^T, all layers together

A product is g (g^T v) summed over a pass through the data, for all vectors at once: nothing is left
out, neither within layers, as in a Kronecker product or a diagonal, nor between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heldout.core.errors import InputError

from .batches import Batch, expected
from .factors import LayerFactors, Stash, damping_factor
from .losses import LossTask
from .passes import FisherPass, run_fisher
from .taps import Taps

Vectors = dict[str, Tensor]
"""By layer, (q, n_out, n_in): a vector over all weights for each query."""
Pair = dict[str, tuple[Tensor, Tensor]]

BLOCK_FLOATS = 1 << 20
"""Numbers of a block of per-example gradients."""


def mean_eigenvalue(factors: dict[str, LayerFactors]) -> float:
    """Return trace(G) / p over all layers: the unit of dampings such as "1mean" for the whole G.

    Corrected eigenvalues are the diagonal of G in an orthonormal basis, so this is exact for
    "ekfac" and "diagonal", without the matrix.

    >>> two = {"a": LayerFactors(torch.ones(1, 2)), "b": LayerFactors(torch.full((1, 1), 4.0))}
    >>> mean_eigenvalue(two)
    2.0
    """
    total = sum(float(f.eigenvalues.double().sum()) for f in factors.values())
    return total / sum(f.eigenvalues.numel() for f in factors.values())


def whole_damping(rule: str | float, factors: dict[str, LayerFactors]) -> float:
    """Read a damping rule for the whole matrix: a number, or a multiple of the mean eigenvalue.

    Raises:
        InputError: no rule, or a damping of 0, for which the system may have no one solution.

    >>> whole_damping("0.5mean", {"": LayerFactors(torch.full((1, 2), 4.0))})
    2.0
    """
    value = damping_factor(rule) * (mean_eigenvalue(factors) if isinstance(rule, str) else 1.0)
    if value <= 0:
        raise InputError(
            f"damping={rule!r} with a mean eigenvalue of {mean_eigenvalue(factors):.1e}",
            "a positive damping for refined scores",
            'damping="1mean" with kind="ekfac", or a positive number',
        )
    return value


def conjugate_gradients(
    times: Callable[[Vectors], Vectors],
    inverse: Callable[[Vectors], Vectors],
    wanted: Vectors,
    steps: int,
    tolerance: float = 1e-6,
) -> tuple[Vectors, np.ndarray]:
    """Solve a positive definite system for several right sides, from 0 (Hestenes & Stiefel 1952).

    The k-th iterate is the best in the space of k directions, the first of which is the
    preconditioned right side itself: one step rescales it, further ones improve on it.

    Args:
        times: multiplies vectors by the matrix.
        inverse: multiplies them by a positive definite approximation of its inverse.
        wanted: right sides, (q, n_out, n_in) by layer.
        steps: at most.
        tolerance: stop when sqrt(r^T M r) of every right side has fallen to this share.

    Returns:
        Solutions, and ||r|| / ||wanted|| for each, (q,).

    Cost: a call of `times` and of `inverse` per step.

    >>> side = {"": torch.tensor([[[2.0, 3.0]]])}
    >>> twice = lambda v: {"": v[""] * torch.tensor([1.0, 3.0])}
    >>> conjugate_gradients(twice, lambda v: v, side, 2)[0][""].round(decimals=4).tolist()
    [[[2.0, 1.0]]]
    """
    x = {k: torch.zeros_like(v) for k, v in wanted.items()}
    r = {k: v.clone() for k, v in wanted.items()}
    z = inverse(r)
    p, rz = {k: v.clone() for k, v in z.items()}, _dot(r, z)  # `inverse` may return r itself
    first = rz
    for _ in range(steps):
        if bool((rz <= tolerance**2 * first).all()):
            break
        found = times(p)
        length = _ratio(rz, _dot(p, found))
        for k in x:
            x[k].add_(length.to(x[k])[:, None, None] * p[k])
            r[k].sub_(length.to(x[k])[:, None, None] * found[k])
        z = inverse(r)
        new = _dot(r, z)
        share = _ratio(new, rz)
        p, rz = {k: z[k] + share.to(z[k])[:, None, None] * p[k] for k in p}, new
    return x, _ratio(_dot(r, r), _dot(wanted, wanted)).sqrt().cpu().numpy()


class DampedCurvature:
    """G + lambda over some data; inputs and gradients are kept between products while they fit.

    Args:
        taps: from `taps.tapping`.
        task: the loss.
        data: as in `batches.batches`.
        how: labels and batches.
        damping: lambda.
        memory: bytes for inputs and gradients; without room for all, each product is a pass.
    """

    def __init__(
        self, taps: Taps, task: LossTask, data: Any, how: FisherPass, damping: float, memory: int
    ) -> None:
        self.taps, self.task, self.data, self.how = taps, task, data, how
        self.damping = damping
        self.stash = Stash(memory, expected(data))
        self.examples = 0

    def times(self, vectors: Vectors) -> Vectors:
        """Return (G + lambda) v for every query's vector."""
        total = {k: torch.zeros_like(v) for k, v in vectors.items()}
        for pairs in self._kept():
            _add_products(total, vectors, pairs)
        if not self._full():
            self._pass(total, vectors)
        return {
            k: total[k].div_(self.examples).add_(vectors[k], alpha=self.damping) for k in vectors
        }

    def _full(self) -> bool:
        return self.examples > 0 and self.stash.pairs is not None

    def _kept(self) -> Iterator[Pair]:
        if self._full():
            pairs = self.stash.pairs or {}
            for number in range(len(next(iter(pairs.values())))):
                yield {name: each[number] for name, each in pairs.items()}

    def _pass(self, total: Vectors, vectors: Vectors) -> None:
        waiting: Pair = {}

        def receive(batch: Batch, name: str, a: Tensor, d: Tensor, first: bool) -> None:
            # a gradient's product with a vector is over all layers: wait for the last one
            waiting[name] = (a, d)
            if not self.examples:
                self.stash.add(name, a, d)
            if len(waiting) == len(vectors):
                _add_products(total, vectors, waiting)
                waiting.clear()

        self.examples = run_fisher(self.taps, self.task, self.data, self.how, receive)


def _add_products(total: Vectors, vectors: Vectors, pairs: Pair) -> None:
    # sum_i g_i (g_i . v): dots over all layers first
    products = torch.stack([dots(vectors[k], *pairs[k]) for k in vectors]).sum(0)
    for name, (a, d) in pairs.items():
        out = total[name]
        for rows, some, gradients in _gradients(a, d):
            out[:, rows] += (products[:, some] @ gradients).view(len(out), -1, out.shape[2])


def dots(vectors: Tensor, a: Tensor, d: Tensor) -> Tensor:
    """Return products of vectors (q, n_out, n_in) with gradients sum_t d_t a_t^T, (q, n).

    >>> dots(torch.ones(1, 1, 2), torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0]]])).tolist()
    [[9.0]]
    """
    out = a.new_zeros(len(vectors), len(a))
    for rows, some, gradients in _gradients(a, d):
        out[:, some] += vectors[:, rows].flatten(1) @ gradients.t()
    return out


def _gradients(a: Tensor, d: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    # d^T a of some examples and rows at a time, flattened
    (n, _, width), height = a.shape, d.shape[2]
    step = max(1, min(height, BLOCK_FLOATS // (32 * width)))
    size = max(32, BLOCK_FLOATS // (step * width))
    for row in range(0, height, step):
        rows = slice(row, row + step)
        for i in range(0, n, size):
            some = slice(i, i + size)
            yield rows, some, torch.bmm(d[some, :, rows].transpose(1, 2), a[some]).flatten(1)


def _dot(left: Vectors, right: Vectors) -> Tensor:
    # float64: sums of products over all weights
    return torch.stack(
        [(left[k].double() * right[k].double()).flatten(1).sum(1) for k in left]
    ).sum(0)


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(bottom > 0, top / bottom.clamp(min=torch.finfo(bottom.dtype).tiny), 0.0)
