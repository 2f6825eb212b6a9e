"""The user's model trained again with other seeds: the baseline of every measured gain."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.task import Task

COLLECTOR = Collector("refits", "Retraining with other seeds", order=50, share=0.25)

SEEDS = 5  # the least number of pairs from which a gain is read
_MIN_SEEDS = 3


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Unknown before the first fit, which is timed."""
    if task.fit is None:
        return Cost(0, skip="no fit was passed")
    return Cost(
        settings.budget_minutes * 60 * COLLECTOR.share,
        note=f"{SEEDS} fits; at most this long, and the first one is timed",
    )


def collect(context: Context) -> None:
    """Store `refits/<seed>/<split>`: logits of the model retrained with that seed."""
    if context.task.fit is None:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    for seed in range(SEEDS):
        done = all(context.artifacts.has(f"refits/{seed}/{n}") for n in context.task.splits)
        if not done and seed >= _MIN_SEEDS and context.fits_left() < 1:
            break
        context.tell(f"seed {seed + 1} of {SEEDS}")
        for name in context.task.splits:
            context.keep(f"refits/{seed}/{name}", partial(_refit, context, seed, name))


def _refit(context: Context, seed: int, split: str) -> dict[str, np.ndarray]:
    return {"logits": context.refit(seed=seed)(context.task.splits[split].inputs).logits}
