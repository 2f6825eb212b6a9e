"""What is kept of the taps: squared norms, the gradients themselves, their sum, inner products."""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from . import affine, conv, embedding, linear
from .record import Owner
from .tapped import Tapped, slices

FORMULAS: dict[str, ModuleType] = {
    "linear": linear,
    "conv": conv,
    "embedding": embedding,
    "affine": affine,
    "shift": affine,
    "scale": affine,
}
"""Kind of a tap to the module with its four formulas."""


class Sink(Protocol):
    """Takes contributions for some rows of the data."""

    def tapped(self, call: Tapped, owners: dict[str, Owner], rows: slice) -> None:
        """Take one tap of the rows."""

    def stacked(self, grads: dict[str, Tensor], rows: slice) -> None:
        """Take finished gradients (n, *shape) of some parameters for the rows."""

    def flush(self, rows: slice) -> None:
        """Finish the rows."""


def gradients_of(call: Tapped, role: str, owner: Owner) -> Tensor:
    """Return (n, *parameter shape): one tap's contribution to one parameter."""
    grads: Tensor = FORMULAS[call.kind].per_example(call, role)
    return owner.pull(grads)


class Squares:
    """Squared norms per parameter and example, in `values[name]` of shape (n,)."""

    def __init__(self, params: dict[str, Tensor], uses: dict[str, int], n: int) -> None:
        self.values = {name: p.new_zeros(n) for name, p in params.items()}
        self.uses = uses
        self.waiting: dict[str, list[tuple[Tapped, str, Owner]]] = {}

    def tapped(self, call: Tapped, owners: dict[str, Owner], rows: slice) -> None:
        """Add a norm, or wait for the other uses of the same weight: norms of sums do not add."""
        for role, owner in owners.items():
            if self.uses[owner.name] == 1:
                self.values[owner.name][rows] = FORMULAS[call.kind].squares(call, role)
            else:
                self.waiting.setdefault(owner.name, []).append((call, role, owner))

    def stacked(self, grads: dict[str, Tensor], rows: slice) -> None:
        """Take the norms of finished gradients."""
        for name, grad in grads.items():
            self.values[name][rows] = linear.row_squares(grad.reshape(len(grad), -1))

    def flush(self, rows: slice) -> None:
        """Add up the gradients of weights with several uses, a few examples at a time."""
        for name, parts in self.waiting.items():
            shape = parts[0][2].shape
            values = self.values[name][rows]
            for some in slices(len(values), shape.numel(), 1 << 22):
                summed = sum(gradients_of(call.rows(some), role, o) for call, role, o in parts)
                assert isinstance(summed, Tensor)
                values[some] = linear.row_squares(summed.reshape(len(summed), -1))
        self.waiting.clear()


class Stack:
    """The gradients themselves, in `values[name]` of shape (n, *shape)."""

    def __init__(self, params: dict[str, Tensor], n: int) -> None:
        self.values = {name: p.new_zeros(n, *p.shape) for name, p in params.items()}

    def tapped(self, call: Tapped, owners: dict[str, Owner], rows: slice) -> None:
        """Add one tap's contributions."""
        for role, owner in owners.items():
            self.values[owner.name][rows] += gradients_of(call, role, owner)

    def stacked(self, grads: dict[str, Tensor], rows: slice) -> None:
        """Take finished gradients."""
        for name, grad in grads.items():
            self.values[name][rows] = grad

    def flush(self, rows: slice) -> None:
        """Nothing is left to do."""


class Total:
    """The sum over all examples, in `values[name]` of shape *shape."""

    def __init__(self, params: dict[str, Tensor], weights: Tensor | None = None) -> None:
        self.values = {name: torch.zeros_like(p) for name, p in params.items()}
        self.weights = weights

    def tapped(self, call: Tapped, owners: dict[str, Owner], rows: slice) -> None:
        """Add one tap's sum."""
        if self.weights is not None:
            w = self.weights[rows].view(-1, *[1] * (call.d.ndim - 1))
            call = Tapped(call.kind, call.a, call.d * w, call.opts, call.shapes)
        for role, owner in owners.items():
            summed: Tensor = FORMULAS[call.kind].total(call, role)
            self.values[owner.name] += owner.pull(summed.unsqueeze(0))[0]

    def stacked(self, grads: dict[str, Tensor], rows: slice) -> None:
        """Add finished gradients."""
        for name, grad in grads.items():
            w = grad.new_ones(len(grad)) if self.weights is None else self.weights[rows]
            self.values[name] += torch.tensordot(w, grad, dims=([0], [0]))

    def flush(self, rows: slice) -> None:
        """Nothing is left to do."""


class Inner:
    """Inner products with one vector per parameter, in `values[name]` of shape (n,)."""

    def __init__(self, vectors: dict[str, Tensor], n: int) -> None:
        self.vectors = vectors
        self.values = {name: v.new_zeros(n) for name, v in vectors.items()}

    def tapped(self, call: Tapped, owners: dict[str, Owner], rows: slice) -> None:
        """Add one tap's products; the parts of a weight add because the product is linear."""
        for role, owner in owners.items():
            v = self.vectors[owner.name]
            v = v if owner.push is None else owner.push(v)
            self.values[owner.name][rows] += FORMULAS[call.kind].inner(call, role, v)

    def stacked(self, grads: dict[str, Tensor], rows: slice) -> None:
        """Take products with finished gradients."""
        for name, grad in grads.items():
            self.values[name][rows] = grad.reshape(len(grad), -1) @ self.vectors[name].flatten()

    def flush(self, rows: slice) -> None:
        """Nothing is left to do."""
