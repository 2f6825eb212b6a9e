"""What only the model can tell about its numerics: gradients along its weights, coarser formats."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.seeds import stream
from heldout.core.task import Split, Task
from heldout.dynamics.logit_scaling import scaling_alignment
from heldout.dynamics.numerics import nonfinite_counts
from heldout.dynamics.precision import precision_agreement

COLLECTOR = Collector("numerics", "Numerics of the weights and of coarser formats", order=12)

_MOST = 2000  # examples
COARSE = ("bfloat16", "float16")
"""Formats that the predictions are compared in."""


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """One training pass and two copies of the model run in coarser formats."""
    if task.classifier.module is None:
        return Cost(0)
    n = min(_MOST, len(task.splits["train"])) + min(_MOST, len(task.splits["test"]))
    weights = sum(p.numel() * p.element_size() for p in task.classifier.module.parameters())
    # Formats without hardware support run several times slower than float32.
    return Cost(speed.forward * n * 12, 4 * weights / 1e6)


def collect(context: Context) -> None:
    """Store `numerics/weights` and `numerics/<format>`.

    `weights`: `nonfinite` values, `every` and `last` alignment (NaN when unknown), `chance`,
    `n`. `<format>`: `share` (value, low, high, n; NaN when it cannot run), `nonfinite`, `reason`.
    """
    if context.task.classifier.module is None:
        raise NotApplicableError("only torch modules have weights in a floating-point format")
    context.keep("numerics/weights", partial(_weights, context))
    for name in COARSE:
        context.tell(name)
        context.keep(f"numerics/{name}", partial(_coarse, context, name))


def _sample(context: Context, name: str) -> Split:
    split = context.task.splits[name]
    n = min(_MOST, len(split))
    rows = stream(context.settings.seed, "numerics", name).choice(len(split), n, replace=False)
    return split.take(np.sort(rows))


def _tensors(context: Context, split: Split) -> torch.Tensor | dict[str, torch.Tensor]:
    module = context.task.classifier.module
    assert module is not None
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return split.inputs.tensors(device, next(floats, None))


def _weights(context: Context) -> dict[str, np.ndarray]:
    module, split = context.task.classifier.module, _sample(context, "train")
    assert module is not None and split.labels is not None
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    labels = torch.as_tensor(split.labels, device=device).long()
    found = scaling_alignment(
        module, _tensors(context, split), labels, batch_size=context.settings.batch_size
    )
    return {
        "nonfinite": np.array(sum(nonfinite_counts(module).values())),
        "every": np.array(found.every),
        "last": np.array(np.nan if found.last is None else found.last),
        "chance": np.array(found.chance),
        "n": np.array(len(split)),
    }


def _coarse(context: Context, name: str) -> dict[str, np.ndarray]:
    module, split = context.task.classifier.module, _sample(context, "test")
    assert module is not None
    found = precision_agreement(
        module, _tensors(context, split), name, batch_size=context.settings.batch_size
    )
    share = found.share
    packed = [np.nan, 0.0, 1.0, 0] if share is None else [share.value, share.low, share.high,
                                                          share.n]  # fmt: skip
    return {
        "share": np.array(packed),
        "nonfinite": np.array(found.nonfinite),
        "reason": np.array(found.reason),
    }
