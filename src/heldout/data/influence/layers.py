"""Which layers influence is taken over, and which models are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from heldout.core.errors import InputError


@dataclass(frozen=True)
class Layer:
    """A layer with a matrix of weights."""

    name: str
    """Its name in the model."""
    module: nn.Module
    """The layer itself."""
    kind: Literal["linear", "conv"]
    """How its input is read."""
    n_in: int
    """Width of its input, one more with a bias."""
    n_out: int
    """Width of its output."""
    bias: bool
    """Whether its input has a last column of ones."""


def find_layers(
    model: nn.Module, layers: Sequence[str] | None = None, shared: bool = False
) -> dict[str, Layer]:
    """Return the layers to take influence over, by name, in the model's order.

    Supported are `nn.Linear`, `nn.Conv2d` without groups, and transformers' `Conv1D`; other
    parameters (norms, embeddings) are left out of the influence, and `left_out` says which.

    Args:
        model: in evaluation mode, bare.
        layers: names or patterns such as "*.mlp.*"; by default all supported layers that are
            trained: not those whose weights require no gradient, unless that holds for all.
        shared: allow weights that other modules use as well; each use then counts as a layer.

    Raises:
        InputError: a compiled or distributed wrapper, training mode, no supported layer, an
            unknown name, or a shared weight without the flag.

    >>> {k: (v.n_in, v.n_out) for k, v in find_layers(nn.Linear(3, 2).eval()).items()}
    {'': (4, 2)}
    """
    refuse_wrapped(model)
    refuse_training(model)
    inside = tuple(
        f"{n}." if n else "" for n, m in model.named_modules() if type(m) is nn.MultiheadAttention
    )
    every = {
        name: layer
        for name, module in model.named_modules()
        if (layer := _layer(name, module)) and not (inside and name.startswith(inside))
    }
    if not every:
        owners = {type(m).__name__ for m in model.modules() if m._parameters}
        raise InputError(
            f"{type(model).__name__} with no supported layers: "
            f"its parameters are those of {', '.join(sorted(owners)[:6]) or 'nothing'}",
            "at least one nn.Linear, nn.Conv2d without groups, or transformers Conv1D",
            "heldout.core.pergrad.per_example_gradients: dot products of all parameters' gradients",
        )
    chosen = _trained(every) if layers is None else _chosen(every, layers)
    if not shared:
        _refuse_shared(model, chosen)
    return chosen


def left_out(model: nn.Module, layers: dict[str, Layer]) -> dict[str, int]:
    """Return the parameters that influence over these layers does not see, by name, in numbers.

    Those of norms, embeddings, grouped convolutions and recurrent layers, and of layers that were
    not chosen.

    >>> net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Linear(4, 2)).eval()
    >>> left_out(net, find_layers(net))
    {'0.weight': 72, '0.bias': 4}
    """
    seen = {id(p) for layer in layers.values() for p in layer.module._parameters.values()}
    return {name: p.numel() for name, p in model.named_parameters() if id(p) not in seen}


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse compiled and distributed wrappers, whose layers cannot be watched reliably.

    Raises:
        InputError: the model is one.

    >>> refuse_wrapped(nn.Linear(1, 1))
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"{type(model).__name__}", "a torch.nn.Module", "pass the model itself")
    kinds = {
        "OptimizedModule": "model._orig_mod",
        "DistributedDataParallel": "model.module",
        "DataParallel": "model.module",
        "FullyShardedDataParallel": "the model before it was wrapped",
    }
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind in kinds:
            place = f" at '{name}'" if name else ""
            raise InputError(
                f"a {kind}{place}", "the bare model", kinds[kind].replace("model", "model", 1)
            )


def refuse_training(model: nn.Module) -> None:
    """Refuse a model of which a part is in training mode.

    Raises:
        InputError: it is: dropout would draw, batch norms would mix the examples.

    >>> refuse_training(nn.Linear(1, 1).eval())
    """
    on = [name or type(model).__name__ for name, m in model.named_modules() if m.training]
    if on:
        raise InputError(
            f"a model in training mode ({on[0]} and {len(on) - 1} more modules)",
            "evaluation mode: dropout draws and batch norms mix examples in training mode",
            "model.eval()",
        )


def _layer(name: str, module: nn.Module) -> Layer | None:
    if isinstance(module, nn.Linear):
        bias = module.bias is not None
        return Layer(name, module, "linear", module.in_features + bias, module.out_features, bias)
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        bias = module.bias is not None
        width = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        return Layer(name, module, "conv", width + bias, module.out_channels, bias)
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # transformers: W is (in, out)
        width, out = module.weight.shape  # type: ignore[misc]
        return Layer(name, module, "linear", int(width) + 1, int(out), True)
    return None


def _trained(every: dict[str, Layer]) -> dict[str, Layer]:
    # Training on an example moves no frozen weight. All are frozen in a model that is only run.
    trained = {n: layer for n, layer in every.items() if layer.module.weight.requires_grad}
    return trained or every


def _chosen(every: dict[str, Layer], patterns: Sequence[str]) -> dict[str, Layer]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    unknown = [p for p in patterns if not any(fnmatchcase(name, p) for name in every)]
    if unknown or not patterns:
        raise InputError(
            f"layers={unknown or patterns}",
            f"names or patterns among {list(every)[:6]}{' ...' if len(every) > 6 else ''}",
            "[name for name, _ in model.named_modules()]",
        )
    return {n: layer for n, layer in every.items() if any(fnmatchcase(n, p) for p in patterns)}


def _refuse_shared(model: nn.Module, chosen: dict[str, Layer]) -> None:
    # The same module under two names is one module here: that it is called twice shows in the pass.
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    for name, layer in chosen.items():
        if uses[id(layer.module.weight)] > 1:
            raise InputError(
                f"layer '{name}' whose weight another module uses as well (tied)",
                "layers with weights of their own: the other use's gradient would be missing",
                'layers= without it, such as ["*.mlp.*"], or shared=True to count this use alone',
            )
