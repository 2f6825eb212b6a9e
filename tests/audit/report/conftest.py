"""A realistic report, built from the contract that checks speak, and a hostile twin of it."""

import math

import numpy as np
import pytest

from heldout.audit.result import (
    Action,
    Check,
    CheckResult,
    Example,
    Figure,
    Finding,
    Number,
    Table,
)
from heldout.core.files import plain

HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    "{{7*7}}{% raw %}]]>\x1b[31m\u202eevil\ud800\n[bold]| `x` ${y} \\"
)


def _number(value, low, high, n, unit="accuracy (0-1)", worse="lower", **more):
    return Number(value, low, high, n, unit, worse, **more)


def _digit(rng, colour=False):
    y, x = np.mgrid[0:16, 0:16]
    ring = np.exp(-((np.hypot(x - 8, y - 8) - rng.uniform(3, 6)) ** 2) / 3)
    image = np.clip(255 * ring + rng.normal(0, 12, ring.shape), 0, 255).astype(int)
    return np.stack([image, image // 2, 255 - image], 2).tolist() if colour else image.tolist()


def _accuracy():
    splits = {
        "train": (0.994, 0.988, 0.997, 1257),
        "test": (0.931, 0.903, 0.952, 432),
        "shifted/gaussian noise, severity 3": (0.574, 0.526, 0.619, 432),
        "shifted/rotation": (0.812, 0.772, 0.846, 432),
    }
    numbers = {
        k: _number(*v, null=0.104, null_label="largest class", method="Wilson",
                   guide="Share of examples predicted right.")
        for k, v in splits.items()
    }  # fmt: skip
    rows = [
        {"label": k, "value": v[0], "low": v[1], "high": v[2], "n": v[3], "mark": None}
        for k, v in splits.items()
    ]
    data = {"rows": rows, "x_label": "accuracy", "reference": 0.104,
            "reference_label": "largest class", "mark_label": ""}  # fmt: skip
    return Finding(
        "warning",
        "Test accuracy 93.1% (90.3% to 95.2%, n = 432), but it falls on gaussian noise, "
        "severity 3 (57.4%) and rotation (81.2%).",
        numbers,
        figures=[Figure("intervals", "Accuracy by split", data, "Train 99.4%, test 93.1%.")],
        evidence=35.7,
    )


def _forecast():
    names = ["night", "blur", "occlusion", "contrast"]
    rows, numbers = [], {}
    for i, name in enumerate(names):
        value = 0.9 - 0.12 * i
        rows.append({"label": name, "value": value, "low": value - 0.05 * (i + 1),
                     "high": min(1.0, value + 0.04), "n": 400 + i,
                     "mark": None if i == 3 else value - 0.02})  # fmt: skip
        numbers[name] = _number(value, value - 0.05 * (i + 1), min(1.0, value + 0.04), 400 + i,
                                level=0.9, null=0.93, null_label="same as on test",
                                method="regression over perturbed sets",
                                guide=f"Expected accuracy on {name}, without labels.")  # fmt: skip
    data = {"rows": rows, "x_label": "accuracy", "reference": 0.931,
            "reference_label": "test", "mark_label": "truth, where labels exist"}  # fmt: skip
    table = Table(
        "Estimators", ["set", "ATC", "DoC", "meta-set", "truth"],
        [[n, 0.9 - 0.1 * i, 0.88 - 0.1 * i, 0.9 - 0.12 * i, None if i == 3 else 0.5]
         for i, n in enumerate(names)],
        "DoC is the difference of average confidence.",
    )  # fmt: skip
    return Finding(
        "warning", "The weakest set, contrast, is expected at 54.0% (34.0% to 58.0%).", numbers,
        tables=[table],
        figures=[Figure("intervals", "Expected accuracy", data, "Four shifted sets, 90% to 54%.")],
        evidence=20.0,
    )  # fmt: skip


def _label_noise(rng):
    examples = [
        Example(int(i), "train", float(s), f"labelled 3, predicted 8 with {s:.0%}", int(r))
        for r, (i, s) in enumerate(
            zip(rng.permutation(1257), np.linspace(0.99, 0, 1257), strict=True)
        )
    ]
    action = Action(
        "label_noise.relabel", "Drop or relabel 61 training examples",
        "Estimated 4.9% of the training labels are wrong (3.8% to 6.1%); 61 examples score "
        "above 0.8.",
        'rows = [e.index for e in report.checks["label_noise"].examples[:61]]\n'
        "train = Subset(train, sorted(set(range(len(train))) - set(rows)))",
        "about 20 minutes of looking, then one retraining",
        "data_diet",
        _number(1.8, 0.4, 3.1, 5, "points", null=0.0, null_label="no change",
                method="t interval over paired seeds",
                guide="Test accuracy after, minus before, over the same seeds."),
        "measured", {"drop": [1, 2, 3]},
    )  # fmt: skip
    curve = {
        "series": [
            {"name": "ranked by the check", "x": list(range(0, 101, 10)),
             "y": [1 - math.exp(-k / 3) for k in range(11)],
             "low": [max(0, 1 - math.exp(-k / 3) - 0.08) for k in range(11)],
             "high": [min(1, 1 - math.exp(-k / 3) + 0.08) for k in range(11)]},
            {"name": "random order", "x": [0, 100], "y": [0, 1], "low": None, "high": None},
        ],
        "x_label": "looked at, % of the ranking", "y_label": "share of suspects found",
        "log_x": False, "diagonal": False,
    }  # fmt: skip
    return Finding(
        "failed",
        "About 4.9% of the training labels look wrong (3.8% to 6.1%, n = 1,257).",
        {
            "rate": _number(0.049, 0.038, 0.061, 1257, "share of examples (0-1)", "higher",
                            null=0.0, null_label="clean labels", method="bootstrap",
                            guide="Estimated share of wrong labels in the training set."),
            "el2n": _number(0.412, 0.39, 0.44, 1257, "score", "higher",
                            null=float("nan"), method="bootstrap",
                            guide="Mean distance between prediction and label."),
        },
        examples, [action],
        figures=[
            Figure("thumbnails", "Twelve most suspect", {"items": [
                {"image": _digit(rng, i % 2 == 0), "caption": f"3 as 8, train {i}"}
                for i in range(12)]}, "Twelve digits whose label looks wrong."),
            Figure("lines", "How fast looking finds them", curve, "Rises to 95% at 100."),
        ],
        evidence=4.9,
    )  # fmt: skip


def _shortcuts():
    patches = [[0.0, 0.01, 0.02, 0.31], [0.0, 0.05, 0.04, 0.12],
               [0.01, 0.06, 0.05, None], [-0.01, 0.0, 0.01, 0.02]]  # fmt: skip
    bars = [{"label": "patch, top right corner of the image", "value": 0.31},
            {"label": "low frequencies", "value": 0.12},
            {"label": "high frequencies", "value": -0.02}]  # fmt: skip
    return Finding(
        "failed", "Shuffling the top right patch costs 31.0 points, more than any other region.",
        {"patch (0, 3)": _number(31.0, 27.2, 34.9, 432, "points", "higher", null=2.1,
                                 null_label="median patch", method="paired bootstrap",
                                 guide="Test accuracy lost when this patch is shuffled.")},
        actions=[Action("shortcuts.mask", "Mask the top right patch in training",
                        "One 4 x 4 patch decides 31 points.", "x[:, :, :4, 12:] = 0",
                        "one retraining", "simplicity_bias",
                        _number(2.4, -0.6, 5.4, 5, "points"), "estimated")],
        figures=[
            Figure("grid", "Accuracy lost by patch", {"values": patches, "label": "accuracy lost"},
                   "The top right patch costs most."),
            Figure("bars", "Largest drops", {"rows": bars, "x_label": "accuracy lost"},
                   "Top right 31%, low frequencies 12%."),
        ],
        evidence=31.0,
    )  # fmt: skip


def _calibration():
    diagram = {"series": [{"name": "test", "x": [0.35, 0.55, 0.75, 0.95],
                           "y": [0.3, 0.5, 0.66, 0.93], "low": [0.1, 0.35, 0.55, 0.9],
                           "high": [0.5, 0.65, 0.76, 0.95]}],
               "x_label": "confidence", "y_label": "accuracy", "log_x": False,
               "diagonal": True}  # fmt: skip
    return Finding(
        "passed", "Confidence is 2.1 points off (1.0 to 3.3) on average.",
        {"ece": _number(0.021, 0.010, 0.033, 432, "calibration error (0-1)", "higher", null=0.012,
                        null_label="a calibrated model of this size", method="bootstrap",
                        guide="Mean distance between confidence and accuracy.")},
        figures=[Figure("lines", "Reliability", diagram, "Close to the diagonal.")],
    )  # fmt: skip


def _leakage():
    rows = {"alcohol": 13.2, "malic acid": 1.78, "ash": 2.14, "hue": 1.05}
    examples = [Example(i, "test", 1.0 - i / 100, f"equals train {i + 7}", i) for i in range(30)]
    return Finding(
        "warning", "30 of 432 test examples (6.9%) also stand in the training set.",
        {"test": _number(0.069, 0.049, 0.097, 432, "share of examples (0-1)", "higher", null=0.0,
                         null_label="no overlap", method="Wilson",
                         guide="Share of test examples with a twin in train.")},
        examples,
        [Action("leakage.dedup", "Remove 30 duplicates from the test set",
                "They inflate the test accuracy by an estimated 0.5 points.",
                "test = Subset(test, keep)", "seconds")],
        evidence=0.5,
    ), rows  # fmt: skip


def _check(name, part, title, question="Is it so?"):
    return Check(name, part, title, question, "Warns above 1%; fails above 3%.",
                 paper="data_diet" if name == "label_noise" else None,
                 cost="one forward pass", guide="The larger, the more suspect.")  # fmt: skip


def build():
    """Return the report's dict."""
    rng = np.random.default_rng(0)
    record = {"hit_rate": {"value": 0.94, "ci_low": 0.83, "ci_high": 0.98, "n": 50},
              "false_alarm_rate": {"value": 0.02, "ci_low": 0.0, "ci_high": 0.1, "n": 48},
              "zoo": "models with known defects, held-out half"}  # fmt: skip
    leakage, row = _leakage()
    none = Finding("not_applicable", "No metadata was given, and every class has an example.")
    gap = _number(6.3, 4.0, 9.1, 432, "points", "higher", null=0.0, null_label="no gap",
                  method="Newcombe", guide="Train minus test accuracy.")  # fmt: skip
    unsure = _number(0.31, math.nan, math.nan, 512, "coherence (0-1)", "lower", null=0.02,
                     null_label="random labels", guide="No interval: one batch.")  # fmt: skip
    close = Finding("passed", "Train is 6.3 points above test.", {"gap": gap})
    coherent = Finding("passed", "Coherence 0.31 is above its null.", {"coherence": unsure})
    late = Finding("could_not_run", "It needs fit, which was not given.")
    wrong = "Which labels look wrong?"
    said = [
        (_check("accuracy", "how_well", "Accuracy", "How often is it right?"), _accuracy(), None),
        (_check("gap", "how_well", "Gap"), close, None),
        (_check("groups", "how_well", "Weakest groups"), none, None),
        (_check("calibration", "how_well", "Calibration"), _calibration(), None),
        (_check("shift_forecast", "how_well", "Shift forecast"), _forecast(), None),
        (_check("leakage", "why", "Leakage"), leakage, record),
        (_check("label_noise", "why", "Label noise", wrong), _label_noise(rng), record),
        (_check("memorization", "why", "Memorization"), coherent, None),
        (_check("shortcuts", "why", "Shortcuts", "What does it use?"), _shortcuts(), record),
        (_check("numerics", "why", "Numerics"), Finding("passed", "No softmax collapse."), None),
        (_check("data_size", "why", "Data size"), late, None),
    ]
    checks = {c.id: CheckResult(c, f, t, 0.5).to_dict() for c, f, t in said}
    for i, e in enumerate(checks["label_noise"]["examples"][:12]):
        e["preview"] = {"image": np.asarray(_digit(rng))[:, :, None].tolist(), "i": i}
    for e in checks["leakage"]["examples"][:12]:
        e["preview"] = {"row": row}
    actions = [a | {"check": c} for c, v in checks.items() for a in v["actions"]]
    known = [a for a in actions if a["gain"]]
    actions = sorted(known, key=lambda a: -a["gain"]["value"]) + [
        a for a in actions if not a["gain"]
    ]
    shifted = _number(0.764, 0.634, 0.861, 4, level=0.9, null=0.931, null_label="test accuracy",
                      method="mean of the forecasts", guide="Mean over the shifted sets, "
                      "without their labels.")  # fmt: skip
    return plain({
        "schema_version": 1, "heldout_version": "0.1.0", "created": "2025-03-01T12:34:56+00:00",
        "title": "Digits with a small CNN",
        "headline": {
            "word": "not ready",
            "sentence": "Expect 76.4% on shifted data, 16.7 points below the test set; one patch "
            "of the image carries the decision, and about 5% of the labels look wrong.",
            "rule": "Not ready when any check fails; caution when any warns; else ready.",
            "because": ["shortcuts", "label_noise"],
            "shifted_accuracy": vars(shifted),
            "test_accuracy": checks["accuracy"]["numbers"]["test"],
            "gap": checks["gap"]["numbers"]["gap"],
        },
        "data": {
            "splits": {"train": {"n": 1257, "total": 1257, "labelled": True},
                       "test": {"n": 432, "total": 432, "labelled": True},
                       "shifted/night": {"n": 400, "total": 52000, "labelled": False}},
            "class_names": [str(i) for i in range(10)], "inputs": "image", "model": "Sequential",
            "parameters": 5130, "has_fit": True,
        },
        "checks": checks, "actions": actions,
        "settings": {"seed": 0, "budget_minutes": 10.0, "max_examples": 20000, "out": "audit/",
                     "exclude_kinds": []},
        "environment": {"python": "3.11.2", "torch": "2.5.1", "platform": "Linux", "cores": 2},
        "timings": {"predictions": 1.234, "crossfit": 132.0, "report": 0.04},
    })  # fmt: skip


def poison(value, path=()):
    """Return the report with every free string replaced by a hostile one."""
    fixed = {"word", "because", "status", "part", "kind", "worse", "gain_kind", "inputs",
             "created", "check"}  # fmt: skip
    if isinstance(value, dict):
        if path and path[-1] in ("numbers", "splits", "settings", "environment", "row", "timings"):
            return {f"{k}{HOSTILE}": poison(v, (*path, k)) for k, v in value.items()}
        return {k: poison(v, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [poison(v, (*path, "")) if path[-1] not in ("because",) else v for v in value]
    if isinstance(value, str) and path[-1] not in fixed:
        keeps = path[-1] == "id" and len(path) == 3
        return value if keeps else value + HOSTILE
    return value


@pytest.fixture(scope="session")
def built():
    return build()


@pytest.fixture
def report(built):
    import copy

    return copy.deepcopy(built)


@pytest.fixture(scope="session")
def hostile(built):
    return poison(built)
