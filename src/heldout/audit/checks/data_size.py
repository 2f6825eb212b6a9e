"""Whether more data of the same kind would help: a learning curve and its forecast."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import (
    Action,
    Check,
    Figure,
    Finding,
    NotApplicableError,
    SkippedError,
    number,
)
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.measures.learning_curve import LearningCurve, fit_learning_curve

CHECK = Check(
    id="data_size",
    part="why",
    title="Amount of data",
    question="What would twice the training data bring?",
    rule="Warns when twice the data is forecast to bring at least 2 points of test accuracy and "
    "the 95 % interval of the expected gain excludes less than 1 point; passes otherwise.",
    needs=("predictions", "learning_curve"),
    uses=("refits",),
    paper="Hestness et al. 2017",
    cost="about 1.6 retrainings per seed, 2 to 5 seeds",
    guide="The model is retrained on nested parts of the training set; test error against size "
    "is fitted by a power law above a floor, and the interval includes that few sizes cannot "
    "tell a floor from a slow decline.",
)

_WORTH = 2.0
_SURE = 1.0


def run(artifacts: Artifacts) -> Finding:
    """Fit the curve to every finished seed and forecast twice the data."""
    if not artifacts.has_fit:
        raise NotApplicableError("no fit was passed, so nothing can be retrained")
    sizes, wrong = _measured(artifacts)
    curve = fit_learning_curve(sizes, wrong, stream(artifacts.seed, "data_size"))
    n = int(sizes[-1])
    now, twice = curve.at(n), curve.at(2 * n)
    gain = _points(curve.gain(n, 2 * n))
    seen = _points(curve.gain(n, 2 * n, observed=True))
    last = _points(_last_doubling(curve, n))
    worth = gain.value >= _WORTH and gain.low >= _SURE
    words = f"{gain.value:.1f} points ({gain.low:.1f} to {gain.high:.1f})"
    reason = f"Twice the data ({2 * n} examples) is forecast to bring {words} of test accuracy"
    reason += "." if worth else ", too little or too unsure to ask for it."
    numbers = {
        "gain_of_twice_the_data": number(
            seen, "points of test accuracy", "higher", null=0.0, null_label="curve is flat",
            guide="Accuracy still to be had from more data of the same kind, as a measurement "
            "with as many models and test examples would read it.",
        ),
        "expected_gain_of_twice_the_data": number(
            gain, "points of test accuracy", "higher", null=0.0, null_label="curve is flat",
            guide="The same without the noise of measuring it; what the verdict is made of.",
        ),
        "gain_of_last_doubling": number(
            last, "points of test accuracy", "higher", null=0.0, null_label="curve is flat",
            guide="What the last doubling of the training set brought, on the fitted curve.",
        ),
        "error_now": number(
            now, "error (0-1)", "higher",
            guide="Test error of the model retrained on all training data, on the fitted curve.",
        ),
        "error_with_twice_the_data": number(
            twice, "error (0-1)", "higher", null=now.value, null_label="now",
            guide="Forecast of the test error after collecting as much data again.",
        ),
    }  # fmt: skip
    return Finding(
        "warning" if worth else "passed",
        reason,
        numbers,
        actions=[_action(gain, seen, curve, n)] if worth else [],
        figures=[_figure(curve, n)],
        evidence=gain.value if worth else 0.0,
    )


def _measured(artifacts: Artifacts) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (k,), and errors of seeds x sizes x test examples; only complete seeds count."""
    stored: dict[int, dict[int, np.ndarray]] = {}
    for key in artifacts.keys("learning_curve"):
        found = artifacts.read(key)
        seed = int(key.rsplit("/", 1)[1].split("-")[0])
        stored.setdefault(seed, {})[int(found["rows"])] = found["wrong"]
    sizes = sorted({n for of in stored.values() for n in of})
    complete = [of for of in stored.values() if len(of) == len(sizes)]
    if not complete or len(sizes) < 3:
        raise SkippedError("the time allowed no complete learning curve; raise the budget")
    return np.array(sizes), np.stack([np.stack([of[n] for n in sizes]) for of in complete])


def _last_doubling(curve: LearningCurve, n: int) -> Interval:
    return curve.gain(n / 2, n)


def _points(i: Interval) -> Interval:
    return Interval(100 * i.value, 100 * i.low, 100 * i.high, i.n, i.level, i.method)


def _action(gain: Interval, seen: Interval, curve: LearningCurve, n: int) -> Action:
    spoken = ", ".join(
        f"{e:.1%} at {int(s)}" for s, e in zip(curve.sizes, curve.error, strict=True)
    )
    return Action(
        "data_size.collect",
        f"Collect twice the data ({n} more examples)",
        f"Test error {spoken} training examples; forecast {gain.value:.1f} points better "
        f"({gain.low:.1f} to {gain.high:.1f}) at {2 * n}",
        "# more of the same kind: same sources, same labelling rules\n"
        "X = np.concatenate([X_train, X_new])\ny = np.concatenate([y_train, y_new])\n"
        "fit((X, y), seed=0)",
        f"labelling {n} examples, and one retraining on twice the data",
        gain=number(
            seen, "points of test accuracy", "lower", null=0.0, null_label="no gain",
            guide="Extrapolated from the learning curve.",
        ),
        gain_kind="estimated",
    )  # fmt: skip


def _figure(curve: LearningCurve, n: int) -> Figure:
    at = np.geomspace(curve.sizes[0], 2 * n, 30)
    fitted = [curve.at(float(m)) for m in at]
    measured = {
        "name": "measured",
        "x": curve.sizes.tolist(),
        "y": curve.error.tolist(),
        "low": np.maximum(0, curve.error - 1.96 * curve.deviation).tolist(),
        "high": (curve.error + 1.96 * curve.deviation).tolist(),
    }
    law = {
        "name": "fitted, to twice the data",
        "x": at.tolist(),
        "y": [i.value for i in fitted],
        "low": [i.low for i in fitted],
        "high": [i.high for i in fitted],
    }
    data = {"series": [measured, law], "x_label": "training examples", "y_label": "test error",
            "log_x": True, "diagonal": False}  # fmt: skip
    ends = f"{curve.error[0]:.1%} at {int(curve.sizes[0])} to {curve.error[-1]:.1%} at {n}"
    alt = f"Test error falls from {ends} examples; {fitted[-1].value:.1%} forecast at {2 * n}."
    return Figure("lines", "Learning curve", data, alt)
