"""Measured gains: closed forms, pairing, and that a changed ranking never inherits a gain."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from heldout.audit.actions import MIN_SEEDS, gain, measure_gains, ranked
from heldout.audit.artifacts import fresh
from heldout.audit.collect import describe, measure_speed
from heldout.audit.collectors import predictions, refits
from heldout.audit.context import Context, Settings
from heldout.audit.result import Action, Check, CheckResult, Example, Finding
from heldout.core.preparing import prepare


def test_gain_is_student_t_when_examples_do_not_vary():
    per_seed = np.array([0.01, 0.02, 0.03, 0.02, 0.02])
    found = gain(np.repeat(per_seed[:, None], 50, axis=1))
    low, high = stats.t.interval(0.95, 4, per_seed.mean(), stats.sem(per_seed))
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx((2.0, 100 * low, 100 * high))


def _coin(share):
    """A `fit` whose model is right on a share of the rows that grows with the training set."""

    def fit(dataset, seed):
        x, _ = dataset
        correct = min(1.0, share * len(x) / 100)

        def model(inputs):
            truth = inputs[:, 0].astype(int)
            right = np.random.default_rng(seed).random(len(inputs)) < correct
            return np.eye(2)[np.where(right, truth, 1 - truth)]

        return model

    return fit


def _context(folder, fit):
    y = np.arange(100) % 2
    x = np.column_stack([y, np.zeros(100)]).astype(float)
    task = prepare(fit((x, y), 0), (x, y), (x, y), fit=fit)
    settings = Settings()
    context = Context(task, fresh(folder, describe(task, settings)), settings, measure_speed(task))
    for seed in range(MIN_SEEDS):
        for split in ("train", "test"):
            context.keep(
                f"refits/{seed}/{split}",
                lambda seed=seed, split=split: {
                    "logits": context.refit(seed=seed)(task.splits[split].inputs).logits
                },
            )
            context.keep(
                f"predictions/{split}",
                lambda split=split: {
                    "logits": task.classifier(task.splits[split].inputs).logits,
                    "labels": task.splits[split].labels,
                    "index": task.splits[split].index,
                },
            )
    artifacts = context.artifacts
    artifacts.manifest["splits"] = {s: {} for s in ("train", "test")}
    return context


def _results(*actions, examples=()):
    check = Check("probe", "why", "Probe", "?", "never")
    finding = Finding("warning", "", actions=list(actions), examples=list(examples), evidence=1)
    return {"probe": CheckResult(check, finding)}


def test_dropping_half_the_data_is_measured_as_a_loss(tmp_path):
    context = _context(tmp_path, _coin(0.9))
    action = Action("probe.drop", "", "", "", "", change={"drop": list(range(50))})
    results = _results(action)
    measure_gains(context, results)
    (found,) = ranked(context.artifacts, results)
    assert found.gain_kind == "measured" and found.gain.n == MIN_SEEDS
    assert found.gain.ci_high < 0
    assert -60 < found.gain.value < -30  # 0.9 right with 100 rows, 0.45 with 50


def test_another_change_does_not_inherit_the_gain(tmp_path):
    context = _context(tmp_path, _coin(0.9))
    results = _results(Action("probe.drop", "", "", "", "", change={"drop": [1, 2]}))
    measure_gains(context, results)
    other = _results(Action("probe.drop", "", "", "", "", change={"drop": [1, 3]}))
    assert ranked(context.artifacts, results)[0].gain_kind == "measured"
    assert ranked(context.artifacts, other)[0].gain_kind == "unknown"


def test_leaked_test_rows_do_not_count(tmp_path):
    context = _context(tmp_path, _coin(0.9))
    action = Action("probe.drop", "", "", "", "", change={"drop": list(range(20))})
    results = _results(action)
    measure_gains(context, results)
    leaks = [Example(i, "test", 1.0, "copy", row=i) for i in range(40)]
    leakage = CheckResult(
        Check("leakage", "why", "Leakage", "?", ""), Finding("failed", "", examples=leaks)
    )
    (found,) = ranked(context.artifacts, results | {"leakage": leakage})
    assert "60 examples of test data" in found.gain.method


def test_shuffling_a_part_is_measured_where_the_part_means_nothing(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    real = y[:, None] + 0.6 * rng.normal(size=(200, 1))
    cue, noise = y[:, None] * 10.0, rng.integers(0, 2, (200, 1)) * 10.0
    here, elsewhere = np.hstack([real, cue]), np.hstack([real, noise])

    def fit(dataset, seed):
        return LogisticRegression().fit(*dataset)

    change = {"shuffle": {"cells": [1], "space": "input", "where": ["shifted/e"]}}
    task = prepare(fit((here, y), 0), (here, y), (here, y), {"e": (elsewhere, y)}, fit)
    settings = Settings()
    context = Context(
        task, fresh(tmp_path, describe(task, settings)), settings, measure_speed(task)
    )
    for module in (predictions, refits):
        module.collect(context)
    results = _results(Action("probe.shuffle", "", "", "", "", change=change))
    measure_gains(context, results)
    (found,) = ranked(context.artifacts, results)
    assert found.gain.unit == "points of accuracy on shifted data without the cue"
    assert found.gain.ci_low > 10


def test_without_time_nothing_is_claimed(tmp_path):
    context = _context(tmp_path, _coin(0.9))
    context.fit_seconds, context.deadline = [10.0], 0.0
    results = _results(Action("probe.drop", "", "", "", "", change={"drop": [1]}))
    measure_gains(context, results)
    (found,) = ranked(context.artifacts, results)
    assert found.gain is None and found.gain_kind == "unknown"
