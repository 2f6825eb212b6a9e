"""Influence with the whole curvature matrix, for small models: what EK-FAC approximates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.errors import InputError

from .batches import Batch
from .layers import find_layers
from .losses import LossTask
from .passes import Fisher, FisherPass, run_fisher, run_gradients
from .taps import Receive, tapping

LARGEST = 20_000
"""Most parameters: the matrix has their square."""


def dense_ggn_influence(
    model: nn.Module,
    task: LossTask,
    queries: Any,
    train: Any,
    *,
    damping: float,
    fitted: Any = None,
    layers: list[str] | None = None,
    fisher: Fisher = "exact",
    seed: int = 0,
) -> np.ndarray:
    """Return - grad f_q^T (G + damping)^-1 grad L_i with all layers' parameters together, (q, n).

    G is the mean over `fitted` of the outer products of the Fisher's gradients, all blocks, which
    for cross-entropy and `fisher="exact"` is the Gauss-Newton matrix.

    Args:
        model: with at most 20,000 parameters in the layers; in evaluation mode.
        task: the loss and the measure.
        queries: q examples.
        train: n examples.
        damping: added to the diagonal of G.
        fitted: data that G is of; `train` when None.
        layers: as in `find_layers`.
        fisher: "exact" labels, "sampled" or "empirical".
        seed: of sampled labels.

    Raises:
        InputError: too many parameters, or a damping that leaves the matrix singular.

    Cost: (queries + train + classes x fitted) gradients held, and a float64 solve of size p.

    >>> net = nn.Linear(1, 1, bias=False).eval()
    >>> with torch.no_grad(): _ = net.weight.fill_(1.0)
    >>> from heldout.data.influence.losses import Regression
    >>> x, y = torch.tensor([[2.0]]), torch.tensor([[1.0]])  # grad L = 2, G = x^2 = 4
    >>> dense_ggn_influence(net, Regression(), (x, y), (x, y), damping=1.0).round(6).tolist()
    [[0.8]]
    """
    found = find_layers(model, layers)
    size = sum(layer.n_in * layer.n_out for layer in found.values())
    if size > LARGEST:
        raise InputError(f"{size} parameters", f"at most {LARGEST}", "layers=, or EKFAC")
    with tapping(model, found) as taps:
        stacks: list[list[dict[str, Tensor]]] = [[], [], []]

        def collect(into: list[dict[str, Tensor]]) -> Receive:
            into.append({})
            return lambda name, a, d: into[-1].update(
                {name: torch.bmm(d.transpose(1, 2), a).flatten(1).double()}
            )

        def fisher_part(batch: Batch, name: str, a: Tensor, d: Tensor, first: bool) -> None:
            if not stacks[2] or name in stacks[2][-1]:
                stacks[2].append({})
            stacks[2][-1][name] = torch.bmm(d.transpose(1, 2), a).flatten(1).double()

        run_gradients(taps, task.measure, queries, 64, lambda batch: collect(stacks[0]))
        run_gradients(taps, task.per_example, train, 64, lambda batch: collect(stacks[1]))
        how = FisherPass(fisher, seed)
        n = run_fisher(taps, task, train if fitted is None else fitted, how, fisher_part)
    q, t, g = (
        torch.cat([torch.cat([part[name] for name in found], 1) for part in stack])
        for stack in stacks
    )
    matrix = g.t() @ g / n + damping * torch.eye(size, dtype=torch.float64)
    try:
        solved = torch.linalg.solve(matrix, t.t())
    except RuntimeError as error:
        raise InputError(
            f"damping {damping} with a singular matrix", "a positive damping", "damping=0.01"
        ) from error
    return -(q @ solved).numpy()
