"""Data size: from retraining to the verdict, through the collector."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import data_size
from heldout.audit.collectors import learning_curve
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.preparing import prepare


def context(tmp_path, n, fit=None, deadline=float("inf")):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order] / 16, y[order]
    train, test = (x[:n], y[:n]), (x[-600:], y[-600:])
    given = None if fit is None else lambda d, seed: fit().fit(d.X, d.y)
    model = (fit or LogisticRegression)().fit(*train)
    task = prepare(model, train, test, fit=given)
    manifest = {"version": VERSION, "has_fit": fit is not None, "settings": {"seed": 0}}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    settings, speed = Settings(), Speed(1e-6, 64)
    return Context(task, Artifacts(tmp_path, manifest), settings, speed, deadline)


def test_few_digits_want_more_and_the_forecast_is_right(tmp_path):
    few = context(tmp_path / "few", 150, KNeighborsClassifier)
    learning_curve.collect(few)
    finding = data_size.run(few.artifacts)
    gain = finding.numbers["gain_of_twice_the_data"]
    assert finding.status == "warning" and finding.actions[0].gain.value == gain.value
    twice = context(tmp_path / "twice", 300, KNeighborsClassifier)
    test = few.task.splits["test"]
    reached = np.mean(twice.task.classifier(test.inputs).logits.argmax(1) == test.labels)
    now = 1 - finding.numbers["error_now"].value
    assert gain.ci_low - 2 <= 100 * (reached - now) <= gain.ci_high + 2


def test_a_task_learned_completely_wants_no_more(tmp_path):
    full = context(tmp_path, 1000, KNeighborsClassifier)
    learning_curve.collect(full)
    finding = data_size.run(full.artifacts)
    assert finding.status == "passed" and not finding.actions


def test_the_subsets_are_nested_and_the_full_refits_are_reused(tmp_path):
    calls = []

    class Counting(KNeighborsClassifier):
        def fit(self, x, y):
            calls.append(len(x))
            return super().fit(x, y)

    few = context(tmp_path, 200, Counting)
    test = few.task.splits["test"]
    for seed in range(learning_curve.SEEDS):
        few.keep(f"refits/{seed}/test", lambda: {"logits": few.task.classifier(test.inputs).logits})
    calls.clear()
    learning_curve.collect(few)
    assert 200 not in calls and set(calls) == {25, 50, 100, 150}
    sizes = [set(r.tolist()) for r in learning_curve._subsets(few.task, 0, 0)]
    assert all(a < b for a, b in zip(sizes, sizes[1:], strict=False))
    calls.clear()
    learning_curve.collect(few)
    assert not calls  # resumed: nothing is trained twice


def test_without_fit_it_does_not_apply_and_without_time_it_says_so(tmp_path):
    with pytest.raises(NotApplicableError):
        learning_curve.collect(context(tmp_path / "a", 200))
    with pytest.raises(NotApplicableError):
        data_size.run(context(tmp_path / "a", 200).artifacts)
    late = context(tmp_path / "b", 200, KNeighborsClassifier, deadline=0.0)
    late.fit_seconds.append(5.0)
    with pytest.raises(SkippedError, match="time left"):
        learning_curve.collect(late)
    with pytest.raises(SkippedError, match="budget"):
        data_size.run(late.artifacts)


def test_too_few_rows_to_take_parts_of(tmp_path):
    with pytest.raises(NotApplicableError, match="too few"):
        learning_curve.collect(context(tmp_path, 38, KNeighborsClassifier))
