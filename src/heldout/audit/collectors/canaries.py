"""The user's model trained on labels of which some were flipped on purpose."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.checks.canaries import SHARE
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed
from heldout.core.task import Task
from heldout.dynamics.canaries import Canaries, inject_label_noise

COLLECTOR = Collector("canaries", "Retraining with flipped labels", order=55, share=0.1)

FITS = 2
"""At most; each has other flips, and the seed of one of the unchanged refits."""


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """One fit, and a second one where there is time."""
    if task.fit is None:
        return Cost(0, skip="no fit was passed")
    return Cost(
        settings.budget_minutes * 60 * COLLECTOR.share, note="1 or 2 fits, within its share"
    )


def collect(context: Context) -> None:
    """Store `canaries/<seed>`: `rows` flipped, their `labels` as flipped, and answers.

    `answers` are the classes predicted for those rows, `right` whether each test example is
    predicted right, both by the model fitted to the flipped labels with that seed.
    """
    if context.task.fit is None:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    try:
        flips = [_flipped(context, seed) for seed in range(FITS)]
    except InputError as error:
        raise SkippedError(str(error)) from error
    for seed, flipped in enumerate(flips):
        missing = not context.artifacts.has(f"canaries/{seed}")
        if missing and context.fit_seconds and context.fits_left() < 1:
            if seed == 0:
                seconds = float(np.median(context.fit_seconds))
                raise SkippedError(f"a fit of {seconds:.0f} s would not fit the time left for it")
            break
        context.tell(f"{len(flipped.rows)} labels flipped, seed {seed + 1} of {FITS}")
        context.keep(f"canaries/{seed}", partial(_fitted, context, seed, flipped))


def _flipped(context: Context, seed: int) -> Canaries:
    task = context.task
    purpose = derived_seed(context.settings.seed, "canaries", seed)
    return inject_label_noise(task.labels("train"), SHARE, task.n_classes, purpose)


def _fitted(context: Context, seed: int, flipped: Canaries) -> dict[str, np.ndarray]:
    task = context.task
    model = context.refit(seed=seed, labels=flipped.labels)
    canaries = task.splits["train"].inputs.take(flipped.rows)
    test = model(task.splits["test"].inputs).logits.argmax(axis=1)
    return {
        "rows": flipped.rows,
        "labels": flipped.labels[flipped.rows],
        "answers": model(canaries).logits.argmax(axis=1),
        "right": test == task.labels("test"),
    }
