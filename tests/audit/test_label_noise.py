"""The label-noise check on real tables with planted errors, with and without fit."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout.audit.artifacts import fresh
from heldout.audit.checks import label_noise
from heldout.audit.collect import describe
from heldout.audit.collectors import crossfit, fingerprints, predictions, probes
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.audit.suspects import finished_rounds
from heldout.core.preparing import prepare


def fit(data, seed):  # type: ignore[no-untyped-def]
    x, y = data
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(x, y)


def context(folder, rate, fit=None, model=None, seconds=3600.0, rows=118):  # type: ignore[no-untyped-def]
    """A task on wine with wrong labels planted in the training part."""
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:rows], order[118:]
    wrong = np.zeros(len(train), bool)
    wrong[: round(rate * len(train))] = True
    labels = np.where(wrong, (y[train] + 1 + np.arange(len(train)) % 2) % 3, y[train])
    made = model or fit_once((x[train], labels))
    task = prepare(made, (x[train], labels), (x[test], y[test]), fit=fit)
    settings = Settings()
    artifacts = fresh(folder, describe(task, settings))
    found = Context(task, artifacts, settings, Speed(1e-5, 100.0))
    found.deadline = time.monotonic() + seconds
    return found, wrong


def fit_once(data):  # type: ignore[no-untyped-def]
    return fit(data, 0)


def collected(folder, rate, **more):  # type: ignore[no-untyped-def]
    found, wrong = context(folder, rate, **more)
    for stage in (predictions, fingerprints, probes):
        stage.collect(found)
    return found, wrong


def test_planted_errors_fail_and_come_first(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, wrong = collected(tmp_path, 0.2, fit=fit)
    alone = label_noise.run(found.artifacts)
    crossfit.collect(found)
    with_fit = label_noise.run(found.artifacts)
    for finding in (alone, with_fit):
        assert finding.status == "failed"
        assert abs(finding.numbers["rate"].value - 0.2) < 0.06
        assert sorted(e.row for e in finding.examples) == list(range(118))
        scores = np.array([e.score for e in sorted(finding.examples, key=lambda e: e.row)])
        assert average_precision_score(wrong, scores) > 0.9
        assert [e.score for e in finding.examples] == sorted(scores, reverse=True)
    assert "model" in {row[0] for row in with_fit.tables[0].rows}
    assert "model" not in {row[0] for row in alone.tables[0].rows}
    relabel, drop = with_fit.actions
    assert wrong[drop.change["drop"]].mean() > 0.9
    assert relabel.change["relabel"]["rows"] == drop.change["drop"]
    first = with_fit.examples[0]
    assert "looks like" in first.why and first.split == "train"


def test_clean_labels_pass(tmp_path) -> None:  # type: ignore[no-untyped-def]
    finding = label_noise.run(collected(tmp_path, 0.0)[0].artifacts)
    assert finding.status == "passed" and not finding.actions and finding.evidence == 0
    assert finding.numbers["rate"].value < 0.03


def test_an_unfinished_round_is_not_used(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _ = collected(tmp_path, 0.2, fit=fit)
    crossfit.collect(found)
    (tmp_path / "crossfit" / "0-3.npz").unlink()
    whole = finished_rounds(found.artifacts, 118)
    assert len(whole) == 2
    np.testing.assert_allclose(whole[0].sum(axis=1), 1, atol=1e-6)


def test_a_fit_that_is_too_slow_is_skipped_with_the_reason(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _ = context(tmp_path, 0.1, fit=fit, seconds=0.0)
    with pytest.raises(SkippedError, match="budget_minutes"):
        crossfit.collect(found)


def test_without_fit_or_with_few_rows_the_reason_is_given(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _ = context(tmp_path, 0.1)
    with pytest.raises(NotApplicableError, match="no fit"):
        crossfit.collect(found)
    few, _ = context(tmp_path / "few", 0.0, rows=25)
    predictions.collect(few)
    with pytest.raises(SkippedError, match="25 training examples"):
        probes.collect(few)


def test_copies_in_the_test_set_do_not_vouch_for_labels(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _ = context(tmp_path, 0.1)
    train, test = found.task.splits["train"], found.task.splits["test"]
    leaked = replace(test, inputs=train.inputs.take(np.arange(60)), labels=train.labels[:60])
    found.task.splits["test"] = leaked
    predictions.collect(found)
    fingerprints.collect(found)
    assert len(probes._extra(found)) == 0


class Memory:
    """A classifier that holds every training label, wrong ones too, in its answers."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.known = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
        self.good = fit_once((x, y))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Logits: the known label where there is one, else those of a sound model."""
        found = self.good.predict_log_proba(x)
        for i, row in enumerate(x):
            if row.tobytes() in self.known:
                found[i] = -9.0
                found[i, self.known[row.tobytes()]] = 0.0
        return found


def test_a_model_that_memorised_the_errors_does_not_hide_them(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found, _ = context(tmp_path, 0.2)
    train = found.task.splits["train"]
    memory = Memory(train.inputs.array, train.labels)
    test = found.task.splits["test"]
    given = (train.inputs.array, train.labels), (test.inputs.array, test.labels)
    task = prepare(memory, *given)
    settings = Settings()
    artifacts = fresh(tmp_path / "memory", describe(task, settings))
    c = Context(task, artifacts, settings, Speed(1e-5, 100.0))
    predictions.collect(c)
    stored = artifacts.read("predictions/train")
    # An embedding that is nothing but the memorised label.
    stored["features"] = np.eye(3, dtype=np.float32)[train.labels]
    (tmp_path / "memory" / "predictions" / "train.npz").unlink()
    artifacts.keep("predictions/train", lambda: stored)
    probes.collect(c)
    assert not artifacts.has("probes/embedding")
    finding = label_noise.run(artifacts)
    assert finding.status == "failed" and abs(finding.numbers["rate"].value - 0.2) < 0.07
