"""A copy of a feed-forward network with batch norm folded in, and its layers in order."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.outputs import logits_of

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_PROBE = 4  # rows; enough to see the order of the layers and to check the folding


@dataclass(frozen=True)
class Layer:
    """One linear or convolutional layer after folding."""

    name: str
    """Path of the module in the model."""
    weight: Tensor
    """(out, in) or (out, in / groups, *kernel), float64, detached."""
    spatial: tuple[int, ...]
    """Height and width (or length) of the layer's input; empty for a linear layer."""
    groups: int = 1
    """Groups of a convolution."""


@dataclass(frozen=True)
class Folded:
    """A model without batch norm that computes the same function."""

    model: nn.Module
    """In evaluation mode, with gradients off; a copy, so free to change."""
    layers: tuple[Layer, ...]
    """In the order in which they are called."""

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (n, classes)."""
        return logits_of(self.model(x))

    def output(self, x: Tensor) -> Tensor:
        """Return what the last layer gives, one column where there is one logit."""
        out = self.model(x)
        return out if isinstance(out, Tensor) else logits_of(out)


@dataclass
class _Call:
    module: nn.Module
    name: str
    given: Tensor
    returned: Tensor


def fold(model: nn.Module, x: Tensor, state: Mapping[str, Any] | None = None) -> Folded:
    """Copy a model, load other weights if given, and fold batch norms into the layer before.

    A batch norm `g (z - m) / sqrt(v + e) + b` after a layer `z = W h + c` is the layer with
    `W' = s W`, `c' = b + s (c - m)`, `s = g / sqrt(v + e)`.

    Args:
        model: linear and convolutional layers, batch norms right after them, anything without
            weights; borrowed, only its copy is changed.
        x: inputs of which the first few show the order of the layers.
        state: weights to use instead of the model's own, such as the initial ones.

    Raises:
        InputError: other layers with weights, tied weights, layers called twice or never,
            a batch norm that does not follow a layer, or a state of another model.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    >>> [layer.name for layer in fold(net, torch.zeros(2, 2)).layers]
    ['0', '3']
    """
    net = deepcopy(plain(model)).eval().requires_grad_(False)
    if state is not None:
        _load(net, state)
    _refuse(net)
    with torch.no_grad():
        probe = x[:_PROBE]
        calls, before = _calls(net, probe)
        layers = [c for c in calls if not isinstance(c.module, _NORM)]
        for call in calls:
            if isinstance(call.module, _NORM):
                _fold_one(net, call, layers)
        after = logits_of(net(probe))
    scale = 1e-3 * (1 + float(before.abs().max()))
    if not torch.allclose(before, after, atol=scale, rtol=1e-3):
        raise InputError(
            "batch norms that cannot be folded: the outputs change",
            "the layer before a batch norm to be used by it alone",
            "give a model without batch norms that computes the same function",
        )
    return Folded(net, tuple(_layer(c) for c in layers))


def plain(given: nn.Module) -> nn.Module:
    """Return the module inside a compiled or data-parallel one.

    >>> type(plain(nn.DataParallel(nn.Linear(1, 1)))).__name__
    'Linear'
    """
    model: Any = given
    while True:
        if hasattr(model, "_orig_mod"):  # torch.compile
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model  # type: ignore[no-any-return]


def _load(net: nn.Module, state: Mapping[str, Any]) -> None:
    known = set(net.state_dict())
    renamed = {}
    for key, value in state.items():
        for prefix in ("_orig_mod.", "module."):
            if key not in known:
                key = key.removeprefix(prefix)
        renamed[key] = value
    try:
        net.load_state_dict(renamed)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"an initial state that does not fit: {str(error)[:200]}",
            "the model's own state_dict() before training",
            "keep copy.deepcopy(model.state_dict()) before the first step",
        ) from error


def _refuse(net: nn.Module) -> None:
    other = []
    for name, module in net.named_modules():
        owns = next(iter(module.parameters(recurse=False)), None) is not None
        if owns and not isinstance(module, (nn.Linear, *_CONV, *_NORM)):
            other.append(f"{name or 'the model'} ({type(module).__name__})")
    if other:
        raise InputError(
            f"layers with weights that these measures are not defined for: {', '.join(other[:5])}",
            "linear and convolutional layers, and batch norms after them",
            "measure the feed-forward part; loss_stability works on any learner",
        )
    names = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    unique = {n for n, _ in net.named_parameters()}
    if len(names) != len(unique):
        tied = [n for n in names if n not in unique]
        raise InputError(
            f"weights used under two names: {tied[:3]}",
            "layers with weights of their own",
            "untie them, if that is the model you mean",
        )


def _calls(net: nn.Module, probe: Tensor) -> tuple[list[_Call], Tensor]:
    kinds = (nn.Linear, *_CONV, *_NORM)
    made: list[_Call] = []
    handles = []
    for name, module in net.named_modules():
        if isinstance(module, kinds):

            def note(m: nn.Module, given: Any, out: Tensor, name: str = name) -> None:
                made.append(_Call(m, name, given[0], out))

            handles.append(module.register_forward_hook(note))
    logits = logits_of(net(probe))
    for handle in handles:
        handle.remove()
    seen = [c.name for c in made]
    twice = sorted({n for n in seen if seen.count(n) > 1})
    never = [n for n, m in net.named_modules() if isinstance(m, kinds) and n not in seen]
    if twice or never or not any(not isinstance(c.module, _NORM) for c in made):
        raise InputError(
            f"layers called twice: {twice[:3]}; never: {never[:3]}; {len(made)} in all",
            "a network that calls each of its layers once",
            "give each call a layer of its own, and remove what is not used",
        )
    return made, logits


def _fold_one(net: nn.Module, call: _Call, layers: list[_Call]) -> None:
    before = next((c for c in layers if c.returned is call.given), None)
    norm: Any = call.module
    if before is None or norm.running_mean is None:
        raise InputError(
            f"the batch norm {call.name}, "
            + ("which keeps no averages" if before else "which does not follow a layer"),
            "a batch norm with running averages, right after a linear or convolutional layer",
            "fold it by hand, or put it after a layer",
        )
    layer: Any = before.module
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    offset = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    offset = scale * offset + (0 if norm.bias is None else norm.bias)
    layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias = nn.Parameter(offset, requires_grad=False)
    parent, _, last = call.name.rpartition(".")
    setattr(net.get_submodule(parent), last, nn.Identity())


def _layer(call: _Call) -> Layer:
    module: Any = call.module
    weight = module.weight.detach().double()
    if isinstance(module, _CONV):
        return Layer(call.name, weight, tuple(call.given.shape[2:]), module.groups)
    return Layer(call.name, weight, ())
