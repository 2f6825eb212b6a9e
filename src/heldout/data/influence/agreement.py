"""What low precision and low rank change: the same scores made again without them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from .batches import Batch
from .blocks import Source, score_block
from .directions import Directions
from .layers import Layer, find_layers
from .losses import LossTask
from .memory import Shapes, factor_size, work_size
from .scores import Scoring, pairwise
from .sharding import load_layer

FEW = 6
"""Layers that are compared."""


def agreement_size(shapes: Shapes, parameters: int, directions: int) -> int:
    """Return the bytes that `agreement` needs: a float32 model, its layers' factors, directions.

    >>> agreement_size([(3, 2)], 10, 100)
    16001528
    """
    largest = max((factor_size(*s) for s in shapes), default=0)
    return 4 * parameters + FEW * 2 * largest + work_size(shapes) + directions


def agreement(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    queries: Sequence[Batch],
    train: Sequence[Batch],
    source: Source,
    directions: Directions,
    few: int = FEW,
) -> dict[str, float]:
    """Compare scores as they are made with float32 and whole gradients, on a few layers.

    Args:
        model: in the type that scores are made in.
        task: the loss and the measure.
        layers: all that were fitted; `few` of them, spread evenly, are compared.
        queries: the first queries that `directions` hold.
        train: batches to score.
        source: the factors.
        directions: of the queries, at the rank and in the type that are used.
        few: how many layers.

    Returns:
        Mean over queries of Spearman's and Pearson's correlation over sequences: "spearman",
        "pearson" of what is used against float32 at full rank; "rank_spearman" and "rank_pearson"
        of the rank alone, "type_spearman" of the type alone; and how many of each were compared.

    Cost: a copy of the model in float32; three passes over `train`.
    """
    q = sum(batch.size for batch in queries)
    names = list(layers)
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, few).astype(int))]
    factors = {n: load_layer(source.folder, names.index(n), source.about, n) for n in chosen}
    damping = {n: f.damping(source.damping) for n, f in factors.items()}

    def whole(net: nn.Module) -> np.ndarray:
        how = Scoring(find_layers(net, chosen), factors, damping, memory=2**40)
        return pairwise(net, task, list(queries), _renumbered(train), how)

    ours = Directions(
        {n: directions.u[n][:, :q] for n in chosen}, {n: directions.v[n][:, :q] for n in chosen},
        directions.size[:q], directions.kept[:q], directions.measure[:q],
    )  # fmt: skip
    used = score_block(model, task, {n: layers[n] for n in chosen}, train, ours)["tokens"].sum(2)
    typed = whole(model)
    exact = whole(copy.deepcopy(model).to(torch.float32))
    return {
        "spearman": _mean(used, exact, ranks=True),
        "pearson": _mean(used, exact),
        "rank_spearman": _mean(used, typed, ranks=True),
        "rank_pearson": _mean(used, typed),
        "type_spearman": _mean(typed, exact, ranks=True),
        "sequences": exact.shape[1],
        "queries": q,
        "layers": len(chosen),
    }


def _renumbered(train: Sequence[Batch]) -> list[Batch]:
    found, start = [], 0
    for batch in train:
        found.append(replace(batch, start=start))
        start += batch.size
    return found


def _mean(a: np.ndarray, b: np.ndarray, ranks: bool = False) -> float:
    from scipy.stats import pearsonr, spearmanr

    one: Any = spearmanr if ranks else pearsonr
    return float(np.mean([one(x, y).statistic for x, y in zip(a, b, strict=True)]))
