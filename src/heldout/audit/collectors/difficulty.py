"""Intrinsic dimension and resolution of the training data, with resamples."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.random_projection import SparseRandomProjection

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Task
from heldout.data.design import numeric_matrix
from heldout.measures.intrinsic_dimension import dimension_draws, neighbour_log_ratios
from heldout.measures.resolution import closest_pairs, resolution, resolution_draws

COLLECTOR = Collector("difficulty", "Dimension and resolution of the training data", order=13)

_MOST = 1000  # examples: all pairs of them take well under a second
_DRAWS = 200
_WIDE, _PROJECTED = 4096, 1024  # wider inputs are projected, which keeps distances within 5 %


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Two products of matrices over at most 1,000 examples, and 200 resamples."""
    total = len(task.splits["train"])
    n = min(total, _MOST)
    note = f"samples {n} of {total} train" if n < total else ""
    return Cost(0.2 + 1.2 * (n / _MOST) ** 2, 60 * (n / _MOST) ** 2, note)


def collect(context: Context) -> None:
    """Store `difficulty/train`: m, delta, radius, n, classes, draws of both, and what was used."""
    if context.task.splits["train"].labels is None:
        raise SkippedError("labels of train are needed: resolution is a distance between classes")
    try:
        context.keep("difficulty/train", partial(_measure, context))
    except InputError as error:
        raise SkippedError(f"given: {error.given}; expected: {error.expected}") from error


def _measure(context: Context) -> dict[str, np.ndarray]:
    train, seed = context.task.splits["train"], context.settings.seed
    rows = np.arange(len(train))
    if len(rows) > _MOST:
        rows = np.sort(stream(seed, "difficulty").choice(len(rows), _MOST, replace=False))
    x, source = _points(context, rows)
    y = context.task.labels("train")[rows]
    pairs = closest_pairs(x, y, total=max(train.total, len(rows)), seed=seed)
    ratios = neighbour_log_ratios(x, seed=seed)
    draws = derived_seed(seed, "difficulty draws")
    return {
        "m": np.asarray(1 / ratios.mean()),
        "delta": np.asarray(resolution(pairs)),
        "radius": np.asarray(np.linalg.norm(x, axis=1).max()),
        "n": np.asarray(pairs.total),
        "classes": np.asarray(len(np.unique(y))),
        "m_draws": dimension_draws(ratios, _DRAWS, draws),
        "delta_draws": resolution_draws(pairs, _DRAWS, draws),
        "points": np.asarray([len(ratios), pairs.examples]),
        "source": np.asarray(source),
    }


def _points(context: Context, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Inputs as points of a space, and in words what they are."""
    inputs = context.task.splits["train"].inputs.take(rows)
    matrix = numeric_matrix(inputs)
    if matrix is None:
        features = context.artifacts.features("train")
        if features is None:
            raise NotApplicableError("inputs are not numbers, and the model has no embedding")
        return features[rows].astype(np.float64), "the model's embeddings of the inputs"
    x = matrix.astype(np.float64)
    if inputs.kind != "image":
        # Columns of a table have units of their own; distances would be those of the largest.
        scale = x.std(axis=0)
        x = (x - x.mean(axis=0))[:, scale > 0] / scale[scale > 0]
        if not x.shape[1]:
            raise SkippedError("the training inputs never vary")
        return _narrow(context, x), "the inputs, every column standardized"
    return _narrow(context, x), "the pixels as they are, flattened"


def _narrow(context: Context, x: np.ndarray) -> np.ndarray:
    if x.shape[1] <= _WIDE or not np.isfinite(x).all():
        return x
    seed = derived_seed(context.settings.seed, "difficulty projection")
    return np.asarray(SparseRandomProjection(_PROJECTED, random_state=seed).fit_transform(x))
