"""The user's model trained on part of the training set, asked about the rest."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Task
from heldout.data.crossfit import stratified_folds

COLLECTOR = Collector("crossfit", "Retraining on folds", order=60, share=0.25)

FOLDS = 5
_REPEATS = 3
_ROUND = 4  # full trainings that one round costs: FOLDS trainings on four fifths of the data
_FEWEST = 50  # training examples below which a fold says nothing


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Up to 15 trainings on four fifths of the training set; at least 5."""
    if task.fit is None:
        return Cost(0, skip="no fit was passed")
    if len(task.splits["train"]) < _FEWEST:
        return Cost(0, skip=f"fewer than {_FEWEST} training examples")
    return Cost(
        settings.budget_minutes * 60 * COLLECTOR.share,
        note=f"{_REPEATS} x {FOLDS} fits; at most this long, whole rounds of {FOLDS}",
    )


def collect(context: Context) -> None:
    """Store `crossfit/<repeat>-<fold>`: `rows` held out, and their `logits`.

    A round that cannot be finished in time is not begun, so every example of a finished round
    has exactly one held-out prediction.
    """
    if context.task.fit is None:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    labels = context.task.labels("train")
    seed = context.settings.seed
    for repeat in range(_REPEATS):
        if repeat and not _started(context, repeat) and context.fits_left() < _ROUND:
            break
        folds = stratified_folds(labels, FOLDS, stream(seed, "crossfit", repeat))
        for fold in range(folds.max() + 1):
            context.tell(f"round {repeat + 1}, fold {fold + 1} of {FOLDS}")
            context.keep(
                f"crossfit/{repeat}-{fold}",
                partial(_fold, context, folds, repeat, fold),
            )
            if not repeat and not fold and context.fit_seconds and context.fits_left() < _ROUND - 1:
                raise SkippedError(
                    f"a training takes {context.fit_seconds[-1]:.0f} s, and {FOLDS} of them are "
                    "needed; raise budget_minutes"
                )


def _started(context: Context, repeat: int) -> bool:
    return context.artifacts.has(f"crossfit/{repeat}-0")


def _fold(context: Context, folds: np.ndarray, repeat: int, fold: int) -> dict[str, np.ndarray]:
    held = np.flatnonzero(folds == fold)
    seed = derived_seed(context.settings.seed, "crossfit", repeat, fold) % 2**31
    model = context.refit(np.flatnonzero(folds != fold), seed)
    inputs = context.task.splits["train"].inputs.take(held)
    return {"rows": held, "logits": model(inputs).logits.astype(np.float32)}
