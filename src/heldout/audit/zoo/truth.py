"""What is true of a case, measured by training it again and on rows that no check has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heldout.audit.checks.canaries import SHARE
from heldout.audit.result import CheckResult
from heldout.bench.defects import wrong_labels
from heldout.bench.zoo import World
from heldout.core.inputs import from_native
from heldout.core.preparing import prepare
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Task

Checks = Mapping[str, CheckResult]

_FITS = 3
_LEFT_OUT, _PAIRS = 0.1, 5


def stopping_gain(made: World, task: Task, checks: Checks) -> dict[str, Any]:
    """Return the accuracy that the best length of training would bring, and what was said.

    The length is chosen on one half of the rows and read on the other, and the other way round,
    so that a model which is best as it is gains 0 or less on average.
    """
    assert made.path is not None
    x, y = _rows(made)
    own = task.classifier(from_native(x)).logits.argmax(axis=1) == y
    right = []
    for model in made.path():
        task_of = prepare(model, made.arguments["train"], made.arguments["test"])
        right.append(task_of.classifier(from_native(x)).logits.argmax(axis=1) == y)
    gains = np.asarray(right, dtype=float) - own
    halves = (np.arange(len(y)) % 2 == 0, np.arange(len(y)) % 2 == 1)
    found = [
        gains[int(np.argmax(gains[:, a].mean(axis=1)))][b].mean() for a, b in (halves, halves[::-1])
    ]
    said = checks["overtraining"].numbers.get("gain_of_stopping")
    return {
        "truth": float(np.mean(found)),
        "said": None if said is None else said.value / 100,
        "rows": len(y),
    }


def flip_loss(made: World, task: Task, checks: Checks) -> dict[str, Any]:
    """Return what fits to flipped labels lose, averaged over fits of their own, and what was said.

    `fitted` is the share of flips that are learned, `limit` half of what a nearest neighbour
    would lose.
    """
    assert task.fit is not None
    x, y = _rows(made)
    inputs, labels = from_native(x), task.labels("train")
    fitted, before, after = [], [], []
    for k in range(_FITS):
        seed = derived_seed(task.seed, "zoo flips", k)
        flipped, rows = wrong_labels(labels, SHARE, task.n_classes, stream(seed, "rows"))
        plain, noisy = task.refit(seed=seed), task.refit(seed=seed, labels=flipped)
        answers = noisy(task.splits["train"].inputs.take(rows)).logits.argmax(axis=1)
        fitted.append(float((answers == flipped[rows]).mean()))
        before.append(float((plain(inputs).logits.argmax(axis=1) == y).mean()))
        after.append(float((noisy(inputs).logits.argmax(axis=1) == y).mean()))
    accuracy = float(np.mean(before))
    said = checks["canaries"].numbers.get("lost")
    return {
        "fitted": float(np.mean(fitted)),
        "lost": accuracy - float(np.mean(after)),
        "limit": SHARE / 2 * (accuracy - (1 - accuracy) / (task.n_classes - 1)),
        "said": None if said is None else said.value,
        "rows": len(y),
    }


def leaving_out(made: World, task: Task, checks: Checks) -> dict[str, Any]:
    """Return how the error of fits changes when a tenth of the examples is left out, and what was
    said of the mean change.

    With other seeds and other examples than the audit's. `changes` are errors without them minus
    errors with all, `noise` their 95 % sampling errors, `errors` the larger ones of both.
    """
    x, y = _rows(made)
    inputs, n = from_native(x), len(task.splits["train"])
    changes, noise, errors = [], [], []
    for k in range(_PAIRS):
        seed = derived_seed(task.seed, "zoo leaving out", k)
        kept = np.sort(stream(seed, "rows").permutation(n)[round(_LEFT_OUT * n) :])
        full, less = (
            (model(inputs).logits.argmax(axis=1) != y).astype(float)
            for model in (task.refit(seed=seed), task.refit(kept, seed))
        )
        changes.append(float((less - full).mean()))
        noise.append(1.96 * float((less - full).std()) / len(y) ** 0.5)
        errors.append(max(float(less.mean()), float(full.mean())))
    said = checks["stability"].numbers.get("change")
    return {
        "changes": changes,
        "noise": noise,
        "errors": errors,
        "said": None if said is None else said.value,
        "rows": len(y),
    }


def _rows(made: World) -> tuple[np.ndarray, np.ndarray]:
    """Spare rows with their clean labels where there are some, else the test set."""
    if made.twice is None:
        x, y = made.arguments["test"]
        return x, y
    n = len(made.arguments["train"][1])
    return made.twice[0][n:], made.twice[1][n:]
