"""Products of preconditioned query gradients with training gradients, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor

from .precondition import Preconditioner, Step, preconditioned

ROWS = 8
"""Rows of a block of outer products."""

BLOCK_FLOATS = 1 << 19
"""Numbers of a block of training gradients: what the shared cache holds beside its operands."""


class Queries:
    """The queries' gradients of one layer, in the form that costs least for the training data."""

    def __init__(self, layer: Preconditioner, rank: int | None) -> None:
        self.layer, self.rank = layer, rank
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self._matrices: Tensor | None = None
        self._blocks: list[Tensor] | None = None
        self._flat: tuple[Tensor, ...] | None = None
        self._factors: tuple[Tensor, Tensor] | None = None

    def add(self, a: Tensor, d: Tensor) -> None:
        """Take some queries' inputs (q, T, n_in) and output gradients (q, T, n_out)."""
        self.pairs.append((a, d))

    def close(self) -> None:
        """Make matrices now where queries have several positions, so that those can go."""
        if any(a.shape[1] > 1 for a, _ in self.pairs) or self.rank is not None:
            self.matrices() if self.rank is None else self.factors()
            self.pairs.clear()

    def matrices(self) -> Tensor:
        """Return the preconditioned gradients, (q, n_out, n_in)."""
        if self._matrices is None:
            self._matrices = torch.cat([preconditioned(self.layer, a, d) for a, d in self.pairs])
        return self._matrices

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return U (q, n_out, r) and V (q, r, n_in) with U V near each preconditioned gradient."""
        if self._factors is None:
            assert self.rank is not None
            made = [low_rank(preconditioned(self.layer, a, d), self.rank) for a, d in self.pairs]
            self._factors = torch.cat([u for u, _ in made]), torch.cat([v for _, v in made])
        return self._factors

    def scores(self, a: Tensor, d: Tensor) -> Tensor:
        """Return products with training gradients sum_t d_t a_t^T, (q, n)."""
        if self.rank is not None:
            return _by_rank(self.factors(), a, d).sum(2)
        if a.shape[1] == 1 and self.pairs:
            return self._by_rows(a[:, 0], d[:, 0])
        return self._by_entries(a, d)

    def token_scores(self, a: Tensor, d: Tensor) -> Tensor:
        """Return products with each position's d_t a_t^T, (q, n, T)."""
        if self.rank is not None:
            return _by_rank(self.factors(), a, d)
        return _by_positions(self.matrices(), a, d)

    def _by_entries(self, a: Tensor, d: Tensor) -> Tensor:
        # Training gradients in blocks of rows, then one product of each with all queries'. Rows are
        # along the wider side, so that a block is small enough to be in the cache still when it is
        # multiplied; the queries' blocks are laid out once for all batches.
        wide, narrow = (d, a) if d.shape[2] >= a.shape[2] else (a, d)
        if self._blocks is None:
            made = self.matrices() if wide is d else self.matrices().transpose(1, 2)
            self._blocks = [
                part.flatten(1).contiguous() for part in made.split(_block(made.shape[1]), 1)
            ]
            self._matrices = None
        rows, out = _block(wide.shape[2]), a.new_zeros(len(a), len(self._blocks[0]))
        size = max(1, BLOCK_FLOATS // (rows * narrow.shape[2]))
        for i in range(0, len(a), size):
            for left, turned in zip(
                self._blocks, wide[i : i + size].transpose(1, 2).split(rows, 1), strict=True
            ):
                part = torch.bmm(turned, narrow[i : i + size])
                out[i : i + size].addmm_(part.flatten(1), left.t())
        return out.t()

    def _by_rows(self, a: Tensor, d: Tensor) -> Tensor:
        # One position each: beside the staircase <d_q a_q^T, d_i a_i^T> = (d_q . d_i)(a_q . a_i);
        # on it, blocks of outer products.
        layer = self.layer
        if self._flat is None:
            pairs = [(p[0][:, 0], p[1][:, 0]) for p in self.pairs]
            self._flat = layer.rotated(*(torch.cat(part) for part in zip(*pairs, strict=True)))
        a_q, d_q = self._flat
        a, d = layer.rotated(a, d)
        out = a.new_zeros(len(a_q), len(a))
        dots, upto = torch.zeros_like(out), 0  # a_q . a_i over the columns before a step
        for step in reversed(layer.steps):  # starts ascend, so that the dots are extended
            if step.start > upto:
                dots.addmm_(a_q[:, upto : step.start], a[:, upto : step.start].t())
                upto = step.start
            if step.start > 0:
                out.addcmul_((layer.base * d_q[:, step.rows]) @ d[:, step.rows].t(), dots)
            if step.start < layer.shape[1]:
                _add_step(out, step, a_q, d_q, a, d)
        return out


def _add_step(out: Tensor, step: Step, a_q: Tensor, d_q: Tensor, a: Tensor, d: Tensor) -> None:
    # A few rows and some examples at a time: their outer products stay in the cache.
    width = step.weights.shape[1]
    for r in range(0, len(step.weights), ROWS):
        weights = step.weights[r : r + ROWS]
        rows = slice(step.rows.start + r, step.rows.start + r + len(weights))
        left = _outer(d_q[:, rows], a_q[:, step.start :], weights)
        size = max(16, BLOCK_FLOATS // (width * len(weights)))
        for i in range(0, len(a), size):
            right = _outer(d[i : i + size, rows], a[i : i + size, step.start :])
            out[:, i : i + size].addmm_(left, right.t())


def low_rank(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return U (q, m, r) and V (q, r, k) with U V the best approximation found of each matrix.

    A random range finder with two power iterations (Halko et al. 2011, arXiv:0909.4061, algorithm
    4.4), seeded: equal matrices give equal factors.

    >>> u, v = low_rank(torch.eye(3)[None], 3)
    >>> torch.allclose(u @ v, torch.eye(3)[None], atol=1e-6)
    True
    """
    rank = min(rank, *matrices.shape[1:])
    generator = torch.Generator().manual_seed(0)
    width = min(rank + 8, *matrices.shape[1:])
    start = torch.randn(matrices.shape[2], width, generator=generator)
    basis = matrices @ start.to(matrices)
    for _ in range(2):
        basis = torch.linalg.qr(basis)[0]
        basis = matrices @ torch.linalg.qr(matrices.transpose(1, 2) @ basis)[0]
    basis = torch.linalg.qr(basis)[0]
    u, s, v = torch.linalg.svd(basis.transpose(1, 2) @ matrices, full_matrices=False)
    return (basis @ u[:, :, :rank]) * s[:, None, :rank], v[:, :rank]


def _outer(d: Tensor, a: Tensor, weights: Tensor | None = None) -> Tensor:
    made = d[:, :, None] * a[:, None, :]
    return (made if weights is None else made.mul_(weights)).flatten(1)


def _block(width: int) -> int:
    # rows of about equal blocks of at most 64
    return -(-width // -(-width // 64))


def _by_positions(matrices: Tensor, a: Tensor, d: Tensor) -> Tensor:
    (n, t, _), q = a.shape, len(matrices)
    flat_a, flat_d = a.flatten(0, 1), d.flatten(0, 1)
    out = torch.stack([torch.linalg.vecdot(flat_a @ m.t(), flat_d) for m in matrices])
    return out.view(q, n, t)


def _by_rank(factors: tuple[Tensor, Tensor], a: Tensor, d: Tensor) -> Tensor:
    u, v = factors  # (q, n_out, r), (q, r, n_in)
    (n, t, _), (q, _, r) = a.shape, u.shape
    left = d.flatten(0, 1) @ u.permute(1, 0, 2).flatten(1)
    right = a.flatten(0, 1) @ v.flatten(0, 1).t()
    return left.mul_(right).view(n, t, q, r).sum(3).permute(2, 0, 1)
