"""The memorization check: a model that fitted wrong labels fails, a healthy one passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import memorization
from heldout.audit.collectors import gradients, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.bench.training import train_network
from heldout.core.preparing import prepare
from heldout.nets.small import mlp


def clouds(n, noise, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[np.arange(n), y] += 3
    wrong = np.flatnonzero(rng.random(n) < noise)
    y[wrong] = (y[wrong] + rng.integers(1, 3, size=len(wrong))) % 3
    return x, y, wrong


def context_of(tmp_path, model, train, test, **settings):
    task = prepare(model, train, test)
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(tmp_path, manifest), Settings(**settings), Speed(1e-6, 40))
    predictions.collect(context)
    return context


def audited(tmp_path, noise, epochs):
    x, y, wrong = clouds(240, noise, 0)
    model = train_network(lambda: mlp([10, 64, 64, 3]), x, y, epochs=epochs)
    context = context_of(tmp_path, model, (x, y), clouds(300, 0.0, 1)[:2])
    gradients.collect(context)
    return memorization.run(context.artifacts), wrong


def test_a_model_that_holds_wrong_labels_fails(tmp_path):
    finding, wrong = audited(tmp_path, 0.3, 150)
    assert finding.status == "failed" and finding.evidence > 5
    assert finding.numbers["excess"].ci_low > 0.08
    assert len(finding.examples) == 240
    first = [e.index for e in finding.examples[: len(wrong)]]
    assert np.isin(first, wrong).mean() > 0.6
    assert finding.examples == sorted(finding.examples, key=lambda e: -e.score)
    drop = [a for a in finding.actions if a.id == "memorization.drop"]
    for action in drop:
        assert np.isin(action.change["drop"], wrong).mean() > 0.6


def test_a_healthy_model_passes(tmp_path):
    finding, _ = audited(tmp_path, 0.0, 10)
    assert finding.status == "passed" and finding.evidence == 0
    assert not finding.actions and not finding.examples
    cosine = finding.numbers["same_label_cosine"]
    assert cosine.null is not None and cosine.ci_low > cosine.null


class Named(nn.Module):
    """Takes two named inputs, returns an object with logits, as many text models do."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(12, 6), nn.Linear(6, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, tokens, mask):
        held = self.table(tokens) * mask.unsqueeze(-1)
        return {"logits": self.head(self.drop(held.sum(1)))}


def test_named_inputs_and_a_model_in_training_mode(tmp_path):
    g = torch.Generator().manual_seed(0)
    data = {"tokens": torch.randint(0, 12, (80, 5), generator=g), "mask": torch.ones(80, 5)}
    y = data["tokens"][:, 0] % 3
    model = Named().train()
    before = torch.get_rng_state()
    half = lambda part: {k: v[part] for k, v in data.items()}  # noqa: E731
    train, test = (half(slice(0, 40)), y[:40]), (half(slice(40, 80)), y[40:])
    context = context_of(tmp_path, model, train, test)
    gradients.collect(context)
    finding = memorization.run(context.artifacts)
    assert finding.numbers["train"].n == 40
    assert model.training and torch.equal(before, torch.get_rng_state())


def test_large_splits_are_sampled_to_the_budget(tmp_path):
    x, y, _ = clouds(600, 0.0, 0)
    model = train_network(lambda: mlp([10, 8, 3]), x, y, epochs=1)
    context = context_of(tmp_path, model, (x[:400], y[:400]), (x[400:], y[400:]))
    slow = Speed(1.0, 40)
    cost = gradients.plan(context.task, slow, Settings(budget_minutes=10))
    assert "100 of 400 train" in cost.note
    context.speed = slow
    gradients.collect(context)
    assert len(context.artifacts.read("gradients/memorization")["rows"]) == 100


def test_models_without_gradients_and_data_without_labels(tmp_path):
    x, y, _ = clouds(100, 0.0, 0)
    fitted = LogisticRegression().fit(x, y)
    with pytest.raises(NotApplicableError, match="torch"):
        gradients.collect(context_of(tmp_path / "a", fitted, (x, y), (x, y)))
    model = train_network(lambda: mlp([10, 8, 3]), x, y, epochs=1)
    with pytest.raises(SkippedError, match="fewer than 20"):
        gradients.collect(context_of(tmp_path / "b", model, (x, y), (x[:10], y[:10])))
