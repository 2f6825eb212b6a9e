"""Stability: how far the held-out error moves when a tenth of the examples is left out."""

from __future__ import annotations

import math

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.result import Action, Check, Figure, Finding, Number, SkippedError, number
from heldout.core.interval import Interval
from heldout.core.statistics import mean
from heldout.measures.complexity import NOTE
from heldout.measures.loss_stability import LossStability, estimation_error, stability_of

CHECK = Check(
    id="stability",
    part="how_well",
    title="Loss stability",
    question="Does the held-out error stay where it is when a tenth of the examples is left out?",
    rule="Trains three to five times with and without a random tenth of the training examples, the "
    "seed being the same. Warns when in two of these or more the test error changes by over 3 "
    "points and by over a quarter of the larger of both errors, whole 99 % interval of the "
    "paired change; passes otherwise.",
    needs=("predictions", "stability"),
    paper="no_tight_bounds",
    cost="three to five fits of nine tenths of the examples, within a tenth of the budget",
    guide="A learner whose loss hardly moves when it gets fewer examples has a loss that can be "
    "estimated from its training data: leave k out, and measure there. Of one whose loss jumps "
    "neither a bound nor a split says much about the next training. " + NOTE,
)

_POINTS, _SHARE, _TIMES, _Z = 0.03, 0.25, 2, 2.576
_DELTA = 0.1


def run(artifacts: Artifacts) -> Finding:
    """Judge the changes; give the interval that stability grants an estimate."""
    stored: list[Arrays] = []
    while artifacts.has(f"stability/{len(stored)}"):
        stored.append(artifacts.read(f"stability/{len(stored)}"))
    if not stored:
        raise SkippedError("nothing was retrained without some of the examples")
    full, less, left = (np.array([s[k] for s in stored]) for k in ("full", "less", "left"))
    found = stability_of(full, less, left)
    jumps = _jumps(full.mean(axis=1), less.mean(axis=1), found)
    warned = jumps >= _TIMES
    return Finding(
        "warning" if warned else "passed",
        _reason(found, jumps, len(stored)),
        _numbers(found),
        actions=_actions(found) if warned else [],
        figures=[_figure(found)],
        evidence=100 * found.alpha if warned else 0.0,
    )


def _jumps(full: np.ndarray, less: np.ndarray, found: LossStability) -> int:
    margin = np.maximum(_POINTS, _SHARE * np.maximum(full, less))
    least = np.abs(found.changes) - found.errors * _Z / 1.96
    return int((least > margin).sum())


def _reason(found: LossStability, jumps: int, repeats: int) -> str:
    said = (
        f"Without {found.k} of the training examples the test error changed by at most "
        f"{100 * found.alpha:.1f} points in {repeats} trainings (with its sampling error "
        f"{100 * found.alpha_high:.1f})"
    )
    if jumps >= _TIMES:
        said += f"; in {jumps} it changed by more than stability allows"
    # The bare theorem, were alpha certain; `beta` says how uncertain it is.
    eps = estimation_error(found.alpha, 0.0, found.k, _DELTA)
    return (
        f"{said}. Were {100 * found.alpha:.1f} points never exceeded, an error measured on "
        f"{found.k} left-out examples would be within {100 * min(eps, 1):.1f} points of the truth, "
        f"nine times in ten; that many trainings show only that it is exceeded less than "
        f"{found.beta:.0%} of the time (95 %). {NOTE}"
    )


def _numbers(found: LossStability) -> dict[str, Number]:
    repeats = len(found.changes)
    eps = min(1.0, estimation_error(found.alpha, 0.0, found.k, _DELTA))
    alpha = Interval(found.alpha, float(np.abs(found.changes).min()), found.alpha_high, repeats,
                     method="smallest change, and largest with its sampling error")  # fmt: skip
    beta = Interval(found.beta, 0.0, found.beta, repeats, method="exact, from none above alpha")
    return {
        "alpha": number(
            alpha, "change of test error (0-1)", "higher", null=0.0, null_label="stable",
            guide="Largest change of the test error when a tenth of the examples is left out.",
        ),
        "beta": number(
            beta, "probability (0-1)", "higher",
            guide="Another training changes by more than alpha with at most this probability.",
        ),
        "change": number(
            mean(found.changes), "change of test error (0-1)", "higher", null=0.0,
            null_label="no change", guide="Mean over trainings: fewer examples minus all.",
        ),
        "error_from_training_data": number(
            Interval(found.estimate, max(0.0, found.estimate - eps),
                     min(1.0, found.estimate + eps), found.k,
                     level=1 - _DELTA, method="alpha plus Hoeffding's inequality, if beta is 0"),
            "error (0-1)", "higher", null=found.loss, null_label="error on the test set",
            guide="Error on left-out training examples, with the interval that stability grants.",
        ),
    }  # fmt: skip


def _actions(found: LossStability) -> list[Action]:
    return [
        Action(
            "stability.average",
            "Average several trainings, or look for what makes single ones fail",
            f"The test error moves by up to {found.alpha:.1%} when a tenth of the examples is left "
            "out, so the next training may be far from this one.",
            "models = [fit(train, seed) for seed in range(5)]\n"
            "logits = torch.stack([m(x).log_softmax(-1) for m in models]).mean(0)",
            "five trainings",
            "no_tight_bounds",
        )
    ]


def _figure(found: LossStability) -> Figure:
    rows = [
        {"label": f"training {i + 1}", "value": float(c), "low": float(c - e),
         "high": float(c + e), "n": found.k, "mark": None}
        for i, (c, e) in enumerate(zip(found.changes, found.errors, strict=True))
    ]  # fmt: skip
    data = {
        "rows": rows, "x_label": "test error with fewer examples minus with all",
        "reference": 0.0, "reference_label": "no change", "mark_label": "",
    }  # fmt: skip
    largest = 0.0 if math.isnan(found.alpha) else found.alpha
    alt = f"Changes of the test error in {len(rows)} trainings, the largest {largest:.1%}."
    return Figure("intervals", "Test error without a tenth of the examples", data, alt)
