"""Influence of training examples on the worst held-out errors, and on errors of no cause."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from heldout.audit.collectors.gradients import ByRow
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed, stream
from heldout.core.statistics import cross_entropy
from heldout.core.task import Split, Task
from heldout.data.influence import EKFAC, Classification, Layer, find_layers, left_out

COLLECTOR = Collector("influence", "Influence of training examples on the worst errors", order=25)

_ERRORS, _SETS = 10, 4  # worst errors of each held-out set, and shifted sets at most
_NULL = 50  # errors of no cause
_MOST, _FEWEST = 2000, 100  # training examples
_SIDE = 1500  # of a layer's factors: eigendecompositions cost its cube
_SECONDS, _SHARE = 8.0, 0.03  # at most, and of the budget
_PASSES = 30  # forward passes that factors and gradients are worth; convolutions are unfolded
_FLOPS = 1e10  # per second on one core
_SPLIT = 0.6  # of the time for the training examples; the rest is for the layers' factors
_QUERIES = _ERRORS * (1 + _SETS) + _NULL


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Three passes over a sample of the training set and eigendecompositions by layer."""
    module = task.classifier.module
    if module is None:
        return Cost(0)
    try:
        found = _supported(module)
    except InputError:
        return Cost(0)  # collecting says why
    chosen = _affordable(found, settings)
    if not chosen:
        return Cost(0, skip="no layer's factors fit in the time and memory for influence")
    rows = _size(task, chosen, speed, settings)
    n = len(task.splits["train"])
    less = [f"samples {rows} of {n} training examples"] if rows < n else []
    less += [f"reads {len(chosen)} of {len(found)} layers"] if len(chosen) < len(found) else []
    seconds = _factors(chosen) + rows * _each(chosen, speed)
    return Cost(seconds, _megabytes(chosen) + 64, ", ".join(less))


def collect(context: Context) -> None:
    """Store `influence/scores`: what raised the loss of the worst errors of every held-out set.

    `scores` (e, n) are - grad loss(error)^T (G + lambda)^-1 grad loss(row), over `sizes` (e,),
    the square root of the same form of the error's gradient with itself: positive where training
    on the row raised the error's loss. `null` (m, n) are those of held-out examples with another
    label at random, `self` (n,) the rows' influence on themselves. `rows` are positions in the
    training split, `splits` and `errors` (e,) the errors' sets and positions in them, `losses`
    (e,) their losses in nats, `layers` (k,) the layers read, `of` how many the model has.
    """
    task = context.task
    module = task.classifier.module
    if module is None:
        raise NotApplicableError("only torch modules have layers whose gradients can be read")
    try:
        found = _supported(module)
    except InputError as error:
        raise NotApplicableError(str(error)) from error
    chosen = _affordable(found, context.settings)
    if not chosen:
        raise SkippedError("no layer's factors fit in the time and memory for influence")
    if task.splits["train"].labels is None or task.splits["test"].labels is None:
        raise SkippedError("labels are needed of train and test")
    errors = worst_errors(context)
    if not errors:
        raise NotApplicableError("no held-out example is predicted wrong")
    try:
        context.keep("influence/scores", partial(_measure, context, chosen, len(found), errors))
    except InputError as error:
        raise NotApplicableError(str(error)) from error


def worst_errors(context: Context) -> list[tuple[str, int, float]]:
    """Return set, position and loss of the wrong predictions of largest loss, ten for each set."""
    artifacts = context.artifacts
    shifted = [s for s in artifacts.shifted if artifacts.labels(s) is not None]
    if len(shifted) > _SETS:
        order = sorted(shifted, key=lambda s: float(artifacts.correct(s).mean()))
        shifted = sorted(order[:_SETS])
    found = []
    for name in ("test", *shifted):
        labels = artifacts.labels(name)
        assert labels is not None
        losses = cross_entropy(artifacts.logits(name), labels)
        wrong = np.flatnonzero(~artifacts.correct(name) & np.isfinite(losses))
        worst = wrong[np.argsort(-losses[wrong], kind="stable")][:_ERRORS]
        found += [(name, int(i), float(losses[i])) for i in worst]
    return found


def _supported(module: nn.Module) -> dict[str, Layer]:
    with borrowed(module):
        return find_layers(module, shared=True)


def _affordable(found: dict[str, Layer], settings: Settings) -> dict[str, Layer]:
    # From the output backwards: the last layers tell errors apart best for their price.
    limit = (1 - _SPLIT) * _seconds(settings)
    chosen: dict[str, Layer] = {}
    for name in reversed(found):
        layer = found[name]
        more = {name: layer, **chosen}
        if max(layer.n_in, layer.n_out) > _SIDE or _factors(more) > limit:
            continue
        if _megabytes(more) > 1000 * settings.memory_gb / 4:
            continue
        chosen = more
    return chosen


def _seconds(settings: Settings) -> float:
    return min(_SECONDS, 60 * settings.budget_minutes * _SHARE)


def _factors(layers: dict[str, Layer]) -> float:
    return sum(25.0 * (k.n_in**3 + k.n_out**3) for k in layers.values()) / _FLOPS


def _each(layers: dict[str, Layer], speed: Speed) -> float:
    weights = sum(k.n_in * k.n_out for k in layers.values())
    return _PASSES * speed.forward + 2.0 * (_QUERIES + 8) * weights / _FLOPS


def _size(task: Task, layers: dict[str, Layer], speed: Speed, settings: Settings) -> int:
    affordable = _SPLIT * _seconds(settings) / _each(layers, speed)
    return int(min(len(task.splits["train"]), _MOST, max(affordable, _FEWEST)))


def _megabytes(layers: dict[str, Layer]) -> float:
    # errors' gradients, factors with their bases, and a batch of gradients
    numbers = sum(
        (_QUERIES + 32) * k.n_in * k.n_out + 4 * (k.n_in**2 + k.n_out**2) for k in layers.values()
    )
    return 4e-6 * numbers


def _measure(
    context: Context, chosen: dict[str, Layer], of: int, errors: list[tuple[str, int, float]]
) -> dict[str, np.ndarray]:
    task, seed, module = context.task, context.settings.seed, context.task.classifier.module
    assert module is not None
    train = task.splits["train"]
    size = _size(task, chosen, context.speed, context.settings)
    rows = np.sort(stream(seed, "influence", "train").choice(len(train), size, replace=False))
    names = list(dict.fromkeys(name for name, _, _ in errors))
    taken = [np.array([i for name, i, _ in errors if name == s]) for s in names]
    parts = [train.take(rows), *(task.splits[s].take(i) for s, i in zip(names, taken, strict=True))]
    parts.append(_causeless(task, seed))
    with borrowed(module):
        indexed = ByRow(module, [p.inputs for p in parts])
        layers = [f"module.{name}".removesuffix(".") for name in chosen]
        fitted = EKFAC(
            indexed,
            Classification(on="loss"),
            layers=layers,
            shared=True,  # a layer that is called again has one gradient, of all its calls
            batch_size=min(32, context.settings.batch_size),
            memory=int(1e9 * context.settings.memory_gb / 8),
            seed=derived_seed(seed, "influence"),
        )
        data = [_numbered(indexed, k, part) for k, part in enumerate(parts)]
        fitted.fit(data[0])
        asked = (torch.cat([d[0] for d in data[1:]]), torch.cat([d[1] for d in data[1:]]))
        scores = fitted.scores(asked, data[0])
        sizes = np.sqrt(np.maximum(fitted.self_influence(asked), 1e-30))
        own = fitted.self_influence(data[0])
    e = len(errors)
    return {
        "rows": rows,
        "scores": scores[:e].astype(np.float32),
        "sizes": sizes[:e],
        "null": (scores[e:] / sizes[e:, None]).astype(np.float32),
        "self": own,
        "splits": np.array([name for name, _, _ in errors]),
        "errors": np.array([i for _, i, _ in errors]),
        "losses": np.array([loss for _, _, loss in errors]),
        "layers": np.array([name or type(module).__name__ for name in chosen]),
        "of": np.asarray(of),
        "read": np.asarray(_read_share(module, chosen)),
        "total": np.asarray(train.total),
    }


def _read_share(module: nn.Module, chosen: dict[str, Layer]) -> float:
    every = sum(p.numel() for p in module.parameters())
    return 1 - sum(left_out(module, chosen).values()) / every


def _causeless(task: Task, seed: int) -> Split:
    # Held-out examples with another label at random: errors that no training example made.
    test = task.splits["test"]
    rng = stream(seed, "influence", "null")
    rows = rng.choice(len(test), min(_NULL, len(test)), replace=False)
    part = test.take(rows)
    assert part.labels is not None
    moved = (part.labels + rng.integers(1, task.n_classes, len(rows))) % task.n_classes
    return replace(part, labels=moved)


def _numbered(indexed: ByRow, part: int, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    assert split.labels is not None
    at = indexed.starts[part] + torch.arange(len(split), device=indexed.device)
    return at, torch.as_tensor(split.labels, device=indexed.device).long()
