"""Where floating point stops a model from learning, or would change what it says.

Prieto, Barsbey, Mediano and Birdal, "Grokking at the Edge of Numerical Stability",
arXiv:2501.04697: once logits are far enough apart, softmax rounds to a one-hot vector (softmax
collapse) and the example no longer trains the model; before that, gradients align with the
direction that only scales the logits (naive loss minimization).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.statistics import proportion

FORMATS: dict[str, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""Formats by name, from the coarsest to the finest."""


@dataclass(frozen=True)
class Collapse:
    """Softmax collapse of labelled examples in one number format."""

    zero_loss: Interval
    """Share of examples whose cross-entropy rounds to exactly 0."""
    zero_gradient: Interval
    """Share of examples whose whole gradient with respect to the logits rounds to exactly 0."""
    overflow: Interval
    """Share of examples with a logit beyond the format's largest number."""
    unresolved: Interval
    """Share of examples whose two largest logits become one number in the format."""
    loss_floor: float
    """Smallest loss above 0 that softmax cross-entropy can return, nats."""
    needed_gap: float
    """Distance from the largest logit to all others at which the loss becomes 0, nats."""


def softmax_collapse(
    logits: Float[np.ndarray, "n c"] | Tensor, labels: Int[np.ndarray, " n"] | Tensor, name: str
) -> Collapse:
    """Measure how many examples a number format has stopped from training the model.

    With z the logits in the format and t = sum_{j != max} exp(z_j - z_max), the sum inside
    softmax rounds to 1 when t <= eps / 2; the loss of an example whose label is the largest
    logit is then exactly 0. The whole gradient is 0 when every exp(z_j - z_max) underflows too.
    DIFFERS: the sum is rounded once; kernels that add term by term may collapse slightly earlier.

    Args:
        logits: computed in whatever precision; rounded to the format here.
        labels: class ids.
        name: `bfloat16`, `float16`, `float32` or `float64`.

    Raises:
        InputError: unknown format, integer or non-finite logits, or labels that do not fit.

    >>> z = np.array([[20.0, 0.0], [2.0, 0.0]])
    >>> softmax_collapse(z, np.array([0, 0]), "float32").zero_loss.value
    0.5
    """
    z64, y = checked_logits(logits, labels)
    if name not in FORMATS:
        raise InputError(f"format {name!r}", f"one of {list(FORMATS)}", "float32")
    info = torch.finfo(FORMATS[name])
    rounded = z64.to(FORMATS[name])
    finite = torch.isfinite(rounded).all(1)
    z = torch.where(finite.unsqueeze(1), rounded.double(), z64)
    top = z.topk(2, dim=1)
    apart = z - top.values[:, :1]
    others = torch.ones_like(z).scatter_(1, top.indices[:, :1], 0)
    tail = (apart.exp() * others).sum(1)
    right = top.indices[:, 0] == y
    smallest = math.log(info.smallest_normal) + math.log(info.eps / 2)  # half the least subnormal
    no_loss = right & finite & (tail <= info.eps / 2)
    least = torch.where(others.bool(), apart, torch.full_like(apart, -math.inf)).amax(1)
    gone = no_loss & (least <= smallest)
    same = finite & (top.values[:, 0] == top.values[:, 1]) & _distinct(z64)
    n, c = z.shape
    return Collapse(
        zero_loss=proportion(int(no_loss.sum()), n),
        zero_gradient=proportion(int(gone.sum()), n),
        overflow=proportion(int((~finite).sum()), n),
        unresolved=proportion(int(same.sum()), n),
        loss_floor=math.log1p(info.eps),
        needed_gap=math.log(c - 1) - math.log(info.eps / 2),
    )


def _distinct(z: Tensor) -> Tensor:
    top = z.topk(2, dim=1).values
    return top[:, 0] != top[:, 1]


def checked_logits(logits: object, labels: object) -> tuple[Tensor, Tensor]:
    """Return logits in float64 and labels, or say what is wrong with them.

    Raises:
        InputError: not (n, classes) floating-point finite logits, or labels that do not fit.

    >>> checked_logits(np.zeros((1, 2)), np.array([1]))[1]
    tensor([1])
    """
    z, y = torch.as_tensor(logits), torch.as_tensor(labels)
    if z.ndim != 2 or z.shape[1] < 2 or not z.is_floating_point() or not len(z):
        raise InputError(
            f"logits of shape {tuple(z.shape)} and type {z.dtype}",
            "floating-point logits (n, classes) with at least two classes",
            "the model's outputs before any softmax or argmax",
        )
    if y.shape != z.shape[:1] or y.is_floating_point() or y.min() < 0 or y.max() >= z.shape[1]:
        raise InputError(
            f"labels of shape {tuple(y.shape)} and type {y.dtype} for logits {tuple(z.shape)}",
            f"{len(z)} class ids from 0 to {z.shape[1] - 1}",
            "check the order of examples and the label encoding",
        )
    if not bool(torch.isfinite(z).all()):
        raise InputError(
            f"{int((~torch.isfinite(z)).sum())} logits that are not finite",
            "finite logits",
            "nonfinite_counts says where they come from",
        )
    return z.detach().double().cpu(), y.long().cpu()


@dataclass(frozen=True)
class LogitRange:
    """Size of the logits against what number formats can hold."""

    largest: float
    """Largest absolute logit."""
    median_margin: float
    """Median distance between the two largest logits, nats."""
    largest_margin: float
    """Largest such distance, nats."""
    headroom: dict[str, float]
    """By format: largest number of the format over the largest logit."""
    spacing: dict[str, float]
    """By format: distance between neighbouring numbers at the largest logit."""


def logit_range(logits: Float[np.ndarray, "n c"] | Tensor) -> LogitRange:
    """Return the range of the logits and what each format makes of it.

    >>> logit_range(np.array([[300.0, 0.0]])).spacing["bfloat16"]
    2.0
    """
    z = checked_logits(logits, torch.zeros(len(torch.as_tensor(logits)), dtype=torch.long))[0]
    largest = float(z.abs().max())
    top = z.topk(2, dim=1).values
    margins = top[:, 0] - top[:, 1]
    infos = {name: torch.finfo(dtype) for name, dtype in FORMATS.items()}
    exponent = math.floor(math.log2(largest)) if largest > 0 else 0
    return LogitRange(
        largest,
        float(margins.median()),
        float(margins.max()),
        {k: float(i.max / largest) if largest > 0 else math.inf for k, i in infos.items()},
        {k: float(i.eps * 2.0**exponent) for k, i in infos.items()},
    )


def nonfinite_counts(
    model: nn.Module | None = None, **arrays: np.ndarray | Tensor | None
) -> dict[str, int]:
    """Count NaN and infinite values in a model's weights and buffers, and in named arrays.

    Returns:
        `weights/<name>`, `buffers/<name>` and the given names, only where the count is above 0.

    >>> nonfinite_counts(nn.Linear(2, 2), inputs=np.array([1.0, np.nan]), logits=np.zeros(3))
    {'inputs': 1}
    """
    found: dict[str, np.ndarray | Tensor | None] = {}
    if model is not None:
        found |= {f"weights/{k}": p for k, p in model.named_parameters()}
        found |= {f"buffers/{k}": b for k, b in model.named_buffers()}
    counts = {k: _nonfinite(v) for k, v in (found | arrays).items() if v is not None}
    return {k: count for k, count in counts.items() if count}


def _nonfinite(values: np.ndarray | Tensor) -> int:
    t = values.detach() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    if not (t.is_floating_point() or t.is_complex()):
        return 0
    return int(t.numel() - torch.isfinite(t).sum())
