"""Scores beyond EK-FAC: queries' vectors solved for with the whole curvature, or with a core of it.

    score(q, i) = - x_q^T grad L_i,   (G + lambda) x_q = grad f_q,   all layers together

EK-FAC takes G for diagonal in its eigenbasis and layers for independent. Here that only
preconditions conjugate gradients on G itself. Queries' vectors alone are solved for; scores of
training examples remain products with their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.errors import InputError

from .batches import Batch, batches
from .core import Core, approximate_inverse
from .curvature import DampedCurvature, Vectors, conjugate_gradients, dots
from .losses import LossTask
from .passes import FisherPass, run_gradients
from .scores import Block, Scoring
from .taps import Receive, Taps, tapping

COPIES = 5
"""Vectors that conjugate gradients hold for each query."""


@dataclass(frozen=True)
class Refining:
    """How queries' vectors are solved for."""

    steps: int
    """Conjugate-gradient steps at most, each a product with G for all queries of a group; 0: the
    core's own approximation as it is."""
    damping: float
    """lambda, one for all layers."""
    data: Any
    """What G is the mean over: the training data or a sample of them; see `batches`."""
    how: FisherPass
    """Labels and batches of G."""
    core: Core | None = None
    """Curvature of the strongest directions, for the approximation that is refined."""
    tolerance: float = 1e-6
    """Relative residual, in the preconditioner's norm, at which all queries are done."""


def refined_blocks(
    model: nn.Module,
    task: LossTask,
    queries: Any,
    train: Any,
    how: Scoring,
    refining: Refining,
    per_token: bool = False,
) -> Iterator[tuple[Block, np.ndarray]]:
    """Yield scores block by block, each with its queries' relative residuals.

    Args:
        model: the fitted one.
        task: the loss and the measure.
        queries: q examples.
        train: n examples.
        how: layers, factors (the preconditioner), batch size and memory; dampings by layer and
            rank are not used.
        refining: steps, damping and data of G.
        per_token: by position.

    Raises:
        InputError: as `run_fisher`; a negative number of steps.

    Cost, for each group of queries that fits in half of `memory`: K = `refining.steps` passes over
    `refining.data`, a forward and a backward pass each (with "exact" a backward pass per class) and
    4 q n p multiplications; a single pass where inputs and gradients fit in the other half. Then a
    pass over `train` as without refinement.
    """
    if refining.steps < 0:
        raise InputError(f"refine={refining.steps}", "a number of steps", "refine=4")
    with tapping(model, how.layers, how.shared) as taps:
        curvature = DampedCurvature(
            taps, task, refining.data, refining.how, refining.damping, how.memory // 2
        )
        inverse = approximate_inverse(how.factors, refining.damping, refining.core)
        start = 0
        for gradients in _groups(taps, task, queries, how):
            size = len(next(iter(gradients.values())))
            if refining.steps:
                solved, residuals = conjugate_gradients(
                    curvature.times, inverse, gradients, refining.steps, refining.tolerance
                )
            else:
                solved, residuals = inverse(gradients), np.full(size, np.nan)
            for columns, found in _scored(taps, task, train, how, solved, per_token):
                yield Block(slice(start, start + size), columns, found), residuals
            start += size


def refined_pairwise(
    model: nn.Module,
    task: LossTask,
    queries: Any,
    train: Any,
    how: Scoring,
    refining: Refining,
    per_layer: bool = False,
    per_token: bool = False,
) -> tuple[Any, np.ndarray]:
    """Return - grad f_q^T x_i of the solved systems, and the relative residual of each query.

    Scores are as in `EKFAC.scores`; residuals ||grad f_q - (G + lambda) x|| / ||grad f_q||, (q,),
    NaN without steps.
    Cost: see `refined_blocks`.

    Raises:
        InputError: as `refined_blocks`; gradients that are not finite.
    """
    groups: list[dict[str, list[Tensor]]] = []
    residuals: list[np.ndarray] = []
    last = -1
    for block, left in refined_blocks(model, task, queries, train, how, refining, per_token):
        if block.queries.start != last:
            groups.append({})
            residuals.append(left)
            last = block.queries.start
        kept = block.scores if per_layer else {"": torch.stack([*block.scores.values()]).sum(0)}
        for name, values in kept.items():
            groups[-1].setdefault(name, []).append(values)
    joined = {name: np.concatenate([_joined(g[name]) for g in groups]) for name in groups[0]}
    if not all(np.isfinite(found).all() for found in joined.values()):
        raise InputError(
            "scores that are not finite",
            "finite gradients of measures and losses, in the numbers that float32 holds",
            "look for overflow, or model.double()",
        )
    return (joined if per_layer else joined[""]), np.concatenate(residuals)


def _groups(taps: Taps, task: LossTask, queries: Any, how: Scoring) -> Iterator[Vectors]:
    # gradients of as many queries as fit, with what conjugate gradients hold for each
    each = sum(4 * COPIES * layer.n_in * layer.n_out for layer in how.layers.values())
    most = max(1, how.memory // 2 // each)
    device = next(taps.model.parameters()).device
    held: dict[str, list[Tensor]] = {}
    size = 0

    def receive(_: Batch) -> Receive:
        return lambda name, a, d: held.setdefault(name, []).append(torch.bmm(d.transpose(1, 2), a))

    for batch in batches(queries, min(how.batch_size, most), device):
        if size and size + batch.size > most:
            yield {name: torch.cat(held[name]) for name in how.layers}
            held.clear()
            size = 0
        run_gradients(taps, task.measure, [batch], how.batch_size, receive)
        size += batch.size
    yield {name: torch.cat(held[name]) for name in how.layers}


def _scored(
    taps: Taps, task: LossTask, train: Any, how: Scoring, solved: Vectors, per_token: bool
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    device = next(taps.model.parameters()).device
    found: dict[str, Tensor] = {}

    def take(name: str, a: Tensor, d: Tensor) -> None:
        made = _token_dots if per_token else dots
        found[name] = made(solved[name], a, d).neg_()

    for batch in batches(train, how.batch_size, device):
        found.clear()
        run_gradients(taps, task.per_example, [batch], how.batch_size, lambda _: take)
        lengths = {v.shape[2] for v in found.values()} if per_token else {1}
        if len(lengths) > 1:
            raise InputError(
                f"layers with {sorted(lengths)} positions for per_token",
                "layers that all see every position",
                "layers= with those of one kind, or per_token=False",
            )
        yield slice(batch.start, batch.start + batch.size), dict(found)


def _token_dots(vectors: Tensor, a: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.linalg.vecdot(a @ v.t(), d) for v in vectors])


def _joined(parts: list[Tensor]) -> np.ndarray:
    # batches may be padded to different lengths
    if parts[0].ndim == 3:
        longest = max(p.shape[2] for p in parts)
        parts = [torch.nn.functional.pad(p, (0, longest - p.shape[2])) for p in parts]
    return torch.cat(parts, 1).cpu().numpy()
