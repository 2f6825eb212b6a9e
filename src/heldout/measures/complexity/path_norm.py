"""The path norm: all products of squared weights from an input to an output, summed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.measures.complexity._examples import refuse_inputs
from heldout.measures.complexity._folding import Folded, fold, plain

# Nodes of the graph of a network that is linear between kinks and has a single path of layers.
_ALLOWED = (
    "AccumulateGrad", "Addmm", "Mm", "Mv", "Bmm", "T", "Transpose", "Permute", "View",
    "UnsafeView", "Reshape", "ReshapeAlias", "Alias", "Squeeze", "Unsqueeze", "Select", "Slice",
    "Expand", "Clone", "ToCopy", "Convolution", "MkldnnConvolution", "SlowConv3D", "Relu",
    "LeakyRelu", "Threshold", "Hardtanh", "MaxPool2DWithIndices", "MaxPool3DWithIndices",
    "MaxPool1D", "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D",
    "AdaptiveMaxPool2D", "MkldnnAdaptiveAvgPool2D", "Mean", "Amax", "ConstantPadNd",
)  # fmt: skip


def path_norm(model: nn.Module, x: Float[Tensor, "n ..."]) -> float:
    """Sum over outputs of the network with squared weights, fed with ones (eq. 44 of Jiang).

    For weights without offsets this is the sum over all paths from an input to an output of the
    product of the squared weights along it (Neyshabur et al. 2015). Offsets count as paths that
    start at them.

    Args:
        model: feed-forward, ReLU (or leaky ReLU) and pooling only; borrowed.
        x: inputs, for their shape.

    Raises:
        InputError: the network is not linear between kinks (tanh, GELU, softmax), has branches
            that are added or joined (residual nets), or what `fold` refuses.

    Cost: one pass over one input.

    >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> path_norm(net.requires_grad_(False), torch.zeros(1, 2)) > 0
    True
    """
    refuse_inputs(plain(model), x)
    return folded_path_norm(fold(model, x), x)


def folded_path_norm(net: Folded, x: Float[Tensor, "n ..."]) -> float:
    """As `path_norm`, of a model that is folded already.

    >>> net = fold(nn.Linear(2, 1), torch.zeros(1, 2))
    >>> folded_path_norm(net, torch.zeros(1, 2)) > 0
    True
    """
    if found := _foreign(net, x[:1]):
        raise InputError(
            f"a network with {', '.join(found)} in it",
            "one chain of layers with ReLU and pooling: a path norm is defined for these",
            "leave it out: without=('path_norm',)",
        )
    squared = Folded(deepcopy(net.model).double(), net.layers)
    with torch.no_grad():
        for p in squared.model.parameters():
            p.square_()
        return float(squared.output(torch.ones_like(x[:1], dtype=torch.float64)).sum())


def _foreign(net: Folded, x: Tensor) -> list[str]:
    for p in net.model.parameters():
        p.requires_grad_(True)
    with torch.enable_grad():
        out = net.output(x)
    for p in net.model.parameters():
        p.requires_grad_(False)
    seen: set[Any] = set()
    found: set[str] = set()
    queue = [out.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = node.name().rsplit("::")[-1].rstrip("0123456789").removesuffix("Backward")
        if name not in _ALLOWED:
            found.add(name)
        queue += [following for following, _ in node.next_functions]
    return sorted(found)
