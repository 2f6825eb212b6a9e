"""Per-example gradients for weights that cannot be tapped: vmap(grad), else a plain loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LossFn = Callable[[Tensor, Tensor], Tensor]


def stacked_gradients(
    model: nn.Module, x: Tensor, y: Tensor, loss_fn: LossFn, params: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return (n, *shape) gradients of each example alone, as a batch of one.

    `torch.func.vmap(grad)` where the model allows it; a loop over the examples where it does not
    (control flow that depends on values, operations without a batching rule).
    """
    try:
        return _vmapped(model, x, y, loss_fn, params)
    except (RuntimeError, NotImplementedError, ValueError):
        return looped_gradients(model, x, y, loss_fn, params)


def _vmapped(
    model: nn.Module, x: Tensor, y: Tensor, loss_fn: LossFn, params: dict[str, Tensor]
) -> dict[str, Tensor]:
    def loss(weights: dict[str, Tensor], one_x: Tensor, one_y: Tensor) -> Tensor:
        out = torch.func.functional_call(model, weights, (one_x.unsqueeze(0),))
        return loss_fn(out, one_y.unsqueeze(0)).squeeze(0)

    weights = {name: p.detach() for name, p in params.items()}
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    result: dict[str, Tensor] = each(weights, x, y)
    return {name: grad.detach() for name, grad in result.items()}


def looped_gradients(
    model: nn.Module, x: Tensor, y: Tensor, loss_fn: LossFn, params: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return (n, *shape) gradients by one backward pass per example: the reference for the rest."""
    names, weights = list(params), list(params.values())
    out = {name: p.new_empty(len(x), *p.shape) for name, p in params.items()}
    for i in range(len(x)):
        loss = loss_fn(model(x[i : i + 1]), y[i : i + 1]).sum()
        grads: list[Tensor | None] = [None] * len(names)
        if loss.requires_grad:
            grads = list(torch.autograd.grad(loss, weights, allow_unused=True))
        for name, grad in zip(names, grads, strict=True):
            out[name][i] = 0 if grad is None else grad.to_dense() if grad.is_sparse else grad
    return out
