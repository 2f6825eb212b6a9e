"""Canaries: what the user's own training makes of labels that were flipped on purpose."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import (
    Action,
    Check,
    Figure,
    Finding,
    NotApplicableError,
    Number,
    SkippedError,
    Status,
    number,
)
from heldout.dynamics.canary_verdict import INTERPOLATES, CanaryReport, classify_fit

SHARE = 0.1
"""Of the training labels that are flipped."""

CHECK = Check(
    id="canaries",
    part="why",
    title="Canaries",
    question="Does training learn wrong labels by heart, and what does that cost?",
    rule="10 % of the training labels are flipped, and the model is trained again. Warns when the "
    "share of flips that are predicted as flipped lies above 0.8 (95 % interval), and test "
    "accuracy falls by at least half of what a nearest neighbour would lose (95 % interval above "
    "0): tempered, or catastrophic where it falls by more than half way from there to the "
    "largest class's share. Passes when that share lies below 0.8 (not interpolating), or the "
    "loss below its limit (benign), with their intervals. Could not run otherwise, or when the "
    "flips are learned and the model without them is not surely better than the largest class.",
    needs=("predictions", "refits", "canaries"),
    paper="benign_xor",
    cost="1 or 2 retrainings",
    guide="A fit that predicts flipped labels as given has learned them one by one. That can be "
    "harmless (benign), cost its share as for a nearest neighbour (tempered), or everything "
    "(catastrophic). A fit that does not learn them is safe from wrong labels of this amount.",
)

_ACCURACY = "accuracy (0-1)"


def run(artifacts: Artifacts) -> Finding:
    """Compare the fits with flips to those without, by seed."""
    if not artifacts.has_fit:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    report = _report(artifacts)
    status = _status(report)
    found = status == "warning"
    return Finding(
        status,
        _reason(report, status),
        _numbers(report),
        actions=_actions(report) if found else [],
        figures=[_figure(report)],
        # what one wrong label in a hundred would cost
        evidence=report.lost.value / SHARE if found else 0.0,
    )


def _report(artifacts: Artifacts) -> CanaryReport:
    y, y_test = artifacts.labels("train"), artifacts.labels("test")
    if y is None or y_test is None:
        raise SkippedError("labels are needed of train and test")
    fitted, by_chance, right, reference = [], [], [], []
    for key in artifacts.keys("canaries"):
        seed = key.rsplit("/", 1)[1]
        if not all(artifacts.has(f"refits/{seed}/{name}") for name in ("train", "test")):
            continue
        stored = artifacts.read(key)
        train, test = (
            artifacts.read(f"refits/{seed}/{name}")["logits"].argmax(axis=1)
            for name in ("train", "test")
        )
        fitted.append(stored["answers"] == stored["labels"])
        by_chance.append(train[stored["rows"]] == stored["labels"])
        right.append(stored["right"])
        reference.append(test == y_test)
    if not fitted:
        raise SkippedError("the time allowed no fit with flipped labels; raise the budget")
    return classify_fit(
        np.concatenate(fitted),
        np.mean(right, axis=0),
        reference=np.mean(reference, axis=0),
        by_chance=np.concatenate(by_chance),
        share=SHARE,
        n_classes=len(artifacts.class_names),
        chance=float(np.bincount(y_test).max() / len(y_test)),
    )


def _status(report: CanaryReport) -> Status:
    if report.fitted.high < INTERPOLATES:
        return "passed"
    assert report.reference is not None
    room = 0 < report.proportional < report.total
    chance = report.reference.value - report.total
    if not room or report.reference.low <= chance:
        return "could_not_run"
    limit = report.proportional / 2
    if report.lost.high < limit:  # harmless, whether or not all flips were learned
        return "passed"
    learned = report.fitted.low > INTERPOLATES
    loses = report.lost.value >= limit and report.lost.low > 0
    return "warning" if learned and loses else "could_not_run"


def _reason(report: CanaryReport, status: Status) -> str:
    if report.word != "undecided" or status == "could_not_run":
        return f"{report.word[:1].upper()}{report.word[1:]}. {report.reason}."
    words = "Benign or not interpolating" if status == "passed" else "Not benign"
    return (
        f"{words}. {report.fitted.value:.0%} of the flipped labels are predicted as flipped; this "
        f"costs {report.lost.value:.3f} [{report.lost.low:.3f}, {report.lost.high:.3f}] of "
        f"accuracy, where a nearest neighbour would lose {report.proportional:.3f}."
    )


def _numbers(report: CanaryReport) -> dict[str, Number]:
    assert report.by_chance is not None and report.reference is not None
    return {
        "fitted": number(
            report.fitted, "share of flipped labels (0-1)", "higher",
            null=report.by_chance.value, null_label="fit without flips",
            guide="Flipped training labels that are predicted as flipped.",
        ),
        "lost": number(
            report.lost, _ACCURACY, "higher", null=0.0, null_label="nothing lost",
            guide="Test accuracy without flips minus with flips; a nearest neighbour would lose "
            f"{report.proportional:.3f}.",
        ),
        "accuracy": number(
            report.accuracy, _ACCURACY, "lower", null=report.reference.value,
            null_label="fit without flips",
            guide="On test data, whose labels are left alone, after training with flips.",
        ),
        "accuracy_without_flips": number(
            report.reference, _ACCURACY, "lower",
            guide="The same training with the same seeds on the labels as they are.",
        ),
    }  # fmt: skip


def _actions(report: CanaryReport) -> list[Action]:
    evidence = (
        f"Of flipped labels {report.fitted.value:.0%} are learned; accuracy falls by "
        f"{report.lost.value:.3f} ({report.lost.low:.3f} to {report.lost.high:.3f})."
    )
    return [
        Action(
            "canaries.regularize",
            "Train so that single labels are not learned by heart",
            evidence,
            "# a network: keep the epoch of best validation accuracy, and\n"
            "optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)\n"
            "# neighbours and trees: let several examples decide\n"
            "KNeighborsClassifier(n_neighbors=15)  # RandomForestClassifier(min_samples_leaf=5)",
            "one training, and another audit to see that the canaries are gone",
            "benign_xor",
        ),
        Action(
            "canaries.check_labels",
            "Check the training labels: each wrong one costs accuracy in this training",
            evidence,
            "suspects = report.checks['label_noise'].examples[:50]  # the most suspect first",
            "looking at 50 examples",
            "benign_xor",
        ),
    ]


def _figure(report: CanaryReport) -> Figure:
    assert report.reference is not None
    rows = [
        {"label": name, "value": i.value, "low": i.low, "high": i.high, "n": i.n, "mark": None}
        for name, i in (("labels as they are", report.reference), ("10 % flipped", report.accuracy))
    ]
    would = report.reference.value - report.proportional
    data = {
        "rows": rows,
        "x_label": "test accuracy",
        "reference": would,
        "reference_label": "as a nearest neighbour would lose",
        "mark_label": "",
    }
    alt = (
        f"Test accuracy {report.reference.value:.3f} with the labels as they are, "
        f"{report.accuracy.value:.3f} with 10 % flipped; a nearest neighbour: {would:.3f}."
    )
    return Figure("intervals", "Accuracy with and without flipped labels", data, alt)
