"""Borrowing a model: what is refused, and what is put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from ..errors import InputError

_DROPOUT = (_DropoutNd, nn.RReLU)


def select_parameters(model: nn.Module, params: Iterable[str] | None) -> dict[str, Tensor]:
    """Return the requested parameters by name; all floating-point ones by default.

    Raises:
        InputError: a name is unknown, or the model has no parameters.
    """
    every = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    if not every:
        raise InputError(
            f"{type(model).__name__} with no floating-point parameters",
            "a model with parameters to take gradients of",
            "pass the trained torch module itself",
        )
    if params is None:
        return dict(every)
    names = list(params)
    unknown = sorted(set(names) - set(every))
    if unknown or not names:
        raise InputError(
            f"params={unknown or names}",
            f"names among {sorted(every)[:8]}{' ...' if len(every) > 8 else ''}",
            "list(dict(model.named_parameters()))",
        )
    return {name: every[name] for name in names}


def refuse_random(model: nn.Module) -> None:
    """Raise when the model's examples are not independent and fixed in its present mode.

    Raises:
        InputError: batch statistics or dropout are active.
    """
    for name, module in model.named_modules():
        if not module.training:
            continue
        rate = float(getattr(module, "dropout", 0) or 0) if _has_rate(module) else 0.0
        random = isinstance(module, _DROPOUT) and getattr(module, "p", 1) > 0
        if isinstance(module, _NormBase):
            what = "a norm layer that uses batch statistics: an example has no gradient of its own"
        elif random or rate > 0:
            what = "active dropout: gradients would be random"
        else:
            continue
        raise InputError(
            f"model in training mode; '{name}' ({type(module).__name__}) is {what}",
            "a model in evaluation mode",
            "model.eval() before the call",
        )


def _has_rate(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention)


@contextmanager
def borrowed(model: nn.Module, params: dict[str, Tensor]) -> Iterator[None]:
    """Make `params` differentiable for a while; put grad flags, buffers and random state back.

    Raises:
        InputError: see `refuse_random`.
    """
    refuse_random(model)
    flags = [(p, p.requires_grad) for p in params.values()]
    buffers = [
        (buffer, buffer.detach().clone())
        for module in model.modules()
        if module.training
        for buffer in module.buffers(recurse=False)
    ]
    devices = {p.device.index for p in params.values() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            with torch.inference_mode(False), torch.enable_grad():
                for p, _ in flags:
                    p.requires_grad_(True)
                yield
        finally:
            for p, flag in flags:
                p.requires_grad_(flag)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
