"""EK-FAC with an exact core: the curvature of the strongest directions, taken whole.

In EK-FAC's eigenbasis the curvature matrix is taken for its diagonal Lambda. Few directions carry
most of it, in trained networks, and among those what lies off the diagonal is large. A core holds
all entries of G among the k directions with the largest Lambda, over all layers:

    (G + lambda)^-1  ~  (G_kk + lambda)^-1 among them,   1 / (Lambda + lambda) elsewhere

k = 0 is EK-FAC with one damping for all layers, k = p the whole damped matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heldout.core.errors import InputError

from .batches import Batch
from .curvature import Vectors
from .factors import LayerFactors
from .layers import Layer
from .losses import LossTask
from .passes import FisherPass, run_fisher
from .taps import tapping

LARGEST = 20_000
"""Most directions: the matrix has their square."""


@dataclass(frozen=True)
class Core:
    """Curvature among some directions of EK-FAC's eigenbasis."""

    places: dict[str, Tensor]
    """By layer, numbers of its directions in the flattened (n_out, n_in)."""
    matrix: Tensor
    """G among them, (k, k) float64, in the order of the layers."""


def fit_core(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    factors: dict[str, LayerFactors],
    data: object,
    how: FisherPass,
    size: int,
    shared: bool = False,
) -> Core:
    """Take the curvature among the directions with the largest eigenvalues.

    Args:
        model: the fitted one.
        task: the loss.
        layers: from `layers.find_layers`.
        factors: fitted on the model, of a kind with eigenvalues.
        data: what they were fitted on.
        how: labels and batches.
        size: k, the number of directions; no more than there are weights.
        shared: a layer may be called several times.

    Raises:
        InputError: a size below 1 or above 20,000, or factors without curvature.

    Cost: a pass over the data (a forward and a backward pass, with "exact" a backward pass per
    class), 2 (n_in^2 + n_out^2) per position and layer and k^2 for each example and label.
    """
    top = max(float(f.eigenvalues.max()) for f in factors.values())
    if not 1 <= size <= LARGEST or top <= 0:
        raise InputError(
            f"a core of {size} directions of curvature up to {top:.1e}",
            f"1 to {LARGEST} directions of a fitted curvature",
            'size=200 with kind="ekfac"',
        )
    places = _largest(factors, size)
    k = sum(len(v) for v in places.values())
    total = torch.zeros(k, k, dtype=torch.float64)
    waiting: dict[str, Tensor] = {}

    def receive(batch: Batch, name: str, a: Tensor, d: Tensor, first: bool) -> None:
        waiting[name] = _chosen(*factors[name].rotated(a, d), places[name])
        if len(waiting) == len(layers):
            rows = torch.cat([waiting[name] for name in layers], 1).cpu()
            total.add_((rows.t() @ rows).double())
            waiting.clear()

    with tapping(model, layers, shared) as taps:
        n = run_fisher(taps, task, data, how, receive)
    return Core(places, total / n)


def approximate_inverse(
    factors: dict[str, LayerFactors], damping: float, core: Core | None = None
) -> Callable[[Vectors], Vectors]:
    """Return a function that multiplies vectors by EK-FAC's (G + damping)^-1, with a core if given.

    >>> inverse = approximate_inverse({"": LayerFactors(torch.tensor([[1.0, 3.0]]))}, 1.0)
    >>> inverse({"": torch.tensor([[[1.0, 1.0]]])})[""].tolist()
    [[[0.5, 0.25]]]
    """
    weights = {k: 1 / (f.eigenvalues + damping) for k, f in factors.items()}
    lower = None
    if core is not None:
        damped = core.matrix + damping * torch.eye(len(core.matrix), dtype=torch.float64)
        lower = torch.linalg.cholesky(damped)

    def inverse(vectors: Vectors) -> Vectors:
        turned = {k: _turned(v, factors[k], True) for k, v in vectors.items()}
        found = {k: v * weights[k].to(v) for k, v in turned.items()}
        if core is not None and lower is not None:
            parts = [turned[k].flatten(1)[:, at] for k, at in core.places.items()]
            inner = torch.cat(parts, 1).double().to(lower.device)
            solved = torch.cholesky_solve(inner.t(), lower).t()
            cut = solved.split([part.shape[1] for part in parts], 1)
            for (k, at), part in zip(core.places.items(), cut, strict=True):
                found[k].flatten(1)[:, at] = part.to(found[k])
        return {k: _turned(v, factors[k], False) for k, v in found.items()}

    return inverse


def _turned(v: Tensor, factors: LayerFactors, into: bool) -> Tensor:
    if factors.q_a is None or factors.q_s is None:
        return v.clone()
    q_a, q_s = factors.q_a.to(v), factors.q_s.to(v)
    return q_s.t() @ v @ q_a if into else q_s @ v @ q_a.t()


def _largest(factors: dict[str, LayerFactors], size: int) -> dict[str, Tensor]:
    # a layer cannot have more among the largest than `size`
    tops = {k: f.eigenvalues.flatten().topk(min(size, f.eigenvalues.numel())) for k, f in
            factors.items()}  # fmt: skip
    values = torch.cat([top.values for top in tops.values()])
    least = values.topk(min(size, len(values))).values[-1]
    return {k: top.indices[top.values >= least] for k, top in tops.items()}


def _chosen(a: Tensor, d: Tensor, places: Tensor) -> Tensor:
    # those entries of sum_t d_t a_t^T, (n, k)
    columns = a.shape[2]
    a, d = a[:, :, places % columns], d[:, :, places // columns]
    return (a * d).sum(1)
