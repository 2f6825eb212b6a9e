"""Logits, embeddings, labels and metadata of every split: one forward pass."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.core.seeds import stream
from heldout.core.task import Split, Task

COLLECTOR = Collector("predictions", "Predictions and embeddings", order=0)

_MAX_FEATURES = 256  # wider embeddings are projected: distances survive, disk space does too


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """One forward pass over everything."""
    n = sum(len(s) for s in task.splits.values())
    sampled = [f"{s.name}: {len(s)} of {s.total}" for s in task.splits.values() if len(s) < s.total]
    width = 4 * (task.n_classes + _MAX_FEATURES)
    return Cost(
        speed.forward * n, n * width / 1e6, "sampled " + ", ".join(sampled) if sampled else ""
    )


def collect(context: Context) -> None:
    """Store `predictions/<split>`: logits, features, labels, index, group/<name>."""
    for name, split in context.task.splits.items():
        context.tell(name)
        context.keep(f"predictions/{name}", partial(_predict, context, split))


def _predict(context: Context, split: Split) -> dict[str, np.ndarray]:
    found = context.task.classifier(split.inputs)
    stored = {"logits": found.logits, "index": split.index}
    if found.features is not None:
        stored["features"] = _narrow(found.features, context.settings.seed)
    if split.labels is not None:
        stored["labels"] = split.labels
    return stored | {f"group/{k}": v for k, v in split.groups.items()}


def _narrow(features: np.ndarray, seed: int) -> np.ndarray:
    width = features.shape[1]
    if width <= _MAX_FEATURES:
        return features.astype(np.float32)
    # Johnson-Lindenstrauss: the same Gaussian matrix for every split, so distances compare.
    matrix = stream(seed, "features").normal(size=(width, _MAX_FEATURES)) / np.sqrt(_MAX_FEATURES)
    return np.asarray(features @ matrix.astype(np.float32), dtype=np.float32)
