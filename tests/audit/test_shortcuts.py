"""Shortcuts: planted cues are named, healthy models and legitimate dominance are not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import shortcuts
from heldout.audit.collectors import interventions, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.preparing import prepare


def audited(tmp_path, model, x, y, shifted=None):
    half = len(y) // 2
    fitted = model.fit(x[:half], y[:half])
    task = prepare(fitted, (x[:half], y[:half]), (x[half:], y[half:]), shifted)
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(tmp_path, manifest), Settings(), Speed(1e-6, 64))
    predictions.collect(context)
    interventions.collect(context)
    return shortcuts.run(context.artifacts)


def cancer(seed=0):
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    return x[order][:, :12], y[order]  # radius to fractal dimension, and two errors


def forest():
    return RandomForestClassifier(12, min_samples_leaf=2, random_state=0)


def test_an_added_column_is_named_and_a_shift_shows_it_broken(tmp_path):
    x, y = cancer()
    rng = np.random.default_rng(1)
    cue = np.where(rng.random(len(y)) < 0.95, y, 1 - y) + 0.1 * rng.normal(size=len(y))
    free = rng.integers(0, 2, len(y)) + 0.1 * rng.normal(size=len(y))
    shifted = {"real": (np.c_[x, free], y)}
    finding = audited(tmp_path, forest(), np.c_[x, cue], y, shifted)
    assert finding.status in ("warning", "failed")
    assert "column feature 12" in finding.reason and "real" in finding.reason
    assert finding.numbers["column feature 12"].ci_low > 0
    assert finding.examples == sorted(finding.examples, key=lambda e: -e.score)
    assert "[12]" in finding.actions[0].code and finding.actions[0].paper == "simplicity_bias"


def test_the_same_tables_without_the_column_pass(tmp_path):
    x, y = cancer()
    finding = audited(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()), x, y)
    assert finding.status == "passed" and not finding.actions and not finding.examples


def test_a_legitimate_column_that_decides_alone_passes(tmp_path):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1000, 6))
    y = (x[:, 2] + 0.1 * rng.normal(size=1000) > 0).astype(int)
    finding = audited(tmp_path, LogisticRegression(), x, y)
    assert finding.status == "passed" and "column feature 2" in finding.reason
    assert finding.numbers["column feature 2"].value > 0.8


class Flat(LogisticRegression):
    """A linear model of images."""

    def fit(self, x, y):
        return super().fit(x.reshape(len(x), -1), y)

    def predict_proba(self, x):
        return super().predict_proba(np.asarray(x).reshape(len(x), -1))


@pytest.mark.parametrize("planted", [True, False])
def test_a_bright_corner_of_an_image_is_named_only_where_it_is(tmp_path, planted):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(y))[:400]
    x, y = (x[order] / 16).reshape(-1, 1, 8, 8).astype(np.float32), (y[order] % 3 == 0).astype(int)
    if planted:
        x[:, 0, 0, 0] = y
    finding = audited(tmp_path, Flat(max_iter=300), x, y)
    assert (finding.status != "passed") == planted
    assert [f.kind for f in finding.figures] == ["grid", "intervals"]
    values = np.array(finding.figures[0].data["values"])
    assert values.shape == (4, 4) and (values.argmax() == 0) == planted
    if planted:
        assert "transplant" in finding.actions[0].code


def test_tokens_do_not_apply(tmp_path):
    import torch

    x = torch.randint(0, 9, (40, 6))
    y = np.arange(40) % 2
    task = prepare(lambda a: torch.stack([-a[:, 0], a[:, 0]], 1).float(), (x, y), (x, y))
    context = Context(task, Artifacts(tmp_path, {}), Settings(), Speed(1e-6, 64))
    with pytest.raises(NotApplicableError):
        interventions.collect(context)
    assert interventions.plan(task, Speed(1e-6, 64), Settings()).skip


def test_the_plan_keeps_slow_models_to_a_share_of_the_budget(tmp_path):
    x, y = cancer()
    task = prepare(forest().fit(x, y), (x, y), (x, y))
    fast = interventions.plan(task, Speed(1e-6, 96), Settings())
    slow = interventions.plan(task, Speed(9e-2, 96), Settings(budget_minutes=10))
    assert "569 test examples" in fast.note and "200 test examples" in slow.note
