"""Overtraining: whether the last layer is at its interpolation peak, and what stopping brings."""

from __future__ import annotations

from typing import Literal

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts, unpacked
from heldout.audit.result import (
    Action,
    Check,
    Figure,
    Finding,
    Number,
    SkippedError,
    number,
)
from heldout.core.interval import Interval
from heldout.core.statistics import paired_difference

CHECK = Check(
    id="overtraining",
    part="why",
    title="Overtraining",
    question="Is the last layer at its interpolation peak, and what would stopping early bring?",
    rule="A last linear layer is trained from zero on the model's features. Warns when its error "
    "at the end is 1.5 times its early-stopped error or more on left-out training examples (whole "
    "95 % interval), and stopped there it is right on at least 2 points more of the test examples "
    "than the model itself (95 % interval above 0) but on fewer of the training examples (95 % "
    "interval below 0); passes otherwise. Could not run when it would warn, but only a sample of "
    "the training set was read.",
    needs=("predictions", "overtraining"),
    paper="high_dim_dynamics",
    cost="up to 40 eigendecompositions of the features' covariance, 8 s at most",
    guide="Where there are about as many features as training examples, training to the end fits "
    "the noise of the labels along directions that hardly vary, and these decide on new "
    "examples: the interpolation peak. Stopping early, regularizing or many more features avoid "
    "it. The features are taken as they are; what training them too long did is not seen.",
)

_WORTH = 0.02


def run(artifacts: Artifacts) -> Finding:
    """Judge the ratio of final to early-stopped error, and the accuracy that stopping brings."""
    stored = artifacts.read("overtraining/readout")
    ratio = _ratio(stored)
    own = _right(artifacts, "test")
    gain = _points(paired_difference(stored["stopped"].astype(float), own))
    peak = bool(stored["at_peak"])
    # a model that was trained too little is beaten as well, but does not fit its labels better
    fit = paired_difference(stored["stopped_train"].astype(float), _right(artifacts, "train"))
    found = peak and gain.value >= 100 * _WORTH and gain.low > 0 > fit.high
    n = len(artifacts.index("train"))
    if found and n < int(stored["total"]):
        raise SkippedError(
            f"{n} of {int(stored['total'])} training examples were read; on these alone the last "
            "layer would be at its peak, which moves with their number: raise max_examples"
        )
    return Finding(
        "warning" if found else "passed",
        _reason(ratio, gain, peak, found),
        _numbers(stored, ratio, gain, n),
        actions=_actions(stored, ratio, gain) if found else [],
        figures=[_figure(stored, float(own.mean()))],
        evidence=gain.value if found else 0.0,
    )


def _right(artifacts: Artifacts, split: str) -> np.ndarray:
    return artifacts.correct(split).astype(float)


def _ratio(stored: Arrays) -> Interval:
    return unpacked(stored["ratio"], "student t of the log ratio over blocks left out")


def _points(i: Interval) -> Interval:
    return Interval(100 * i.value, 100 * i.low, 100 * i.high, i.n, i.level, i.method)


def _reason(ratio: Interval, gain: Interval, peak: bool, found: bool) -> str:
    said = (
        f"trained to the end, a last layer has {ratio.value:.3g} times its early-stopped error "
        f"({ratio.low:.3g} to {ratio.high:.3g})"
    )
    change = f"{gain.value:+.1f} points of test accuracy ({gain.low:.1f} to {gain.high:.1f})"
    if found:
        return (
            f"At the interpolation peak: {said}. Against the model itself, stopping early would "
            f"bring {change}."
        )
    if peak and gain.value >= 100 * _WORTH and gain.low > 0:
        return (
            f"The features have an interpolation peak: {said}. A stopped layer would bring "
            f"{change}, but the model itself does not fit its training labels better: it was "
            "trained too little rather than too long."
        )
    if peak:
        return (
            f"The features have an interpolation peak: {said}. But no clear gain over the model "
            f"itself comes of stopping early: {change}."
        )
    return f"Not at an interpolation peak: {said}."


def _numbers(stored: Arrays, ratio: Interval, gain: Interval, n: int) -> dict[str, Number]:
    numbers = {
        "ratio": number(
            ratio, "final over early-stopped error", "higher", null=1.0,
            null_label="training longer does no harm",
            guide="On training examples that were left out, of a last layer trained from zero.",
        ),
        "gain_of_stopping": number(
            gain, "points of test accuracy", "higher", null=0.0, null_label="nothing to gain",
            guide="An early-stopped last layer minus the model itself, on the same test examples.",
        ),
        "examples_per_feature": _exact(
            float(stored["alpha"]), n, "examples per varying feature", "lower", 1.0,
            "the peak of theory", "Training examples over features that vary; worst at about 1.",
        ),
        "frozen": _exact(
            float(stored["frozen"]), n, "share of directions (0-1)", "higher", 0.0,
            "every direction is seen", "Weight directions in which no training example varies.",
        ),
    }  # fmt: skip
    if wider := _wider(stored):
        features, final, now = wider
        numbers["error_with_twice_the_features"] = Number(
            final, float("nan"), float("nan"), ratio.n, "squared error over label variance",
            "higher", null=now, null_label="features as they are",
            guide=f"At the end of training, on left-out examples, with {features} features: random "
            "ReLU features of the given ones beside them. A hint without an interval.",
        )  # fmt: skip
    return numbers


def _exact(
    value: float, n: int, unit: str, worse: Literal["higher", "lower"], null: float, label: str,
    guide: str,
) -> Number:  # fmt: skip
    return Number(
        value, value, value, n, unit, worse, null=null, null_label=label,
        method="exact for these features", guide=guide,
    )  # fmt: skip


def _wider(stored: Arrays) -> tuple[int, float, float] | None:
    """Twice the features, final error on them, and that on the given ones."""
    rows = stored["widths"]
    if len(rows) < 2:
        return None
    return int(rows[1, 0]), float(rows[1, 1]), float(rows[0, 1])


def _actions(stored: Arrays, ratio: Interval, gain: Interval) -> list[Action]:
    evidence = (
        f"At the end {ratio.value:.3g} times the early-stopped error "
        f"({ratio.low:.3g} to {ratio.high:.3g}) at {float(stored['alpha']):.2f} examples per "
        "feature."
    )
    brings = number(
        gain, "points of accuracy on test data", "lower", null=0.0, null_label="no change",
        guide="Of a last layer retrained on the model's features and stopped early.",
    )  # fmt: skip
    actions = [
        Action(
            "overtraining.stop",
            "Stop training early",
            evidence,
            "if accuracy(model, validation) > best:  # after every epoch\n"
            "    best, kept = accuracy(model, validation), copy.deepcopy(model.state_dict())\n"
            "model.load_state_dict(kept)  # at the end",
            "one training with validation data",
            "high_dim_dynamics",
            gain=brings,
            gain_kind="estimated",
        ),
        Action(
            "overtraining.regularize",
            "Refit the last layer with a penalty",
            evidence + " The best penalty does about what the best stopping time does.",
            "head = RidgeClassifierCV(alphas=np.logspace(-4, 4, 17)).fit(features, y_train)",
            "seconds, on the features of the training examples",
            "high_dim_dynamics",
            gain=brings,
            gain_kind="estimated",
        ),
    ]
    wider = _wider(stored)
    if wider and wider[1] < 0.9 * wider[2]:
        actions.append(
            Action(
                "overtraining.widen",
                "Widen the last layer beyond twice its features",
                f"With {wider[0]} features the error at the end is {wider[1]:.3g} instead of "
                f"{wider[2]:.3g}, in units of the labels' variance.",
                "torch.nn.Linear(inputs, 4 * hidden)  # and the layer after it accordingly",
                "one training of a wider network",
                "high_dim_dynamics",
            )
        )
    return actions


def _figure(stored: Arrays, accuracy: float) -> Figure:
    times, errors = stored["times"], stored["errors"]
    flat = {"x": [float(times[0]), float(times[-1])], "y": [1 - accuracy] * 2}
    data = {
        "series": [
            {"name": "last layer retrained", "x": times.tolist(), "y": errors.tolist(),
             "low": None, "high": None},
            {"name": "the model itself", **flat, "low": None, "high": None},
        ],
        "x_label": "training time (1 = the best)",
        "y_label": "test error",
        "log_x": True,
        "diagonal": False,
    }  # fmt: skip
    best = float(np.interp(0.0, np.log(times), errors))
    alt = (
        f"Test error of a last layer by length of training: {best:.1%} when stopped, "
        f"{float(errors[-1]):.1%} at the end; the model itself {1 - accuracy:.1%}."
    )
    return Figure("lines", "Error by length of training", data, alt)
