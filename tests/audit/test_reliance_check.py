"""Idle complements inside `shortcuts`: a part that the model hangs on though the rest would do."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import shortcuts
from heldout.audit.collectors import interventions, predictions, reliance
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.preparing import prepare


def context_of(folder, model, x, y, half=None):
    half = half or len(y) // 2
    fitted = model.fit(x[:half], y[:half])
    task = prepare(fitted, (x[:half], y[:half]), (x[half:], y[half:]))
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(folder, manifest), Settings(), Speed(1e-6, 64))
    predictions.collect(context)
    interventions.collect(context)
    return context


def audited(folder, model, x, y):
    context = context_of(folder, model, x, y)
    before = shortcuts.run(context.artifacts)
    reliance.collect(context)
    return before, shortcuts.run(context.artifacts), context


def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x = StandardScaler().fit_transform(x)[order]
    return np.c_[x[:, 27], x[:, :20]], y[order]  # worst concave points first


def loud(x):
    """One real column left unscaled: neighbours are then neighbours in it alone."""
    return np.c_[1000 * x[:, :1], x[:, 1:]]


def test_a_real_column_that_drowns_the_rest_is_found_by_the_idle_rest_only(tmp_path):
    x, y = cancer()
    model = KNeighborsClassifier(15)
    before, found, context = audited(tmp_path, model, loud(x), y)
    assert before.status == "passed"  # it is related to the rest, as parts of one object are
    assert found.status == "warning" and "column feature 0 alone" in found.reason
    n = found.numbers
    assert n["column feature 0: part randomized"].ci_high < 0.65
    assert n["column feature 0: rest randomized"].value == n["column feature 0: as it is"].value
    assert n["column feature 0: probe on the rest"].ci_low > 0.85
    assert found.tables[-1].rows[0][-1] == "shortcut" and found.evidence > 20
    assert found.actions[0].change["shuffle"]["cells"] == [0]
    assert "probe that sees all else" in found.actions[0].evidence
    stored = reliance.found_of(context.artifacts)
    assert 0 in stored and stored[0].share < 0.1


def test_the_same_column_scaled_is_one_of_many(tmp_path):
    x, y = cancer()
    _, found, context = audited(tmp_path, KNeighborsClassifier(15), x, y)
    assert found.status == "passed" and not found.actions
    assert len(context.artifacts.read("reliance/parts")["parts"]) == 0


def test_a_part_without_which_nothing_is_left_to_use_passes(tmp_path):
    x, y = cancer()
    rest = np.random.default_rng(1).normal(size=(len(y), 8))
    _, found, _ = audited(tmp_path, KNeighborsClassifier(15), np.c_[1000 * x[:, :1], rest], y)
    assert found.status == "passed"
    assert found.tables[-1].title == "Is the rest idle?"
    assert found.tables[-1].rows[0][-1] == "only source"


def test_uneven_classes_are_judged_by_auc(tmp_path):
    rng = np.random.default_rng(2)
    y = (rng.random(1200) < 0.2).astype(int)
    x = rng.normal(size=(1200, 4)) + 2.5 * y[:, None] * np.array([1, 1, 1, 0])
    _, found, _ = audited(tmp_path, LogisticRegression(C=1e-6), np.c_[1e4 * x[:, :1], x[:, 1:]], y)
    assert found.numbers["column feature 0: as it is"].unit == "AUC (0-1)"
    assert found.status == "warning" and "AUC is" in found.reason


def test_few_rows_tokens_and_slow_models(tmp_path):
    x, y = cancer()
    context = context_of(tmp_path / "a", make_pipeline(LogisticRegression()), x, y, len(y) - 40)
    with pytest.raises(SkippedError, match="fewer than 50"):
        reliance.collect(context)
    assert reliance.found_of(context.artifacts) == {}
    empty = Context(context.task, Artifacts(tmp_path / "b", {}), Settings(), Speed(1e-6, 64))
    with pytest.raises(SkippedError, match="interventions"):
        reliance.collect(empty)
    empty.artifacts.manifest["collectors"] = {
        "interventions": {"state": "not_applicable", "reason": "token ids", "seconds": 0.0}
    }
    with pytest.raises(NotApplicableError, match="token ids"):
        reliance.collect(empty)
    slow = reliance.plan(context.task, Speed(0.5, 64), Settings())
    fast = reliance.plan(context.task, Speed(1e-6, 64), Settings())
    assert "5 permutations" in slow.note and "10 permutations" in fast.note
