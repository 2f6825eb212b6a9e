"""The stability check: a steady learner passes, one whose loss hangs on single rows does not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import stability as check
from heldout.audit.collectors import stability
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.preparing import prepare
from heldout.measures.complexity import NOTE


def clouds(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return rng.normal(size=(n, 5)) + 1.5 * y[:, None], y


class Constant:
    def __init__(self, label):
        self.label, self.classes_ = label, np.array([0, 1])

    def predict_proba(self, x):
        return np.tile(np.eye(2)[self.label] * 0.9 + 0.05, (len(x), 1))

    def predict(self, x):
        return np.full(len(x), self.label)


def steady(data, seed):
    x, y = data
    return LogisticRegression().fit(x, y)


def jumpy(data, seed):
    """Good with all examples, a constant without some of them."""
    x, y = data
    return LogisticRegression().fit(x, y) if len(y) == 200 else Constant(0)


def swapped(data, seed):
    """The same defect the other way round: only fewer examples are learned from."""
    x, y = data
    return LogisticRegression().fit(x, y) if len(y) < 200 else Constant(0)


def context_of(tmp_path, fit, n=200, **settings):
    train, test = clouds(n, 0), clouds(400, 1)
    task = prepare(LogisticRegression().fit(*train), train, test, fit=fit)
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": fit is not None}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    return Context(task, Artifacts(tmp_path, manifest), Settings(**settings), Speed(1e-6, 40))


def found_by(tmp_path, fit, **settings):
    context = context_of(tmp_path, fit, **settings)
    stability.collect(context)
    return check.run(context.artifacts), context


def test_a_steady_learner_passes(tmp_path):
    finding, context = found_by(tmp_path, steady)
    assert finding.status == "passed" and finding.evidence == 0 and not finding.actions
    assert NOTE in finding.reason
    numbers = finding.numbers
    assert numbers["alpha"].value < 0.03 and numbers["alpha"].n == 5
    assert numbers["beta"].value == pytest.approx(1 - 0.05 ** (1 / 5))
    estimate = numbers["error_from_training_data"]
    assert estimate.ci_low <= estimate.null <= estimate.ci_high
    stored = context.artifacts.read("stability/0")
    assert len(stored["rows"]) == 20 and len(stored["left"]) == 20 and len(stored["full"]) == 400


@pytest.mark.parametrize("fit", [jumpy, swapped])
def test_a_learner_that_jumps_is_found(tmp_path, fit):
    finding, _ = found_by(tmp_path, fit)
    assert finding.status == "warning" and finding.evidence > 30
    assert [a.id for a in finding.actions] == ["stability.average"]
    assert (finding.numbers["change"].value > 0) == (fit is jumpy)


def test_one_jump_in_five_is_not_enough(tmp_path):
    def fit(data, seed):
        return Constant(0) if seed == 3 and len(data.y) < 200 else steady(data, seed)

    finding, _ = found_by(tmp_path, fit)
    assert finding.status == "passed" and finding.numbers["alpha"].value > 0.3


def test_healthy_learners_hardly_ever_warn():
    """Twenty pairs of learners of the same error, small test sets: changes are chance."""
    rng = np.random.default_rng(0)
    warned = 0
    for _ in range(60):
        full = (rng.random((5, 100)) < 0.15).astype(float)
        less = np.where(rng.random((5, 100)) < 0.1, rng.random((5, 100)) < 0.15, full)
        from heldout.measures.loss_stability import stability_of

        found = stability_of(full, less, less[:, :20])
        warned += check._jumps(full.mean(1), less.mean(1), found) >= 2
    assert warned <= 1


def test_it_goes_on_where_it_stopped_and_shares_the_unchanged_fits(tmp_path):
    sizes = []

    def fit(data, seed):
        sizes.append(len(data.y))
        return steady(data, seed)

    context = context_of(tmp_path, fit)
    for seed in range(5):
        model = context.refit(seed=seed)
        context.keep(
            f"refits/{seed}/test",
            lambda m=model: {"logits": m(context.task.splits["test"].inputs).logits},
        )
    stability.collect(context)
    assert sizes == [200] * 5 + [180] * 5
    stability.collect(context)
    assert len(sizes) == 10


def test_without_fit_labels_time_or_enough_examples(tmp_path):
    context = context_of(tmp_path / "a", None)
    assert "no fit" in stability.plan(context.task, context.speed, context.settings).skip
    with pytest.raises(NotApplicableError, match="no fit"):
        stability.collect(context)
    with pytest.raises(NotApplicableError, match="too few"):
        stability.collect(context_of(tmp_path / "b", steady, n=30))
    slow = context_of(tmp_path / "c", steady)
    slow.fit_seconds.append(1e5)
    slow.deadline = 0.0
    with pytest.raises(SkippedError, match="would not fit the time"):
        stability.collect(slow)
    with pytest.raises(SkippedError, match="nothing was retrained"):
        check.run(slow.artifacts)
