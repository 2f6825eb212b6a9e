"""Which operations can be tapped, and where their weights and their input sit among the arguments.

A *tap* is one call of an operation that is linear in its weights, out = f(a; W). For such an
operation the gradient of one example's loss follows from the operation's input `a` and the
gradient `d` of the loss with respect to its output alone; see `formulas`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bound:
    """One call of a tapped operation with its arguments told apart."""

    kind: str
    """Name of the family of formulas: linear, conv, embedding, affine, shift or scale."""
    a: Tensor
    """The operation's input."""
    roles: dict[str, Tensor]
    """Weights by role ("weight", "bias"); absent ones are left out."""
    opts: dict[str, Any] = field(default_factory=dict)
    """Everything else that the formulas need."""


def _roles(**named: Tensor | None) -> dict[str, Tensor]:
    return {role: tensor for role, tensor in named.items() if tensor is not None}


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Bound:
    return Bound("linear", input, _roles(weight=weight, bias=bias))


def _matmul(input: Tensor, other: Tensor) -> Bound | None:
    if other.ndim != 2:
        return None
    return Bound("linear", input, {"weight": other}, {"transposed": True})


def _conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Bound:
    k = weight.ndim - 2
    dilation = _per_axis(dilation, k)
    left, right = _padding(padding, weight.shape[2:], dilation)
    opts = dict(stride=_per_axis(stride, k), left=left, right=right, dilation=dilation)
    return Bound("conv", input, _roles(weight=weight, bias=bias), {**opts, "groups": groups})


def _per_axis(value: Any, k: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * k
    return tuple(value) * k if len(value) == 1 else tuple(value)


def _padding(
    padding: Any, kernel: torch.Size, dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (size - 1) for d, size in zip(dilation, kernel, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    both = _per_axis(padding, len(kernel))
    return both, both


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Bound | None:
    if max_norm is not None or scale_grad_by_freq:  # neither is linear in one example's gradient
        return None
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return Bound("embedding", input, {"weight": weight}, {"padding_idx": padding_idx})


def _layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Bound:
    shape = tuple(normalized_shape)

    def plain(a: Tensor) -> Tensor:
        return F.layer_norm(a, shape, None, None, eps)

    return Bound("affine", input, _roles(weight=weight, bias=bias), {"plain": plain})


def with_statistics(bound: Bound, out: Tensor) -> Bound:
    """Reuse the mean and scale that a layer norm's forward has already computed."""
    node = out.grad_fn
    mean, scale = getattr(node, "_saved_result1", None), getattr(node, "_saved_result2", None)
    if mean is None or scale is None or mean.ndim != bound.a.ndim:
        return bound

    def plain(a: Tensor) -> Tensor:
        centred: Tensor = a - mean
        return centred.mul_(scale)

    return Bound(bound.kind, bound.a, bound.roles, {**bound.opts, "plain": plain})


def _rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Bound:
    def plain(a: Tensor) -> Tensor:
        return F.rms_norm(a, list(normalized_shape), None, eps)

    return Bound("affine", input, _roles(weight=weight), {"plain": plain})


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Bound:
    def plain(a: Tensor) -> Tensor:
        return F.group_norm(a, num_groups, None, None, eps)

    return Bound("affine", input, _roles(weight=weight, bias=bias), {"plain": plain, "axis": 1})


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Bound | None:
    if training:  # rows interact: guarded elsewhere, never tapped
        return None

    def plain(a: Tensor) -> Tensor:
        return F.batch_norm(a, running_mean, running_var, None, None, False, 0.0, eps)

    return Bound("affine", input, _roles(weight=weight, bias=bias), {"plain": plain, "axis": 1})


def _add(input: Any, other: Any, *, alpha: Any = 1) -> Bound | None:
    return None if alpha != 1 else _broadcast("shift", input, other)


def _mul(input: Any, other: Any) -> Bound | None:
    return _broadcast("scale", input, other)


def _broadcast(kind: str, input: Any, other: Any) -> Bound | None:
    # Which of the two is the weight is only known to the recorder: offer both.
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):
        return None
    return Bound(kind, input, {"left": input, "right": other}, {"left": other, "right": input})


Binder = Callable[..., Bound | None]
BINDERS: dict[Any, Binder] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _matmul,
    F.conv1d: _conv,
    F.conv2d: _conv,
    F.conv3d: _conv,
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    torch.add: _add,
    Tensor.add: _add,
    torch.mul: _mul,
    Tensor.mul: _mul,
}
"""Operation to the function that tells its arguments apart."""
if hasattr(F, "rms_norm"):
    BINDERS[F.rms_norm] = _rms_norm


VIEWS: frozenset[Any] = frozenset(
    {
        Tensor.__getitem__,
        Tensor.unsqueeze,
        torch.unsqueeze,
        Tensor.squeeze,
        Tensor.view,
        Tensor.reshape,
        Tensor.t,
        Tensor.transpose,
        torch.transpose,
        Tensor.permute,
        Tensor.chunk,
        torch.chunk,
        Tensor.split,
        torch.split,
        Tensor.T.__get__,  # type: ignore[attr-defined]
        Tensor.mT.__get__,  # type: ignore[attr-defined]
    }
)
"""Operations that pick or rearrange entries of a weight: followed back to the weight."""
