"""The difficulty check: what it is computed on, and that it informs without judging."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import difficulty as check
from heldout.audit.collectors import difficulty, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import SkippedError
from heldout.core.preparing import prepare
from heldout.measures.difficulty import estimate


def table(n, seed, gap=2.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    y = np.arange(n) % 2
    x[:, 0] = np.where(y, gap, -gap) + 0.2 * x[:, 0]
    return x * [1, 10, 100, 1000], y


def context_of(path, train, test):
    model = LogisticRegression().fit(train[0].reshape(len(train[0]), -1), train[1])
    task = prepare(
        model if train[0].ndim == 2 else (lambda x: np.eye(2)[[0] * len(x)]), train, test
    )
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(path, manifest), Settings(), Speed(1e-6, 48))
    predictions.collect(context)
    return context


def test_numbers_are_those_of_the_measure_on_standardized_columns(tmp_path):
    train = table(400, 0)
    context = context_of(tmp_path, train, table(50, 1))
    difficulty.collect(context)
    finding = check.run(context.artifacts)
    z = (train[0] - train[0].mean(axis=0)) / train[0].std(axis=0)
    wanted = estimate(z, train[1], 0.01)
    assert finding.status == "passed" and "standardized" in finding.reason
    numbers = finding.numbers
    assert numbers["log10_bits"].value == pytest.approx(wanted.log10_bits, abs=1e-4)
    assert numbers["intrinsic_dimension"].value == pytest.approx(wanted.m.value, rel=1e-4)
    assert numbers["resolution"].value == pytest.approx(wanted.delta.value, rel=1e-4)
    assert "order of magnitude only" in finding.reason.lower()
    factors = [float(row[1]) for row in finding.tables[0].rows]
    assert factors[1] == pytest.approx(0.8 ** wanted.elasticities["delta"], rel=0.01)


def test_hard_or_easy_it_never_warns(tmp_path):
    rng = np.random.default_rng(0)
    hard = (rng.normal(size=(300, 12)), np.arange(300) % 2)
    context = context_of(tmp_path, hard, hard)
    difficulty.collect(context)
    finding = check.run(context.artifacts)
    assert finding.status == "passed" and finding.evidence == 0 and not finding.actions
    line = np.linspace(0, 1, 300) ** 2
    x = np.stack([line + 5 * (np.arange(300) >= 150), np.zeros(300)], axis=1)
    easy = (x, (np.arange(300) >= 150).astype(int))
    context = context_of(tmp_path / "easy", easy, easy)
    difficulty.collect(context)
    finding = check.run(context.artifacts)
    assert finding.status == "passed" and "already determine" in finding.reason
    assert "log10_bits" not in finding.numbers


def test_images_as_they_are_and_samples_carried_over(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((1200, 1, 8, 8)).astype(np.float32)
    y = np.arange(1200) % 2
    images[y == 1, :, :4] += 1
    context = context_of(tmp_path, (images, y), (images[:50], y[:50]))
    assert "1000 of 1200" in difficulty.plan(context.task, context.speed, Settings()).note
    difficulty.collect(context)
    stored = context.artifacts.read("difficulty/train")
    assert int(stored["n"]) == 1200 and stored["points"].tolist() == [1000, 1000]
    longest = float(np.linalg.norm(images.reshape(1200, -1), axis=1).max())
    assert 0.9 * longest < float(stored["radius"]) < 1.0001 * longest
    assert "pixels as they are" in check.run(context.artifacts).reason


def test_what_has_no_resolution_is_said(tmp_path):
    x, y = table(200, 0)
    copies = (np.vstack([x, x[:3]]), np.concatenate([y, 1 - y[:3]]))
    context = context_of(tmp_path, copies, (x, y))
    with pytest.raises(SkippedError, match="equal and have different labels"):
        difficulty.collect(context)
