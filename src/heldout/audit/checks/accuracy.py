"""Accuracy on train, test and every labelled shifted set."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import Check, Figure, Finding, Number, number
from heldout.core.statistics import difference, proportion

CHECK = Check(
    id="accuracy",
    part="how_well",
    title="Accuracy",
    question="How often is the model right, and how sure is that number?",
    rule="Fails when the test accuracy is not above always guessing the largest training class; "
    "warns when its interval is wider than 10 points, or when a labelled shifted set is more "
    "than 5 points below the test set beyond chance.",
    cost="none beyond one forward pass",
    guide="Share of right answers. The bar is where the true accuracy lies with 95 % confidence, "
    "given how many examples were tested. The line marks guessing the largest class.",
)

_WIDE = 0.10
_DROP = 0.05


def run(artifacts: Artifacts) -> Finding:
    """Wilson intervals of every labelled split, and Newcombe's of the drops."""
    labelled = [s for s in artifacts.splits if artifacts.labels(s) is not None]
    hits = {s: artifacts.correct(s) for s in labelled}
    found = {s: proportion(int(h.sum()), len(h)) for s, h in hits.items()}
    guess = _majority(artifacts)
    numbers = {s: _number(i, guess) for s, i in found.items()}
    drops = {s: difference(found["test"], found[s]) for s in labelled if s.startswith("shifted/")}
    fallen = [s for s, d in drops.items() if d.low > _DROP]
    test = found["test"]
    words = f"Test accuracy {test.value:.1%} ({test.low:.1%} to {test.high:.1%}, n = {test.n})"
    worst = max((drops[s].value for s in fallen), default=0.0)
    if test.low <= guess:
        status, reason = "failed", f"{words} is not clearly above guessing ({guess:.1%})."
    elif fallen:
        status = "warning"
        names = ", ".join(f"{s.removeprefix('shifted/')} ({found[s].value:.1%})" for s in fallen)
        reason = f"{words}, but it falls on {names}."
    elif test.high - test.low > _WIDE:
        status, reason = "warning", f"{words}: too few test examples to say more."
    else:
        status, reason = "passed", f"{words}, against {guess:.1%} by guessing."
    return Finding(
        status,  # type: ignore[arg-type]
        reason,
        numbers,
        figures=[_figure(numbers, guess)],
        evidence=100 * worst,
    )


def _majority(artifacts: Artifacts) -> float:
    """Test accuracy of always answering the largest class of the training set."""
    train, test = artifacts.labels("train"), artifacts.labels("test")
    assert train is not None and test is not None
    return float(np.mean(test == np.bincount(train).argmax()))


def _number(interval: object, guess: float) -> Number:
    return number(
        interval,  # type: ignore[arg-type]
        "accuracy (0-1)",
        "lower",
        null=guess,
        null_label="largest class",
        guide="Share of examples predicted right.",
    )


def _figure(numbers: dict[str, Number], guess: float) -> Figure:
    rows = [
        {"label": s, "value": x.value, "low": x.ci_low, "high": x.ci_high, "n": x.n, "mark": None}
        for s, x in numbers.items()
    ]
    spoken = "; ".join(f"{r['label']} {r['value']:.1%}" for r in rows)
    data = {"rows": rows, "x_label": "accuracy", "reference": guess,
            "reference_label": "largest class", "mark_label": ""}  # fmt: skip
    return Figure("intervals", "Accuracy by split", data, f"Accuracy: {spoken}.")
