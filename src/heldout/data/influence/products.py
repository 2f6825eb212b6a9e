"""Products of preconditioned query gradients with training gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .precondition import Preconditioner, Step, aligned, preconditioned, preconditioned_groups

ROWS = 8
"""Rows of a block of outer products."""

BLOCK_FLOATS = 1 << 19
"""Numbers of a block of training gradients: what the shared cache holds beside its operands."""


class Queries:
    """The queries' gradients of one layer, in the form that costs least for the training data.

    Inputs of layers with a bias may come without their column of ones: its share is then added.
    """

    def __init__(self, layer: Preconditioner, rank: int | None) -> None:
        self.layer, self.rank = layer, rank
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self._matrices: Tensor | None = None
        self._blocks: list[Tensor] | None = None
        self._bias: Tensor | None = None
        self._sides = 0, True
        self._flat: tuple[Tensor, ...] | None = None
        self._factors: tuple[Tensor, Tensor] | None = None

    def add(self, a: Tensor, d: Tensor) -> None:
        """Take some queries' inputs (q, T, n_in) and output gradients (q, T, n_out)."""
        self.pairs.append((a, d))

    def matrices(self) -> Tensor:
        """Return the preconditioned gradients, (q, n_out, n_in)."""
        if self._matrices is None and not self.pairs:
            return self._joined()
        if self._matrices is None:
            like = self.pairs[0][0]
            self._matrices = aligned(like, sum(len(a) for a, _ in self.pairs), *self.layer.shape)
            for some, made in self._groups():
                self._matrices[some] = made
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
        if a.shape[1] == 1 and self.pairs and all(p[0].shape[1] == 1 for p in self.pairs):
            return self._by_rows(a[:, 0], d[:, 0])
        return self._by_entries(a, d)

    def token_scores(self, a: Tensor, d: Tensor) -> Tensor:
        """Return products with each position's d_t a_t^T, (q, n, T)."""
        if self.rank is not None:
            return _by_rank(self.factors(), a, d)
        return _by_positions(self.matrices(), a, d)

    def _groups(self) -> Iterator[tuple[slice, Tensor]]:
        start = 0
        for a, d in self.pairs:
            for some, made in preconditioned_groups(self.layer, a, d):
                yield slice(start + some.start, start + some.stop), made
            start += len(a)

    def _by_entries(self, a: Tensor, d: Tensor) -> Tensor:
        # Training gradients in blocks of rows, then one product of each with all queries'. Rows are
        # along the wider side, so that a block is small enough to be in the cache still when it is
        # multiplied; the queries' blocks are laid out once for all batches.
        wide, narrow = (d, a) if d.shape[2] >= a.shape[2] else (a, d)
        if self._blocks is None:
            self._lay_out(a.shape[2], wide is d)
        assert self._blocks is not None
        rows, out = _block(wide.shape[2]), a.new_zeros(len(a), len(self._blocks[0]))
        if self._bias is not None:
            out.addmm_(d.sum(1), self._bias.t())
        size = max(1, BLOCK_FLOATS // (rows * narrow.shape[2]))
        for i in range(0, len(a), size):
            for left, turned in zip(
                self._blocks, wide[i : i + size].transpose(1, 2).split(rows, 1), strict=True
            ):
                part = torch.bmm(turned, narrow[i : i + size])
                out[i : i + size].addmm_(part.flatten(1), left.t())
        return out.t()

    def _lay_out(self, n_in: int, by_outputs: bool) -> None:
        # Blocks of rows (by_outputs) or columns of the matrices without the bias's, one query's
        # after another's. Pairs with several positions are as large again, and can go.
        n_out, count = self.layer.shape[0], sum(len(a) for a, _ in self.pairs)
        wide, narrow = (n_out, n_in) if by_outputs else (n_in, n_out)
        like, step = self.pairs[0][0], _block(wide)
        starts = range(0, wide, step)
        self._blocks = [like.new_empty(count, min(step, wide - i), narrow) for i in starts]
        if n_in < self.layer.shape[1]:
            self._bias = like.new_empty(count, n_out)
        for some, made in self._groups():
            if self._bias is not None:
                self._bias[some] = made[:, :, -1]
            turned = made[:, :, :n_in] if by_outputs else made[:, :, :n_in].transpose(1, 2)
            for i, block in zip(starts, self._blocks, strict=True):
                block[some] = turned[:, i : i + step]
        self._blocks = [block.flatten(1) for block in self._blocks]
        self._sides = narrow, by_outputs
        if any(a.shape[1] > 1 for a, _ in self.pairs):
            self.pairs.clear()

    def _joined(self) -> Tensor:
        assert self._blocks is not None
        narrow, by_outputs = self._sides
        found = torch.cat([block.view(len(block), -1, narrow) for block in self._blocks], 1)
        found = found if by_outputs else found.transpose(1, 2)
        return found if self._bias is None else torch.cat([found, self._bias[..., None]], 2)

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
    if a.shape[2] < matrices.shape[2]:
        made = (torch.addmm(m[:, -1], flat_a, m[:, :-1].t()) for m in matrices)
    else:
        made = (flat_a @ m.t() for m in matrices)
    out = torch.stack([torch.linalg.vecdot(product, flat_d) for product in made])
    return out.view(q, n, t)


def _by_rank(factors: tuple[Tensor, Tensor], a: Tensor, d: Tensor) -> Tensor:
    u, v = factors  # (q, n_out, r), (q, r, n_in)
    (n, t, _), (q, _, r) = a.shape, u.shape
    left = d.flatten(0, 1) @ u.permute(1, 0, 2).flatten(1)
    turned = v.flatten(0, 1).t()
    right = a.flatten(0, 1) @ turned[: a.shape[2]]
    if a.shape[2] < len(turned):
        right += turned[-1]
    return left.mul_(right).view(n, t, q, r).sum(3).permute(2, 0, 1)
