"""The user's model retrained on nested parts of the training set."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.seeds import stream
from heldout.core.task import Task
from heldout.measures.learning_curve import nested_order

COLLECTOR = Collector(
    "learning_curve", "Retraining on parts of the training set", order=60, share=0.25
)

FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
SEEDS = 5
_FEWEST_SEEDS = 2
_FEWEST_ROWS = 12
_PER_CLASS = 2


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """About 1.6 fits of the full set per seed; the full ones are taken from `refits`."""
    if task.fit is None:
        return Cost(0, skip="no fit was passed")
    rows = [len(r) for r in _subsets(task, 0, settings.seed)]
    note = (
        f"training on {', '.join(map(str, rows))} examples, up to {SEEDS} times, within its share"
    )
    return Cost(settings.budget_minutes * 60 * COLLECTOR.share, note=note)


def collect(context: Context) -> None:
    """Store `learning_curve/<seed>-<i>` for each size: `rows` (their number), `wrong` (test)."""
    if context.task.fit is None:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    for seed in range(SEEDS):
        subsets = _subsets(context.task, seed, context.settings.seed)
        if len(subsets) < 3:
            n = len(context.task.splits["train"])
            raise NotApplicableError(f"{n} training examples are too few to train on parts of them")
        needed = sum(len(r) for r in subsets[:-1]) / len(subsets[-1])
        missing = not all(
            context.artifacts.has(f"learning_curve/{seed}-{i}") for i in range(len(subsets))
        )
        if missing and context.fit_seconds and context.fits_left() < needed:
            if seed >= _FEWEST_SEEDS:
                break
            if seed == 0 and context.fits_left() < 1:
                raise SkippedError(f"{needed:.1f} fits would not fit the time left for them")
        for i, rows in enumerate(subsets):
            context.tell(f"{len(rows)} examples, seed {seed + 1} of {SEEDS}")
            context.keep(f"learning_curve/{seed}-{i}", partial(_trained, context, seed, rows))


def _subsets(task: Task, seed: int, audit_seed: int) -> list[np.ndarray]:
    """Rows of each size, nested; at least two of each class on average."""
    labels = task.labels("train")
    order = nested_order(labels, stream(audit_seed, "learning_curve", seed))
    least = max(_FEWEST_ROWS, _PER_CLASS * len(np.unique(labels)))
    sizes = [round(f * len(order)) for f in FRACTIONS]
    return [order[:n] for n in sizes if n >= least]


def _trained(context: Context, seed: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    test = context.task.splits["test"]
    whole = len(rows) == len(context.task.splits["train"])
    if whole and context.artifacts.has(f"refits/{seed}/test"):
        logits = context.artifacts.read(f"refits/{seed}/test")["logits"]
    else:
        model = context.refit(None if whole else np.sort(rows), seed)
        logits = model(test.inputs).logits
    wrong = logits.argmax(axis=1) != context.task.labels("test")
    return {"rows": np.asarray(len(rows)), "wrong": wrong.astype(np.uint8)}
