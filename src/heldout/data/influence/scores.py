"""Scores of pairs of queries and training examples, streamed over both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.errors import InputError

from .batches import Batch, batches
from .factors import LayerFactors
from .layers import Layer
from .losses import LossTask
from .passes import run_gradients
from .precondition import Preconditioner, preconditioner, self_products
from .products import Queries
from .taps import Receive, tapping


@dataclass(frozen=True)
class Scoring:
    """What scoring needs beside the data."""

    layers: dict[str, Layer]
    """Layers of the model."""
    factors: dict[str, LayerFactors]
    """Their curvature; layers of another shard of the factors may be left out of both."""
    damping: dict[str, float]
    """lambda of each layer."""
    shared: bool = False
    """Whether layers may be called several times."""
    batch_size: int = 64
    """Rows at a time, where data are given whole."""
    memory: int = 256 * 2**20
    """Bytes for preconditioned query gradients held at a time; a pass over the training data is
    made for each group of queries that fits."""
    rank: int | None = None
    """Singular directions kept of each query's gradient; None: all."""


@dataclass(frozen=True)
class Block:
    """Scores of some queries against some training examples."""

    queries: slice
    train: slice
    scores: dict[str, Tensor]
    """By layer, (q, n) or (q, n, T)."""


def pairwise(
    model: nn.Module,
    task: LossTask,
    queries: Any,
    train: Any,
    how: Scoring,
    per_layer: bool = False,
    per_token: bool = False,
) -> Any:
    """Return - grad f_q^T (G + lambda)^-1 grad L_i; see `EKFAC.scores`.

    Cost: a forward and a backward pass over the queries, and one over the training data for each
    group of queries.
    """
    rows: list[dict[str, list[Tensor]]] = []
    last = -1
    for block in score_blocks(model, task, queries, train, how, per_token):
        if block.queries.start != last:
            rows.append({})
            last = block.queries.start
        kept = block.scores if per_layer else {"": torch.stack([*block.scores.values()]).sum(0)}
        for name, values in kept.items():
            rows[-1].setdefault(name, []).append(values)
    joined = {
        name: np.concatenate([_joined([row[name] for row in rows][k]) for k in range(len(rows))])
        for name in rows[0]
    }
    for name, found in joined.items():
        if not np.isfinite(found).all():
            raise InputError(
                f"gradients {f'of layer {name!r} ' if name else ''}that are not finite",
                "finite gradients of measures and losses",
                "look for overflow: very large weights, inputs or logits",
            )
    return joined if per_layer else joined[""]


def score_blocks(
    model: nn.Module,
    task: LossTask,
    queries: Any,
    train: Any,
    how: Scoring,
    per_token: bool = False,
) -> Iterator[Block]:
    """Yield scores block by block, for results that do not fit in memory or go elsewhere.

    Blocks come by group of queries, then by batch of training examples. Scores of parts of the
    training data are blocks of columns, of parts of the layers summands: both can be sharded.
    """
    solvers = {k: preconditioner(how.factors[k], how.damping[k]) for k in how.layers}
    with tapping(model, how.layers, how.shared, ones=False) as taps:
        start = 0
        for group, size in _groups(taps, task, queries, how, solvers):
            found: dict[str, Tensor] = {}
            done: list[Block] = []

            def receive(batch: Batch, group: Any = group, found: Any = found) -> Receive:
                def take(name: str, a: Tensor, d: Tensor) -> None:
                    made = group[name].token_scores if per_token else group[name].scores
                    found[name] = made(a, d).neg_()

                return take

            device = next(model.parameters()).device
            for batch in batches(train, how.batch_size, device):
                found.clear()
                run_gradients(taps, task.per_example, [batch], how.batch_size, receive)
                _same_positions(found)
                there = slice(batch.start, batch.start + batch.size)
                yield Block(slice(start, start + size), there, dict(found))
            done.clear()
            start += size


def self_scores(model: nn.Module, task: LossTask, train: Any, how: Scoring) -> np.ndarray:
    """Return grad L_i^T (G + lambda)^-1 grad L_i, (n,); one forward and backward pass."""
    solvers = {k: preconditioner(how.factors[k], how.damping[k], 0.0) for k in how.layers}
    parts: list[Tensor] = []

    def receive(batch: Batch) -> Receive:
        parts.append(torch.zeros(batch.size))

        def take(name: str, a: Tensor, d: Tensor) -> None:
            parts[-1] = parts[-1].to(a) + self_products(solvers[name], a, d)

        return take

    with tapping(model, how.layers, how.shared, ones=False) as taps:
        run_gradients(taps, task.per_example, train, how.batch_size, receive)
    return torch.cat(parts).numpy()


def _groups(
    taps: Any, task: LossTask, queries: Any, how: Scoring, solvers: dict[str, Preconditioner]
) -> Iterator[tuple[dict[str, Queries], int]]:
    # Groups of queries whose preconditioned gradients fit in memory.
    each = sum(_bytes(layer, how.rank) for layer in how.layers.values())
    most = max(1, how.memory // each)
    device = next(taps.model.parameters()).device
    group: dict[str, Queries] = {}
    size = 0
    for batch in batches(queries, min(how.batch_size, most), device):
        if size and size + batch.size > most:
            yield group, size
            group, size = {}, 0

        def receive(batch: Batch, group: dict[str, Queries] = group) -> Receive:
            return lambda name, a, d: group.setdefault(name, Queries(solvers[name], how.rank)).add(
                a, d
            )

        run_gradients(taps, task.measure, [batch], how.batch_size, receive)
        size += batch.size
    yield group, size


def _bytes(layer: Layer, rank: int | None) -> int:
    if rank is None:
        return 4 * layer.n_in * layer.n_out
    return 4 * min(rank, layer.n_in, layer.n_out) * (layer.n_in + layer.n_out)


def _same_positions(found: dict[str, Tensor]) -> None:
    lengths = {name: v.shape[2] for name, v in found.items() if v.ndim == 3}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"layers with {sorted(set(lengths.values()))} positions for per_token",
            "layers that all see every position",
            "layers= with those of one kind, or per_token=False",
        )


def _joined(parts: list[Tensor]) -> np.ndarray:
    # batches may be padded to different lengths
    if parts[0].ndim == 3:
        longest = max(p.shape[2] for p in parts)
        parts = [torch.nn.functional.pad(p, (0, longest - p.shape[2])) for p in parts]
    return torch.cat(parts, 1).cpu().numpy()
