"""The overtraining check: a readout at its peak, the same one stopped, and others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import overtraining as check
from heldout.audit.collectors import overtraining, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.bench.training import train_network
from heldout.bench.zoo_peaks import TIMES, readouts
from heldout.core.preparing import prepare
from heldout.nets.small import mlp

N = 150


def clouds(n, seed, noise=0.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    x = rng.normal(size=(n, 12)).astype(np.float32)
    x[:, 0] += 3 * (2 * y - 1)
    wrong = rng.random(n) < noise
    return x, np.where(wrong, 1 - y, y)


def context_of(tmp_path, model, train, test, collected=True, **settings):
    task = prepare(model, train, test)
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(tmp_path, manifest), Settings(**settings), Speed(1e-6, 48))
    predictions.collect(context)
    if collected:
        overtraining.collect(context)
    return context


@pytest.fixture(scope="module")
def train():
    return clouds(N, 0, 0.2)


def test_as_many_random_features_as_examples_trained_to_the_end(tmp_path, train):
    model = readouts(*train, 2, N)[0]
    context = context_of(tmp_path, model, train, clouds(500, 1))
    finding = check.run(context.artifacts)
    assert finding.status == "warning" and "At the interpolation peak" in finding.reason
    ratio, gain = finding.numbers["ratio"], finding.numbers["gain_of_stopping"]
    assert ratio.ci_low >= 1.5 and gain.ci_low > 2 and finding.evidence == gain.value
    assert 0.9 < finding.numbers["examples_per_feature"].value < 1.1
    wider = finding.numbers["error_with_twice_the_features"]
    assert wider.value < 0.5 * wider.null
    assert [a.id for a in finding.actions] == [
        "overtraining.stop", "overtraining.regularize", "overtraining.widen",
    ]  # fmt: skip
    x, y = clouds(500, 3)
    own = float((model(torch.as_tensor(x)).argmax(1).numpy() == y).mean())
    truth = 100 * (max(by_time(train)[1]) - own)  # the same network, stopped, on other examples
    assert gain.ci_low - 5 < truth < gain.ci_high + 5


def by_time(train):
    """The same network at growing lengths of training, and its accuracy on other examples."""
    nets = readouts(*train, 2, N, TIMES)
    x, y = clouds(500, 3)
    return nets, [float((n(torch.as_tensor(x)).argmax(1).numpy() == y).mean()) for n in nets]


def test_the_same_features_with_a_stopped_readout_pass(tmp_path, train):
    nets, right = by_time(train)
    context = context_of(tmp_path, nets[int(np.argmax(right))], train, clouds(500, 1))
    finding = check.run(context.artifacts)
    assert finding.numbers["ratio"].ci_low >= 1.5  # the features have the peak
    assert finding.status == "passed" and "no clear gain" in finding.reason
    assert finding.evidence == 0 and not finding.actions


def test_a_model_that_was_trained_too_little_is_not_overtrained(tmp_path, train):
    nets, _ = by_time(train)
    with torch.no_grad():
        nets[0][-1].bias += torch.tensor([3.0, 0.0])  # most answers are still those of the start
    finding = check.run(context_of(tmp_path, nets[0], train, clouds(500, 1)).artifacts)
    assert finding.numbers["gain_of_stopping"].ci_low > 2 and finding.status == "passed"
    assert "trained too little" in finding.reason


@pytest.mark.parametrize("width", [12, 1200])
def test_few_or_very_many_features_pass(tmp_path, train, width):
    context = context_of(tmp_path, readouts(*train, 2, width)[0], train, clouds(500, 1))
    finding = check.run(context.artifacts)
    assert finding.status == "passed"
    assert (finding.numbers["frozen"].value > 0.8) == (width == 1200)


def test_a_trained_network_passes_and_the_figure_meets_the_numbers(tmp_path, train):
    clean = clouds(N, 0)
    model = train_network(lambda: mlp([12, 16, 2]), *clean, epochs=10)
    context = context_of(tmp_path, model, clean, clouds(500, 1))
    finding = check.run(context.artifacts)
    assert finding.status == "passed"
    retrained, own = finding.figures[0].data["series"]
    errors = 1 - context.artifacts.correct("test").mean()
    assert own["y"] == [errors, errors]
    stored = context.artifacts.read("overtraining/readout")
    assert retrained["y"][-1] == pytest.approx(1 - stored["end"].mean(), abs=0.01)


def test_wide_embeddings_are_read_whole(tmp_path):
    train = clouds(270, 0, 0.2)
    model = readouts(*train, 2, 270)[0]
    context = context_of(tmp_path, model, train, clouds(300, 1))
    assert context.artifacts.features("train").shape[1] == 256  # stored projected
    numbers = check.run(context.artifacts).numbers
    assert numbers["examples_per_feature"].value < 1.15
    assert numbers["ratio"].ci_low > 1.5


def test_a_sampled_training_set_does_not_warn(tmp_path, train):
    context = context_of(tmp_path, readouts(*train, 2, N)[0], train, clouds(500, 1))
    stored = context.artifacts.read("overtraining/readout")
    (context.artifacts.folder / "overtraining" / "readout.npz").unlink()
    context.keep("overtraining/readout", lambda: stored | {"total": np.asarray(90_000)})
    with pytest.raises(SkippedError, match="150 of 90000"):
        check.run(context.artifacts)


def test_what_has_no_embedding_or_too_little_data_or_time(tmp_path, train):
    fitted = LogisticRegression().fit(*train)
    other = context_of(tmp_path / "a", fitted, train, train, collected=False)
    assert overtraining.plan(other.task, other.speed, other.settings).seconds == 0
    with pytest.raises(NotApplicableError, match="no embedding"):
        overtraining.collect(other)
    model = readouts(*train, 2, 20)[0]
    few = (train[0][:8], train[1][:8])
    small = context_of(tmp_path / "b", model, few, train, collected=False)
    with pytest.raises(SkippedError, match="10 examples or more"):
        overtraining.collect(small)
    narrow = context_of(tmp_path / "c", model, train, train, collected=False)
    assert not overtraining.plan(narrow.task, narrow.speed, Settings(budget_minutes=10)).skip
    hurried = overtraining.plan(narrow.task, narrow.speed, Settings(budget_minutes=1e-6))
    assert "150 examples of 20 features would take" in hurried.skip
