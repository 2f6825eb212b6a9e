"""The numerics check: collapse, scaling, coarse formats and broken weights are each named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import numerics as check
from heldout.audit.collectors import numerics, predictions
from heldout.audit.context import Context, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.preparing import prepare


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    x[np.arange(n), y] += 3
    return x, y


def linear(scale, offset=0.0):
    model = nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.copy_(scale * torch.eye(3))
        model.bias.fill_(offset)
    return model.eval()


def collected(tmp_path, model):
    task = prepare(model, data(), data(seed=1))
    manifest = {"version": VERSION, "settings": {"seed": 0}, "has_fit": False}
    manifest |= {"class_names": task.class_names, "splits": list(task.splits)}
    context = Context(task, Artifacts(tmp_path, manifest), Settings(), Speed(1e-6, 12))
    predictions.collect(context)
    numerics.collect(context)
    return context.artifacts


def test_moderate_logits_pass(tmp_path):
    finding = check.run(collected(tmp_path, linear(1.5)))
    assert finding.status == "passed" and finding.evidence == 0
    assert finding.numbers["softmax_collapse"].value == 0
    assert finding.numbers["agreement_bfloat16"].value > 0.98
    assert [row[0] for row in finding.tables[0].rows] == [
        "bfloat16", "float16", "float32", "float64",
    ]  # fmt: skip


def test_collapsed_softmax_warns(tmp_path):
    finding = check.run(collected(tmp_path, linear(60.0)))
    assert finding.status == "warning" and "exactly zero in float32" in finding.reason
    assert finding.numbers["softmax_collapse"].ci_low > 0.5


def test_a_step_that_only_scales_is_shown_and_not_judged(tmp_path):
    """Weights of +1 and -1/2 on separated data: only the scale is left to learn."""
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(1.5 * torch.eye(3) - 0.5)
    finding = check.run(collected(tmp_path, model.eval()))
    assert finding.status == "passed"
    assert finding.numbers["logit_scaling"].value > 0.5


def test_logits_far_from_zero_do_not_survive_bfloat16(tmp_path):
    finding = check.run(collected(tmp_path, linear(1.0, offset=3000.0)))
    assert finding.status == "warning" and "bfloat16 would change" in finding.reason
    assert finding.numbers["agreement_bfloat16"].value < 0.8 and finding.evidence > 20


def test_weights_that_are_not_finite_fail(tmp_path):
    artifacts = collected(tmp_path, linear(1.5))
    stored = artifacts.read("numerics/weights")
    artifacts._path("numerics/weights").unlink()
    artifacts.keep("numerics/weights", lambda: {**stored, "nonfinite": np.array(3)})
    finding = check.run(artifacts)
    assert finding.status == "failed" and "3 values" in finding.reason


def test_estimators_are_not_applicable(tmp_path):
    with pytest.raises(NotApplicableError, match="torch"):
        collected(tmp_path, LogisticRegression().fit(*data()))
