"""Scores of a language model's training sequences, token by token, in blocks on disk.

Query batching: each query's preconditioned gradient of a layer is kept as U V of a small rank, so
that scoring needs no factors, and all queries are scored in one pass over the training data
(Grosse et al. 2023, arXiv:2308.03296, section 3.2.2: rank 32, correlation 0.995 with full rank).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.files import read_arrays, write_arrays

from .batches import Batch
from .directions import Directions
from .layers import Layer
from .losses import LossTask
from .passes import run_gradients
from .precondition import preconditioned, preconditioner
from .processes import Group, Say
from .products import low_rank
from .sharding import load_layer
from .taps import Receive, tapping


@dataclass(frozen=True)
class Source:
    """Where the factors are and how they are used."""

    folder: Path
    """Of the factors."""
    about: dict[str, Any]
    """What they must be of."""
    damping: str | float = "0.1mean"
    """lambda."""


def query_directions(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    queries: Batch,
    source: Source,
    rank: int = 32,
    dtype: torch.dtype = torch.float32,
) -> Directions:
    """Precondition the gradients of some queries; factors are read layer by layer.

    Args:
        model: the fitted one.
        task: its `measure` is what influence is on.
        layers: those fitted.
        queries: q of them.
        source: the factors.
        rank: directions kept per query and layer.
        dtype: in which they are kept and multiplied.

    Raises:
        InputError: factors of another model; values that are not finite.

    Cost: a forward and backward pass over the queries, and 2 n_out n_in (n_out + n_in) per query
    and layer. Memory: r (n_in + n_out) numbers per query and layer.
    """
    numbers = {name: i for i, name in enumerate(layers)}
    q = queries.size
    found = Directions({}, {}, np.zeros(q), np.zeros(q), np.zeros(q))
    whole = np.zeros(q)

    def take(name: str, a: Tensor, d: Tensor) -> None:
        factors = load_layer(source.folder, numbers[name], source.about, name)
        solver = preconditioner(factors, factors.damping(source.damping))
        parts = []
        for i in range(q):
            made = preconditioned(solver, a[i : i + 1], d[i : i + 1])
            u, v = low_rank(made, rank)
            parts.append((u[0].to(dtype), v[0].t().to(dtype)))
            gradient = d[i].t() @ a[i]
            found.size[i] += float((made[0] * gradient).sum())
            whole[i] += float(made.square().sum())
            found.kept[i] += float(u.square().sum())  # rows of v are orthonormal
        found.u[name] = torch.stack([u for u, _ in parts], 1)
        found.v[name] = torch.stack([v for _, v in parts], 1)

    def measured(outputs: Any, targets: Any) -> Tensor:
        values = task.measure(outputs, targets)
        found.measure[:] = values.detach().double().cpu().numpy()
        return values

    with tapping(model, layers) as taps:
        run_gradients(taps, measured, [queries], q, lambda _: take)
    found.size, found.kept = np.sqrt(found.size), found.kept / np.maximum(whole, 1e-300)
    if not np.isfinite(found.size).all():
        bad = queries.start + int(np.flatnonzero(~np.isfinite(found.size))[0])
        raise InputError(
            f"query {bad} with a gradient that is not finite", "finite ones", "dtype=float32"
        )
    return found


def score_block(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    train: Sequence[Batch],
    directions: Directions,
) -> dict[str, np.ndarray]:
    """Return the influence of some training sequences on every query.

    Returns:
        "tokens" (q, n, T) float32, scores of positions, layers added up: each stands at the token
        *before* the one that is predicted there. "layers" (q, n, L) float32, positions added up.
        "loss" (n,), each sequence's summed loss.

    Cost: a forward and backward pass over the sequences without weight gradients, and
    2 q r (n_in + n_out) per position and layer.
    """
    index = {name: i for i, name in enumerate(layers)}
    rows: dict[str, list[np.ndarray]] = {"tokens": [], "layers": [], "loss": []}
    tokens, by_layer = torch.zeros(0), torch.zeros(0)

    def loss(outputs: Any, targets: Any) -> Tensor:
        values = task.per_example(outputs, targets)
        rows["loss"].append(values.detach().float().cpu().numpy())
        return values

    def begin(batch: Batch) -> Receive:
        nonlocal tokens, by_layer
        q, length = len(directions.size), batch.targets.shape[1]
        tokens = torch.zeros(q, batch.size, length, device=batch.targets.device)
        by_layer = torch.zeros(q, batch.size, len(layers), device=batch.targets.device)

        def take(name: str, a: Tensor, d: Tensor) -> None:
            found = _products(directions.u[name], directions.v[name], a, d)
            tokens.sub_(found)
            by_layer[:, :, index[name]] = -found.sum(2)

        return take

    with tapping(model, layers) as taps:
        for batch in train:
            run_gradients(taps, loss, [batch], batch.size, begin)
            rows["tokens"].append(tokens.cpu().numpy())
            rows["layers"].append(by_layer.cpu().numpy())
    joined = {k: np.concatenate(v, 0 if k == "loss" else 1) for k, v in rows.items()}
    if not np.isfinite(joined["tokens"]).all():
        raise InputError("scores that are not finite", "finite gradients", "dtype=float32")
    return joined


def _products(u: Tensor, v: Tensor, a: Tensor, d: Tensor) -> Tensor:
    (n, t, _), (_, q, r) = a.shape, u.shape
    left = d.flatten(0, 1).to(u.dtype) @ u.flatten(1)
    right = a.flatten(0, 1).to(v.dtype) @ v.flatten(1)
    both = left.float().mul_(right.float()) if u.dtype != torch.float64 else left * right
    return both.view(n, t, q, r).sum(3).permute(2, 0, 1)


def score_all(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    train: Sequence[Batch],
    directions: Directions,
    folder: Path,
    *,
    per_block: int = 16,
    group: Group | None = None,
    say: Say = lambda _: None,
) -> None:
    """Score training batches to files of `per_block` batches each; blocks that exist are kept.

    Blocks go to the processes in turn; each is written whole or not at all.
    """
    group = group or Group()
    starts = range(0, len(train), per_block)
    for number, start in enumerate(starts):
        path = folder / f"block_{number:05d}.npz"
        if number % group.size != group.rank or path.exists():
            continue
        part = train[start : start + per_block]
        write_arrays(path, score_block(model, task, layers, part, directions))
        say(f"block {number + 1} of {len(starts)}: {sum(b.size for b in part)} sequences")
    group.sum_(torch.zeros(1, device=group.device))  # all are written


def read_scores(folders: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read all blocks of one folder per group of queries, in order; see `score_block`."""
    groups = [list(_joined(folder)) for folder in folders]
    found = {
        name: np.concatenate(
            [np.concatenate([block[name] for block in blocks], 1) for blocks in groups]
        )
        for name in ("tokens", "layers")
    }
    found["loss"] = np.concatenate([block["loss"] for block in groups[0]])
    return found


def _joined(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    for path in sorted(folder.glob("block_*.npz")):
        yield read_arrays(path)
