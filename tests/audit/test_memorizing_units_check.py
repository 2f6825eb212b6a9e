"""Memorizing units: a net that stores wrong labels in a few units, and nets that do not."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import memorizing_units
from heldout.audit.collectors import predictions, units
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.audit.suspects import evidence_id
from heldout.core.preparing import prepare
from heldout.core.statistics import softmax

UNITS = 80


def data(n=400, wrong=100, apart=True, seed=0):
    """Four classes told by columns 0-3; wrong rows also light a column of the given class."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, n)
    given = np.where(np.arange(n) < wrong, (true + 1) % 4, true)
    x = np.zeros((n, UNITS), np.float32)
    x[np.arange(n), true] = 1
    own = rng.integers(1, 10, wrong) if apart else 0
    x[np.arange(wrong), 4 * own + given[:wrong]] = 2
    return x, given, true


def net(fits=True):
    """Hidden units copy the columns; every fourth one speaks for the same class."""
    model = nn.Sequential(nn.Linear(UNITS, UNITS), nn.ReLU(inplace=True), nn.Linear(UNITS, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(UNITS))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.cat([3 * torch.eye(4)] * (UNITS // 4), 1))
        model[2].bias.zero_()
        if not fits:
            model[2].weight[:, 4:] = 0
    return model


def oracle(true, classes=4):
    """Held-out probabilities of a good model."""
    z = np.random.default_rng(5).normal(size=(len(true), classes))
    z[np.arange(len(true)), true] += 6
    return {"probs": softmax(z).astype(np.float32), "clean": np.array(True)}


def context_of(folder, model, train, test, true):
    task = prepare(model, train, test)
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(folder, manifest), Settings(), Speed(1e-6, 40))
    predictions.collect(context)
    context.keep("probes/oracle", lambda: oracle(true, len(task.class_names)))
    return context


def audited(folder, model, apart=True, wrong=100):
    x, given, true = data(wrong=wrong, apart=apart)
    xt, _, yt = data(200, 0, seed=1)
    context = context_of(folder, model, (x, given), (xt, yt), true)
    units.collect(context)
    return memorizing_units.run(context.artifacts), context


def test_planted_units_are_named_and_silencing_them_does_what_is_said(tmp_path):
    model = net()
    found, context = audited(tmp_path, model)
    assert found.status == "warning" and found.evidence > 0
    assert found.numbers["fitted"].value == 1 and found.numbers["unlearned"].value > 0.9
    assert found.numbers["unlearned"].ci_low > found.numbers["unlearned"].null
    assert found.numbers["heldout_change"].value == 0
    rows = {e.row for e in found.examples}
    assert len(rows) > 60 and rows <= set(range(100))
    (action,) = found.actions
    assert action.gain.value == 0 and action.gain_kind == "measured"
    x, given, true = data()
    with torch.no_grad():
        exec(action.code, {"model": model})  # the line a reader is given
        said = model(torch.from_numpy(x)).argmax(1).numpy()
    # all suspects, where the number is of one half: those that chose the units fall as well
    assert (said[:100] != given[:100]).mean() > 0.9 and (said[100:] == true[100:]).all()
    stored = context.artifacts.read(f"units/{evidence_id(context.artifacts)}")
    assert set(stored["order"][:30].tolist()) <= set(range(4, 40))
    assert [f.kind for f in found.figures] == ["intervals", "lines"]


def test_units_that_carry_both_are_not_reported(tmp_path):
    found, _ = audited(tmp_path, net(), apart=False)
    assert found.status == "passed" and not found.actions and not found.examples
    assert found.numbers["fitted"].value == 1


def test_wrong_labels_that_the_model_does_not_fit_are_no_memory(tmp_path):
    found, _ = audited(tmp_path, net(fits=False))
    assert found.status == "passed" and "not memorized" in found.reason
    assert found.numbers["fitted"].ci_high < 0.5


@pytest.mark.parametrize("wrong", [0, 12])
def test_too_few_suspects_cannot_be_told_apart(tmp_path, wrong):
    with pytest.raises(SkippedError, match="at least 20"):
        audited(tmp_path, net(), wrong=wrong)


def test_suspects_that_changed_are_not_answered_for(tmp_path):
    _, context = audited(tmp_path, net())
    before = context.artifacts.keys("units")
    probs = context.artifacts.read("probes/oracle")
    context.keep("probes/another", lambda: probs)
    with pytest.raises(SkippedError, match="changed"):
        memorizing_units.run(context.artifacts)
    units.collect(context)
    assert memorizing_units.run(context.artifacts).status == "warning"
    assert set(before) < set(context.artifacts.keys("units"))


class Scaled(nn.Module):
    """Logits that are not linear in the embedding."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return 3 * torch.tanh(self.net(x))


def test_models_without_units_do_not_apply(tmp_path):
    x, given, true = data()
    pair = (x, given)
    cases = {
        "torch": LogisticRegression().fit(x, given),
        "one linear layer": nn.Linear(UNITS, 4),
        "no linear function": Scaled(),
        "at its end": nn.Sequential(
            nn.Unflatten(1, (UNITS, 1)), nn.Conv1d(UNITS, 4, 1), nn.Flatten()
        ),
        "fewer than 8": nn.Sequential(nn.Linear(UNITS, 6), nn.ReLU(), nn.Linear(6, 4)),
    }  # fmt: skip
    for i, (reason, model) in enumerate(cases.items()):
        context = context_of(tmp_path / str(i), model, pair, pair, true)
        with pytest.raises(NotApplicableError, match=reason):
            units.collect(context)
    assert units.plan(context.task, context.speed, context.settings).seconds < 5


def test_one_logit_counts_as_two_and_the_model_is_given_back(tmp_path):
    x, given, true = data()
    model = nn.Sequential(nn.Linear(UNITS, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    context = context_of(tmp_path, model, (x, given % 2), (x, true % 2), true % 2)
    name, head = units.last_linear(model, context.task.splits["train"].inputs)
    assert name == "3" and head is model[3] and not head._forward_pre_hooks
    units.collect(context)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
