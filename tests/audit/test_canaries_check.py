"""The canaries check: fits that interpolate are told from those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import canaries as check
from heldout.audit.collectors import canaries, refits
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.preparing import prepare


def rings(n, seed, classes=2):
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    x = rng.normal(size=(n, 3))
    x[:, 0] += 6 * y
    return x, y


def context(tmp_path, fit=None, n=300, deadline=float("inf"), train=None):
    train = train or rings(n, 0)
    task = prepare(KNeighborsClassifier(1).fit(*train), train, rings(600, 1), fit=fit)
    manifest = {"version": VERSION, "has_fit": fit is not None, "settings": {"seed": 0}}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    made = Context(task, Artifacts(tmp_path, manifest), Settings(), Speed(1e-6, 24), deadline)
    for name, split in task.splits.items():
        made.keep(
            f"predictions/{name}",
            lambda s=split: {"logits": task.classifier(s.inputs).logits, "labels": s.labels},
        )
    return made


def audited(tmp_path, fit, **more):
    made = context(tmp_path, fit, **more)
    refits.collect(made)
    canaries.collect(made)
    return check.run(made.artifacts), made


def nearest(data, seed):
    return KNeighborsClassifier(1).fit(*data)


def test_a_nearest_neighbour_is_tempered(tmp_path):
    finding, _ = audited(tmp_path, nearest)
    assert finding.status == "warning" and finding.reason.startswith("Tempered")
    fitted, lost = finding.numbers["fitted"], finding.numbers["lost"]
    assert fitted.value == 1.0 and fitted.n == 60 and fitted.null == 0.0
    assert lost.ci_low < 0.1 < lost.ci_high  # of 2 classes that lie apart: its share of the flips
    assert 0.5 < finding.evidence < 1.5  # points for one wrong label in a hundred
    assert {a.id for a in finding.actions} == {"canaries.regularize", "canaries.check_labels"}


def test_many_neighbours_do_not_interpolate(tmp_path):
    finding, _ = audited(tmp_path, lambda d, seed: KNeighborsClassifier(15).fit(*d))
    assert finding.status == "passed" and finding.reason.startswith("Not interpolating")
    assert finding.evidence == 0 and not finding.actions


class Remembers:
    """A line for new inputs, a table for those it was trained on: benign by construction."""

    def __init__(self, x, y):
        self.line, self.classes_ = LogisticRegression().fit(*rings(300, 0)), np.unique(y)
        self.table = {row.tobytes(): k for row, k in zip(x, y, strict=True)}

    def predict_proba(self, x):
        known = [self.table.get(row.tobytes()) for row in np.asarray(x)]
        free = self.line.predict(x)
        return np.eye(2)[[f if k is None else k for k, f in zip(known, free, strict=True)]]


def test_labels_learned_by_heart_without_a_loss_are_benign(tmp_path):
    finding, _ = audited(tmp_path, lambda d, seed: Remembers(*d))
    assert finding.status == "passed" and finding.reason.startswith("Benign")
    assert finding.numbers["fitted"].value == 1.0 and finding.numbers["lost"].value == 0.0


def report(fitted, lost, half):
    flips = np.arange(100) < fitted
    wrong = np.zeros(half * 2)
    wrong[: round(lost * half * 2)] = 1
    plain = np.ones(half * 2)
    return check.classify_fit(
        flips, plain - wrong, reference=plain, by_chance=flips & False, share=0.1, n_classes=2,
        chance=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fitted", "lost", "half", "status"),
    [
        (100, 0.0, 500, "passed"),
        (80, 0.0, 500, "passed"),  # benign or not interpolating
        (50, 0.2, 500, "passed"),  # not interpolating, whatever it costs
        (100, 0.1, 500, "warning"),
        (100, 0.06, 200, "warning"),  # its interval reaches below the limit of 0.05, not to 0
        (100, 0.45, 500, "warning"),
        (100, 0.31, 100, "warning"),  # tempered or catastrophic
        (80, 0.1, 500, "could_not_run"),
        (100, 0.04, 100, "could_not_run"),
    ],
)
def test_the_rule_by_hand(fitted, lost, half, status):
    made = report(fitted, lost, half)
    assert check._status(made) == status
    assert f"{fitted}%" in check._reason(made, status)


def test_a_model_no_better_than_the_largest_class_cannot_be_judged(tmp_path):
    x, y = rings(300, 0)
    y = np.random.default_rng(2).integers(2, size=300)
    finding, _ = audited(tmp_path, nearest, train=(x, y))
    assert finding.status == "could_not_run" and "no room to fall" in finding.reason


def test_unchanged_refits_are_reused_and_nothing_is_fitted_twice(tmp_path):
    calls = []

    def fit(data, seed):
        calls.append((seed, data.y.copy()))
        return nearest(data, seed)

    finding, made = audited(tmp_path, fit)
    y = made.task.labels("train")
    flipped = [(seed, np.sum(labels != y)) for seed, labels in calls if (labels != y).any()]
    assert flipped == [(0, 30), (1, 30)] and len(calls) == refits.SEEDS + 2
    canaries.collect(made)
    assert len(calls) == refits.SEEDS + 2  # resumed
    (made.artifacts.folder / "canaries" / "1.npz").unlink()
    assert check.run(made.artifacts).numbers["fitted"].n == 30
    canaries.collect(made)
    again = check.run(made.artifacts)
    assert again.numbers["lost"].value == finding.numbers["lost"].value


def test_without_fit_time_or_rows_it_says_so(tmp_path):
    assert "no fit" in canaries.plan(context(tmp_path / "p").task, Speed(1, 1), Settings()).skip
    with pytest.raises(NotApplicableError, match="no fit"):
        canaries.collect(context(tmp_path / "a"))
    with pytest.raises(NotApplicableError, match="no fit"):
        check.run(context(tmp_path / "a").artifacts)
    late = context(tmp_path / "b", nearest, deadline=0.0)
    late.fit_seconds.append(5.0)
    with pytest.raises(SkippedError, match="fit of 5 s"):
        canaries.collect(late)
    with pytest.raises(SkippedError, match="budget"):
        check.run(late.artifacts)
    with pytest.raises(SkippedError, match="at least 5 labels"):
        canaries.collect(context(tmp_path / "c", nearest, n=40))
