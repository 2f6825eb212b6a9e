"""Gradients of training and held-out examples: their norms and how far they agree."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from heldout.audit.artifacts import packed
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.borrow import borrowed
from heldout.core.inputs import Inputs
from heldout.core.outputs import call_module, logits_of
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Split, Task
from heldout.measures.coherence import FEWEST
from heldout.measures.memorization import Memorization, memorization_statistics

COLLECTOR = Collector("gradients", "Gradients of training and test examples", order=15)

_MOST = 2000  # examples per split: intervals are then narrower than any threshold
_SHARE = 0.15  # of the budget
_PASSES = {"train": 60, "test": 16}  # forward passes that the work is worth, per example


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Four norm passes over both splits and eight training passes over one."""
    if task.classifier.module is None:
        return Cost(0)
    rows = {name: _size(task, name, speed, settings) for name in ("train", "test")}
    seconds = sum(speed.forward * rows[name] * _PASSES[name] for name in rows)
    weights = sum(p.numel() * p.element_size() for p in task.classifier.module.parameters())
    less = [f"{n} of {len(task.splits[k])} {k}" for k, n in rows.items() if n < len(task.splits[k])]
    return Cost(seconds, 256 + 6 * weights / 1e6, "samples " + ", ".join(less) if less else "")


def _size(task: Task, name: str, speed: Speed, settings: Settings) -> int:
    affordable = 60 * settings.budget_minutes * _SHARE / 2 / (speed.forward * _PASSES[name] + 1e-9)
    return int(min(len(task.splits[name]), _MOST, max(affordable, 100)))


def collect(context: Context) -> None:
    """Store `gradients/memorization`: intervals by name and arrays per example.

    Intervals are (value, low, high, n); `rows` are positions in the training split.
    """
    task = context.task
    if task.classifier.module is None:
        raise NotApplicableError("only torch modules have gradients of their weights")
    labels = {name: task.splits[name].labels for name in ("train", "test")}
    for name, y in labels.items():
        if y is None or len(y) < FEWEST or len(np.unique(y)) < 2:
            raise SkippedError(f"{name} has fewer than {FEWEST} labelled examples of two classes")
    context.keep("gradients/memorization", partial(_measure, context))


def _measure(context: Context) -> dict[str, np.ndarray]:
    task, seed = context.task, context.settings.seed
    module = task.classifier.module
    assert module is not None
    rows = {
        name: np.sort(
            stream(seed, "gradients", name).choice(
                len(task.splits[name]),
                _size(task, name, context.speed, context.settings),
                replace=False,
            )
        )
        for name in ("train", "test")
    }
    parts = [task.splits[name].take(rows[name]) for name in ("train", "test")]
    indexed = ByRow(module, [part.inputs for part in parts])
    (x, y), (xt, yt) = (_indexed(indexed, k, part) for k, part in enumerate(parts))
    with borrowed(module):
        found = memorization_statistics(
            indexed, x, y, xt, yt, seed=derived_seed(seed, "memorization")
        )
    return _stored(found) | {"rows": rows["train"]}


def _indexed(indexed: ByRow, part: int, split: Split) -> tuple[Tensor, Tensor]:
    assert split.labels is not None
    at = indexed.starts[part] + torch.arange(len(split), device=indexed.device)
    return at, torch.as_tensor(split.labels, device=indexed.device).long()


def _stored(found: Memorization) -> dict[str, np.ndarray]:
    intervals = ("excess", "train_ratio", "test_ratio", "cosine", "cosine_null")
    kept = {name: packed(getattr(found, name)) for name in intervals}
    return kept | {
        "agreement": found.agreement,
        "norms": found.train_norms,
        "null": found.train_null,
    }


class ByRow(nn.Module):
    """The user's module as a function of row numbers, so that any form of input will do.

    Args:
        module: the user's own; its output may be anything that holds logits.
        parts: inputs of one form; rows are numbered through all of them.
    """

    def __init__(self, module: nn.Module, parts: list[Inputs]) -> None:
        super().__init__()
        self.module = module
        self.training = module.training
        first = next(module.parameters(), torch.zeros(()))
        self.device = first.device
        floats = (p.dtype for p in module.parameters() if p.is_floating_point())
        dtype = next(floats, None)
        tensors = [part.tensors(self.device, dtype) for part in parts]
        self.named = isinstance(tensors[0], dict)
        self.data: dict[str, Tensor] = {}
        for key in tensors[0] if isinstance(tensors[0], dict) else [""]:
            columns = [t[key] if isinstance(t, dict) else t for t in tensors]
            self.data[key] = torch.cat(columns)
        self.starts = np.cumsum([0] + [len(part) for part in parts]).tolist()

    def forward(self, rows: Tensor) -> Tensor:
        """Return the logits (n, classes) of these rows."""
        if self.named:
            found = call_module(self.module, {k: v[rows] for k, v in self.data.items()})
        else:
            found = self.module(self.data[""][rows])
        return logits_of(found)
