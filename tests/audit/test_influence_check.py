"""The influence check: wrong labels behind the errors are named; without them it passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import influence as check
from heldout.audit.collectors import influence, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.bench.training import train_network
from heldout.core.preparing import prepare
from heldout.data.influence import EKFAC, Classification
from heldout.nets.small import mlp


def clouds(n, noise, seed, spread=3.0):
    rng = np.random.default_rng(seed)
    true = rng.integers(3, size=n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[np.arange(n), true] += spread
    y = true.copy()
    wrong = np.flatnonzero(rng.random(n) < noise)
    y[wrong] = (y[wrong] + rng.integers(1, 3, size=len(wrong))) % 3
    return x, y, true, wrong


def context_of(tmp_path, model, train, test, shifted=None, **settings):
    task = prepare(model, train, test, shifted=shifted or {})
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(tmp_path, manifest), Settings(**settings), Speed(1e-6, 40))
    predictions.collect(context)
    return context


def keep_probes(context, true):
    """What models that did not see the label would say: the true class, nearly surely."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.9, 0.999, len(true))
    probs = np.repeat((1 - sure)[:, None] / 2, 3, axis=1).astype(np.float32)
    probs[np.arange(len(true)), true] = sure
    context.keep("probes/made", lambda: {"probs": probs, "clean": np.array(True)})


def audited(tmp_path, noise, epochs, width=64):
    x, y, true, wrong = clouds(300, noise, 0)
    model = train_network(lambda: mlp([10, width, 3]), x, y, epochs=epochs)
    far = clouds(200, 0.0, 2, spread=2.0)
    context = context_of(
        tmp_path, model, (x, y), clouds(300, 0.0, 1)[:2], shifted={"closer": far[:2]}
    )
    influence.collect(context)
    keep_probes(context, true)
    return check.run(context.artifacts), wrong, context


def test_wrong_labels_behind_the_errors_are_found(tmp_path):
    finding, wrong, context = audited(tmp_path, 0.15, 120)
    assert finding.status == "warning" and finding.evidence > 0
    first, base = (finding.numbers[f"suspects_among_{k}"] for k in ("first", "all"))
    assert first.value > base.value + 0.3 and first.null < first.value
    assert first.n == 15 and base.n == 300 and len(finding.examples) == 300
    assert finding.examples == sorted(finding.examples, key=lambda e: -e.score)
    for action in finding.actions:
        rows = action.change.get("drop") or action.change["relabel"]["rows"]
        assert len(rows) >= 5 and np.isin(rows, wrong).mean() > 0.9
    names = {
        "report": type("R", (), {"checks": {"influence": finding}}),
        "train": range(300),
    }
    exec(finding.actions[-1].code, names)
    assert sorted(names["rows"]) == sorted(finding.actions[-1].change["drop"])
    (table,) = finding.tables
    assert len(table.rows) == len(context.artifacts.read("influence/scores")["errors"])
    assert any(row[0].startswith("shifted/closer") for row in table.rows)


def test_a_healthy_model_passes(tmp_path):
    finding, _, _ = audited(tmp_path, 0.0, 15)
    assert finding.status == "passed" and finding.evidence == 0 and not finding.actions
    assert finding.numbers["suspects_among_all"].value < 0.02


def made(tmp_path, change):
    """Artifacts of 200 rows in which the wrong labels are those that raised the errors' loss."""
    x, y, true, wrong = clouds(200, 0.1, 0)
    model = LogisticRegression().fit(x, true)
    context = context_of(tmp_path, model, (x, y), (x, y))
    rng = np.random.default_rng(1)
    scores, null = rng.normal(size=(8, 200)), rng.normal(size=(48, 200))
    scores[:, wrong] += 2.0
    stored = {
        "rows": np.arange(200), "scores": scores, "sizes": np.ones(8), "null": null,
        "self": np.ones(200), "splits": np.array(["test"] * 8), "errors": np.arange(8),
        "losses": np.ones(8), "layers": np.array(["fc"]), "of": np.array(1),
        "total": np.array(200), "read": np.array(1.0),
    }  # fmt: skip
    context.keep("influence/scores", lambda: change(stored))
    keep_probes(context, true)
    return check.run(context.artifacts)


def test_sign_null_and_shuffled_rows(tmp_path):
    blamed = made(tmp_path / "a", lambda s: s)
    assert blamed.status == "warning"
    assert blamed.numbers["suspects_among_first"].value == 1.0
    assert blamed.numbers["beyond_null"].value > 2 * blamed.numbers["beyond_null"].null
    lowered = made(tmp_path / "b", lambda s: s | {"scores": -s["scores"]})
    assert lowered.status == "passed"
    order = np.random.default_rng(2).permutation(200)
    mixed = made(tmp_path / "c", lambda s: s | {"scores": s["scores"][:, order]})
    assert mixed.status == "passed"
    # rows that rank first for random labels as well are not to blame for these errors
    null = made(tmp_path / "d", lambda s: s | {"null": np.tile(s["scores"], (6, 1))})
    assert null.status == "passed"


def test_what_is_stored_is_what_the_engine_says(tmp_path):
    x, y, _, _ = clouds(120, 0.2, 0)
    model = train_network(lambda: mlp([10, 8, 3]), x, y, epochs=5)
    context = context_of(tmp_path, model, (x, y), clouds(100, 0.2, 1)[:2])
    influence.collect(context)
    stored = context.artifacts.read("influence/scores")
    test = context.task.splits["test"].take(stored["errors"])
    seed = influence.derived_seed(0, "influence")
    fitted = EKFAC(model, Classification(on="loss"), batch_size=32, seed=seed)
    data = torch.as_tensor(x), torch.as_tensor(y)
    asked = torch.as_tensor(test.inputs.array), torch.as_tensor(test.labels)
    wanted = fitted.fit(data).scores(asked, data)
    np.testing.assert_allclose(stored["scores"], wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stored["sizes"] ** 2, fitted.self_influence(asked), rtol=1e-3)
    wrong = ~context.artifacts.correct("test")
    assert wrong[stored["errors"]].all() and len(stored["errors"]) == min(10, wrong.sum())
    assert (np.diff(stored["losses"]) <= 0).all()
    own = fitted.scores(data, data).diagonal()  # training on a row lowers its own loss
    assert (own < 0).all()


class Named(nn.Module):
    """Takes two named inputs, drops some, returns an object with logits."""

    def __init__(self):
        super().__init__()
        self.table, self.hidden, self.head = nn.Embedding(12, 6), nn.Linear(6, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, tokens, mask):
        held = (self.table(tokens) * mask.unsqueeze(-1)).sum(1)
        return {"logits": self.head(self.drop(torch.relu(self.hidden(held))))}


def test_named_inputs_and_a_model_in_training_mode(tmp_path):
    g = torch.Generator().manual_seed(0)
    data = {"tokens": torch.randint(0, 12, (160, 5), generator=g), "mask": torch.ones(160, 5)}
    y = data["tokens"][:, 0] % 3
    model = Named().train()
    before = torch.get_rng_state()
    half = lambda part: {k: v[part] for k, v in data.items()}  # noqa: E731
    train, test = (half(slice(0, 100)), y[:100]), (half(slice(100, 160)), y[100:])
    context = context_of(tmp_path, model, train, test)
    influence.collect(context)
    stored = context.artifacts.read("influence/scores")
    # the table's 12 x 6 numbers are not read: 56 and 27 of 155 are
    assert float(stored["read"]) == pytest.approx(83 / 155)
    assert stored["layers"].tolist() == ["hidden", "head"] and stored["scores"].shape == (10, 100)
    assert model.training and torch.equal(before, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    fresh = context_of(tmp_path, model, train, test)  # an audit that goes on reads what is stored
    influence.collect(fresh)
    again = fresh.artifacts.read("influence/scores")
    np.testing.assert_array_equal(stored["scores"], again["scores"])


def test_a_layer_that_is_called_again_is_read_too(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(10, 10), nn.Linear(10, 3)

        def forward(self, x):
            return self.head(self.inner(torch.tanh(self.inner(x))))

    x, y, _, _ = clouds(120, 0.2, 0)
    model = train_network(Twice, x, y, epochs=20)
    context = context_of(tmp_path, model, (x, y), clouds(100, 0.2, 1)[:2])
    influence.collect(context)
    stored = context.artifacts.read("influence/scores")
    assert stored["layers"].tolist() == ["inner", "head"] and float(stored["read"]) == 1


def test_rows_and_layers_are_fewer_where_time_or_memory_is_short(tmp_path):
    x, y, _, _ = clouds(400, 0.1, 0)
    model = train_network(lambda: mlp([10, 700, 8, 3]), x, y, epochs=1)
    context = context_of(tmp_path, model, (x[:300], y[:300]), (x[300:], y[300:]))
    slow, short = Speed(1e-2, 40), Settings(budget_minutes=1)
    cost = influence.plan(context.task, slow, short)
    assert cost.note == "samples 100 of 300 training examples, reads 1 of 3 layers"
    context.speed, context.settings = slow, short
    influence.collect(context)
    stored = context.artifacts.read("influence/scores")
    assert stored["scores"].shape[1] == 100 and stored["layers"].tolist() == ["5"]
    keep_probes(context, y[:300])
    # 27 weights of the last layer, of 7,700 + 5,608 + 27
    said = check.run(context.artifacts).reason
    assert "1 of 3 layers were read. 0.2 % of the weights are in layers that were read." in said
    assert influence.plan(context.task, slow, Settings(memory_gb=1e-9)).skip


def test_models_and_data_it_does_not_apply_to(tmp_path):
    x, y, true, _ = clouds(100, 0.0, 0)
    fitted = LogisticRegression().fit(x, y)
    with pytest.raises(NotApplicableError, match="torch"):
        influence.collect(context_of(tmp_path / "a", fitted, (x, y), (x, y)))

    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(10)[:, :3])

        def forward(self, x):
            return x @ self.weight

    with pytest.raises(NotApplicableError, match="per_example_gradients"):
        influence.collect(context_of(tmp_path / "b", Table(), (x, y), (x, y)))
    assert influence.plan(prepare(Table(), (x, y), (x, y)), Speed(1e-6, 40), Settings()).skip == ""
    far = clouds(100, 0.0, 0, spread=30.0)
    sure = nn.Sequential(nn.Linear(10, 3, bias=False))
    with torch.no_grad():
        sure[0].weight.copy_(torch.eye(10)[:3])
    with pytest.raises(NotApplicableError, match="no held-out example"):
        influence.collect(context_of(tmp_path / "c", sure, (x, y), far[:2]))
    context = context_of(tmp_path / "d", sure, (x[:12], y[:12]), (x, (y + 1) % 3))
    influence.collect(context)
    with pytest.raises(SkippedError, match="fewer than 20"):
        check.run(context.artifacts)
