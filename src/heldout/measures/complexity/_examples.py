"""Refuse models and training examples that no measure can be taken of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.outputs import logits_of


def refuse_inputs(model: Any, x: Any) -> Tensor:
    """Return the logits of the first rows.

    Raises:
        InputError: no module, or one without values; inputs that it does not take, that are not
            finite, or that it makes something of that is not.

    >>> refuse_inputs(nn.Linear(2, 3), torch.zeros(5, 2)).shape
    torch.Size([2, 3])
    """
    if not isinstance(model, nn.Module) or not isinstance(x, Tensor):
        raise InputError(
            f"{type(model).__name__} with inputs of type {type(x).__name__}",
            "a torch.nn.Module and a tensor of all training inputs",
            "torch.as_tensor(x); for models of other libraries there are no weights to measure",
        )
    if unused := [name for name, p in model.named_parameters() if p.is_meta]:
        raise InputError(f"weights without values: {unused[:3]}", "a trained model", "load them")
    if bad := int((~torch.isfinite(x)).sum()):
        at = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0]) if x.ndim > 1 else 0
        raise InputError(
            f"{bad} inputs that are not finite, first in example {at}",
            "finite numbers",
            "drop or impute those rows, as for training",
        )
    try:
        with borrowed(model), torch.no_grad():
            logits = logits_of(model(x[:2]))
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        kinds = sorted({str(p.dtype) for p in model.parameters()})
        raise InputError(
            f"inputs {x.dtype} {tuple(x.shape)}, on which {type(model).__name__} fails: "
            f"{str(error)[:200]}",
            f"inputs in the form that the model takes; its weights are {', '.join(kinds)}",
            "model(x[:2]) must run; x.float() for another type of numbers",
        ) from error
    if not torch.isfinite(logits).all():
        raise InputError(
            "a model whose outputs are not finite",
            "a network that was trained with success",
            "look for NaN among its weights",
        )
    return logits


def refuse_labels(y: Any, n: int, classes: int) -> None:
    """Refuse what are no class ids of that many examples.

    Raises:
        InputError: another type or shape than int64 (n,), or ids outside 0 .. classes-1.

    >>> refuse_labels(torch.tensor([0, 1]), 2, classes=2)
    """
    kind = getattr(y, "dtype", type(y).__name__)
    shape = tuple(getattr(y, "shape", ()))
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or shape != (n,):
        raise InputError(
            f"labels {kind} {shape} for {n} inputs",
            f"int64 class ids ({n},), one for each input",
            "torch.as_tensor(y).long(); y.argmax(1) for one-hot rows",
        )
    if n and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise InputError(
            f"labels from {int(y.min())} to {int(y.max())} for {classes} outputs",
            f"0 to {classes - 1}",
            "count classes from 0",
        )
