"""A softmax that does not round to a one-hot vector, and its cross-entropy.

Prieto, Barsbey, Mediano and Birdal, "Grokking at the Edge of Numerical Stability",
arXiv:2501.04697, section 4: replace exp by a function that grows linearly and falls
hyperbolically, so that no class's share falls below the resolution of the number format.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.errors import InputError

_REDUCTIONS = ("mean", "sum", "none")


def stablemax(logits: Float[Tensor, "*d"], dim: int = -1) -> Float[Tensor, "*d"]:
    """Return shares p_i = s(z_i) / sum_j s(z_j), s(z) = z + 1 for z >= 0, else 1 / (1 - z).

    Unlike softmax's, the shares change when a constant is added to all logits. Computed in the
    type of the logits; differentiable, with a continuous derivative. No pass over the data.

    Args:
        logits: of any shape, float32 or float64.
        dim: dimension of the classes.

    Returns:
        shares above 0 that sum to 1 along `dim`.

    Raises:
        InputError: integer, half-precision or non-finite logits.

    >>> stablemax(torch.tensor([3.0, -1.0, -1.0]))  # 4, 1/2, 1/2
    tensor([0.8000, 0.1000, 0.1000])
    """
    _check(logits)
    s = _s(logits)
    return s / s.sum(dim, keepdim=True)


def log_stablemax(logits: Float[Tensor, "*d"], dim: int = -1) -> Float[Tensor, "*d"]:
    """Return log p_i = log s(z_i) - log sum_j s(z_j), nats; see `stablemax`.

    Raises:
        InputError: integer, half-precision or non-finite logits.

    >>> log_stablemax(torch.tensor([0.0, 0.0]))
    tensor([-0.6931, -0.6931])
    """
    _check(logits)
    s = _s(logits)
    return s.log() - s.sum(dim, keepdim=True).log()


def _s(z: Tensor) -> Tensor:
    # z + 1 above 0 and 1 / (1 - z) below, without a branch. At 0 the slope is 1 once: clamp passes
    # the gradient on at its bound, relu does not
    return z.clamp(min=0) + 1 / (1 + (-z).relu())


def _check(logits: Tensor) -> None:
    if logits.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"logits of type {logits.dtype}",
            "float32 or float64: coarser logits have lost what StableMax is to keep",
            "logits.float() before the call, best with the network itself in float32",
        )
    if torch.compiler.is_compiling():
        return  # to look at values would break the graph; NaN reaches the loss, where it is seen
    if not bool(torch.isfinite(logits.detach()).all()):
        raise InputError(
            f"{int((~torch.isfinite(logits.detach())).sum())} logits that are not finite",
            "finite logits",
            "heldout.dynamics.numerics.nonfinite_counts says where they come from",
        )


class StableMaxCrossEntropy(nn.Module):
    """Loss -log p_y with p from StableMax, in float64: a drop-in for `nn.CrossEntropyLoss`.

    The logits are cast to float64 whatever their type (half precision is refused), the gradient
    comes back in the type of the logits. Zero only where an other class's share is below 2^-53
    of the label's: for logits up to about 10^7 never. No pass over the data.

    Under autocast: `loss(logits.float(), y)`, for the last layer's output is half precision there.
    Under torch.compile shapes and types are checked, values are not: that would break the graph.

    Args:
        reduction: "mean" over the labels that are not ignored, "sum", or "none".
        ignore_index: label without loss and without gradient.

    Raises:
        InputError: unknown reduction; integer, half-precision or non-finite logits; shapes or
            labels that do not fit; a mean over no label at all.

    >>> loss = StableMaxCrossEntropy()
    >>> loss(torch.tensor([[3.0, -1.0, -1.0]]), torch.tensor([0])).exp()  # 1 / 0.8
    tensor(1.2500, dtype=torch.float64)
    """

    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        super().__init__()
        if reduction not in _REDUCTIONS:
            raise InputError(f"reduction {reduction!r}", f"one of {_REDUCTIONS}", "mean")
        self.reduction, self.ignore_index = reduction, ignore_index

    def forward(self, logits: Float[Tensor, "n c ..."], labels: Int[Tensor, "n ..."]) -> Tensor:
        """Return the loss, nats: a scalar, or one per label for reduction "none"."""
        _check(logits)
        kept = _kept(logits, labels, self.ignore_index)
        s = _s(logits.double())
        safe = torch.where(kept, labels, torch.zeros_like(labels)).long()
        own = s.gather(1, safe.unsqueeze(1))[:, 0]  # log_stablemax, of the labels alone
        loss = (s.sum(1).log() - own.log()) * kept
        if self.reduction == "none":
            return loss
        if self.reduction == "sum":
            return loss.sum()
        if not torch.compiler.is_compiling() and not bool(kept.any()):
            raise InputError(
                f"{labels.numel()} labels, all {self.ignore_index} (ignored)",
                "at least one label that counts in a mean",
                "leave such batches out, or use reduction='sum'",
            )
        return loss.sum() / kept.sum()


def _kept(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    # which labels count, after checking that they fit
    c = logits.shape[1] if logits.ndim >= 2 else 0
    fits = c >= 1 and labels.shape == logits.shape[:1] + logits.shape[2:]
    if not fits or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} "
            f"for logits {tuple(logits.shape)}",
            "logits (n, classes, ...) and integer class ids (n, ...)",
            "for soft labels use -(target * log_stablemax(logits)).sum(-1)",
        )
    kept = labels != ignore_index
    if torch.compiler.is_compiling():
        return kept
    if bool(((labels < 0) | (labels >= c))[kept].any()):
        raise InputError(
            f"labels from {int(labels[kept].min())} to {int(labels[kept].max())}",
            f"class ids from 0 to {c - 1}, or {ignore_index} to be ignored",
            "check the label encoding",
        )
    return kept
