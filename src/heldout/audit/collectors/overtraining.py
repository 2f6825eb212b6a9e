"""A last layer retrained on the model's own features: stopped at its best, and at the end."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from heldout.audit.artifacts import packed
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed
from heldout.core.task import Task
from heldout.measures.feature_spectrum import flow_readout
from heldout.measures.overtraining import Overtraining, overtraining

COLLECTOR = Collector("overtraining", "A last layer retrained on the embeddings", order=14)

_SECONDS, _SHARE = 8.0, 0.04  # at most, and of the budget
_BLOCKS, _WIDTHS = (20, 12, 8), ((1.0, 2.0), (1.0,))  # as many as there is time for
_FLOPS = 2e10  # per second on one core; 2.4e10 to 4.3e10 were measured
_FEATURES = 256  # wider embeddings are stored projected, which would move the peak
_POINTS = 40


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Some tens of eigendecompositions of the embeddings' covariance, and a pass where wide."""
    width = _width(task)
    if not width:
        return Cost(0)
    n = len(task.splits["train"])
    chosen = _affordable(n, width, settings)
    if chosen is None:
        return Cost(0, skip=f"{n} examples of {width} features would take {_least(n, width):.0f} s")
    blocks, widths = chosen
    wide = len(task.splits["test"]) + n if width >= _FEATURES else 0
    less = "" if chosen == (_BLOCKS[0], _WIDTHS[0]) else f"leaves examples out {blocks} times"
    seconds = _work(n, width, blocks, widths) + wide * speed.forward
    return Cost(seconds, 8e-6 * n * width * (2 + 4 * max(widths)), less)


def collect(context: Context) -> None:
    """Store `overtraining/readout`: what `overtraining` found, and hits on the test examples.

    `ratio` is (value, low, high, n); `widths` (k, 3) are features, final and stopped error;
    `stopped` and `end` are whether the readout is right on each test example, `stopped_train` on
    each training example, `times` and `errors` its test error by length of training.
    """
    if not _width(context.task):
        raise NotApplicableError("there is no embedding: the model has no last linear layer")
    if any(context.task.splits[name].labels is None for name in ("train", "test")):
        raise SkippedError("labels are needed of train and test")
    try:
        context.keep("overtraining/readout", partial(_measure, context))
    except InputError as error:
        raise SkippedError(str(error)) from error


def _width(task: Task) -> int:
    if task.classifier.module is None:
        return 0
    train = task.splits["train"]
    features = task.classifier(train.inputs.take(np.arange(min(2, len(train))))).features
    return 0 if features is None else features.shape[1]


def _affordable(n: int, p: int, settings: Settings) -> tuple[int, tuple[float, ...]] | None:
    limit = min(_SECONDS, 60 * settings.budget_minutes * _SHARE)
    for widths in _WIDTHS:
        for blocks in _BLOCKS:
            if _work(n, p, blocks, widths) <= limit:
                return blocks, widths
    return None


def _least(n: int, p: int) -> float:
    return _work(n, p, _BLOCKS[-1], _WIDTHS[-1])


def _work(n: int, p: int, blocks: int, widths: tuple[float, ...]) -> float:
    flops = 0.0
    for factor in widths:
        small = min(n, factor * p)
        flops += (blocks + 2) * (10 * small**3 + 4 * n * factor * p * small)
    return flops / _FLOPS


def _measure(context: Context) -> dict[str, np.ndarray]:
    task, seed = context.task, context.settings.seed
    features = {name: _features(context, name) for name in ("train", "test")}
    y, y_test = task.labels("train"), task.labels("test")
    n, width = features["train"].shape
    chosen = _affordable(n, width, context.settings)
    blocks, widths = chosen or (_BLOCKS[-1], _WIDTHS[-1])
    found = overtraining(
        features["train"], y, widths=widths, blocks=blocks,
        seed=derived_seed(seed, "overtraining"),
    )  # fmt: skip
    predict = flow_readout(features["train"], np.eye(task.n_classes)[y])
    assert found.stopping_time is not None
    last = 20 / found.eig_min_nonzero
    best = min(found.stopping_time, last)
    times = np.geomspace(min(best, last) / 1000, last, _POINTS)
    values = predict(features["test"], np.array([found.stopping_time, math.inf, *times]))
    right = values.argmax(axis=2) == y_test
    on_train = predict(features["train"], np.array([found.stopping_time]))[0].argmax(axis=1) == y
    return _packed(found) | {
        "stopped": right[0], "end": right[1], "stopped_train": on_train, "times": times / best,
        "errors": 1 - right[2:].mean(axis=1), "total": np.asarray(task.splits["train"].total),
    }  # fmt: skip


def _features(context: Context, name: str) -> np.ndarray:
    stored = context.artifacts.features(name)
    if stored is None or stored.shape[1] >= _FEATURES:
        stored = context.task.classifier(context.task.splits[name].inputs).features
    assert stored is not None
    return stored.astype(float)


def _packed(found: Overtraining) -> dict[str, np.ndarray]:
    ratio = found.ratio
    assert ratio is not None
    numbers = {
        "ratio": packed(ratio),
        "widths": [[w.features, w.final, w.stopped] for w in found.widths],
        "alpha": found.alpha_eff,
        "frozen": found.frozen_fraction,
        "predicted": found.predicted_ratio,
        "at_peak": found.at_peak,
    }
    return {k: np.asarray(v, dtype=float) for k, v in numbers.items()}
