"""The gradient of StableMax cross-entropy in closed form, for training loops that need no graph."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from heldout.core.errors import InputError


def stablemax_gradient(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    *,
    dtype: torch.dtype = torch.float64,
    ignore_index: int = -100,
) -> Float[Tensor, "n c"]:
    """Return d(sum of -log p_y) / d logits, what autograd gives for `StableMaxCrossEntropy("sum")`.

    With r = 1 / (1 - min(z, 0)), s(z) = r + max(z, 0) has the slope s'(z) = r^2 on both branches.
    For S = sum_j s(z_j) the gradient is r_j^2 / S for the other classes, and for the label
    r_y^2 / S - r_y^2 / s_y = -(r_y^2 / s_y) (sum_{j != y} s_j) / S. Written so, nothing cancels:
    every entry is right to a few units in the last place of `dtype`, float32 included, where
    the difference of the two shares would round to 0 once the others' shares fall below 6e-8.

    Prieto, Barsbey, Mediano and Birdal, "Grokking at the Edge of Numerical Stability",
    arXiv:2501.04697, section 4, whose loss is computed in float64.

    Args:
        logits: float32 or float64.
        labels: class ids, or `ignore_index`: a row of zeros.
        dtype: in which the gradient is computed, float32 or float64.
        ignore_index: label without gradient.

    Returns:
        gradients in the type of the logits, each row negative at the label and positive
        elsewhere, with no graph.

    Cost: about eight passes over the logits and none over the data; divide by the number of
    labels for the gradient of the mean.

    Raises:
        InputError: logits in half precision or not finite, another `dtype`, shapes or labels that
            do not fit.

    >>> stablemax_gradient(torch.tensor([[3.0, -1.0, -1.0]]), torch.tensor([0]))
    tensor([[-0.0500,  0.0500,  0.0500]])
    """
    z = logits.detach()
    _check(z, labels, dtype)
    kept = labels != ignore_index
    y = torch.where(kept, labels, 0).long().unsqueeze(1)
    _check_values(z, y, labels)
    r = z.to(dtype, copy=True).clamp_(max=0).neg_().add_(1).reciprocal_()
    s = z.to(dtype, copy=True).clamp_(min=0).add_(r)
    at_label, slope = s.gather(1, y), r.gather(1, y).square_()
    others = s.scatter_(1, y, 0).sum(1, keepdim=True)
    total = others + at_label
    # two quotients: the product s_y S leaves float32's range at logits of 1e19
    own = -(slope / at_label) * (others / total)
    # by the reciprocal: dividing every entry takes three times as long
    out = r.square_().mul_(total.reciprocal_()).scatter_(1, y, own)
    if not bool(kept.all()):
        out *= kept.unsqueeze(1)
    return out.to(logits.dtype)


def _check(z: Tensor, labels: Tensor, dtype: torch.dtype) -> None:
    types = (torch.float32, torch.float64)
    if z.dtype not in types or dtype not in types:
        raise InputError(
            f"logits of type {z.dtype}, computed in {dtype}",
            "float32 or float64: coarser logits have lost what StableMax is to keep",
            "logits.float() before the call, best with the network itself in float32",
        )
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if z.ndim != 2 or z.shape[1] < 1 or labels.shape != z.shape[:1] or not whole:
        raise InputError(
            f"labels {tuple(labels.shape)} of type {labels.dtype} for logits {tuple(z.shape)}",
            "logits (n, classes) and integer class ids (n,)",
            "flatten further dimensions into the first one",
        )


def _check_values(z: Tensor, y: Tensor, labels: Tensor) -> None:
    if not len(z):
        return
    # the extremes are NaN where a logit is, and take a tenth of the time of isfinite on all
    if not all(math.isfinite(v) for v in z.aminmax()):
        raise InputError(
            f"{int((~torch.isfinite(z)).sum())} logits that are not finite",
            "finite logits",
            "heldout.dynamics.numerics.nonfinite_counts says where they come from",
        )
    low, high = y.aminmax()
    if int(low) < 0 or int(high) >= z.shape[1]:
        raise InputError(
            f"labels from {int(labels.min())} to {int(labels.max())}",
            f"class ids from 0 to {z.shape[1] - 1}, or `ignore_index`",
            "check the label encoding",
        )
