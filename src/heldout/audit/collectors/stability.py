"""The user's model trained without a tenth of its examples, beside one with all of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.seeds import stream
from heldout.core.task import Task

COLLECTOR = Collector(
    "stability", "Retraining without a tenth of the examples", order=56, share=0.1
)

FITS = 5
"""At most, each beside the unchanged fit of the same seed."""
FEWEST = 3
"""Below this nothing is said."""
_SHARE, _LEAST = 0.1, 5


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Three to five fits of nine tenths; the full ones are those of `refits`."""
    if task.fit is None:
        return Cost(0, skip="no fit was passed")
    note = f"{FEWEST} to {FITS} fits, within its share"
    return Cost(settings.budget_minutes * 60 * COLLECTOR.share, note=note)


def collect(context: Context) -> None:
    """Store `stability/<seed>`: `rows` left out and what was wrong, per example.

    `full` and `less` are the test examples got wrong by the fit to all and to the rest of the
    examples with one seed, `left` those of `rows` that the second got wrong.
    """
    if context.task.fit is None:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    if context.task.splits["test"].labels is None:
        raise SkippedError("the test set has no labels")
    n = len(context.task.labels("train"))
    k = round(_SHARE * n)
    if k < _LEAST:
        raise NotApplicableError(f"{n} training examples are too few to leave a tenth out")
    for seed in range(FITS):
        if not context.artifacts.has(f"stability/{seed}"):
            # The full fit, too, where `refits` had no time for that seed.
            fits = 1.0 if context.artifacts.has(f"refits/{seed}/test") else 2.0
            needed = fits * (FEWEST if seed == 0 else 1)
            if context.fit_seconds and context.fits_left() < needed:
                if seed < FEWEST:
                    seconds = float(np.median(context.fit_seconds))
                    raise SkippedError(
                        f"{FEWEST} fits of {seconds:.0f} s would not fit the time left for them"
                    )
                break
        context.tell(f"{k} of {n} examples left out, seed {seed + 1} of {FITS}")
        context.keep(f"stability/{seed}", partial(_compared, context, seed, k))


def _compared(context: Context, seed: int, k: int) -> dict[str, np.ndarray]:
    task, test = context.task, context.task.splits["test"]
    n, labels = len(task.splits["train"]), task.labels("train")
    rows = np.sort(stream(context.settings.seed, "stability", seed).permutation(n)[:k])
    if context.artifacts.has(f"refits/{seed}/test"):
        full = context.artifacts.read(f"refits/{seed}/test")["logits"]
    else:
        full = context.refit(seed=seed)(test.inputs).logits
    less = context.refit(np.setdiff1d(np.arange(n), rows), seed)
    left = less(task.splits["train"].inputs.take(rows)).logits
    y = task.labels("test")
    wrong = {
        "full": full.argmax(axis=1) != y,
        "less": less(test.inputs).logits.argmax(axis=1) != y,
        "left": left.argmax(axis=1) != labels[rows],
    }
    return {"rows": rows} | {name: value.astype(np.uint8) for name, value in wrong.items()}
