"""What the measures refuse of a model, its training examples and the settings of a search."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.measures.complexity import Options, complexity_measures
from heldout.measures.complexity.flatness import noise_scale, worst_step
from heldout.measures.complexity.gradient_variance import gradient_variance
from heldout.measures.complexity.margins import margins
from heldout.measures.complexity.path_norm import path_norm

X = torch.cat([torch.eye(4), -torch.eye(4)]).repeat(2, 1)
Y = torch.arange(16) % 2
NAN = X.clone()
NAN[3, 1] = float("nan")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def every(model, x, y):
    return complexity_measures(model, net().state_dict(), x, y, stopping_loss=None)


ON_EXAMPLES = (every, noise_scale, worst_step, gradient_variance)


@pytest.mark.parametrize("measure", ON_EXAMPLES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (NAN, Y, "1 inputs.*not finite.*example 3"),
        (X[:, :3], Y, "Sequential fails.*mat1"),
        (X.double(), Y, "float64.*x.float"),
        (X.numpy(), Y, "ndarray.*as_tensor"),
        (X, Y + 1, "labels from 1 to 2 for 2 outputs.*from 0"),
        (X, Y - 1, "labels from -1 to 0"),
        (X, Y.int(), "int32.*long"),
        (X, Y.byte(), "uint8.*long"),
        (X, Y[:, None], r"\(16, 1\).*int64"),
        (X, Y[:9], "for 16 inputs"),
        (X, nn.functional.one_hot(Y), "argmax"),
        (X, Y.tolist(), "labels list"),
    ],
)
def test_examples_that_are_not_the_model_s(measure, x, y, said):
    with pytest.raises(InputError, match=re.compile(said, re.S)):
        measure(net(), x, y)


def test_models_that_hold_no_weights_or_broken_ones():
    broken = net()
    with torch.no_grad():
        broken[0].weight[0, 0] = float("inf")
    for measure in ON_EXAMPLES:
        with pytest.raises(InputError, match=re.compile("outputs are not finite.*NaN", re.S)):
            measure(broken, X, Y)
        with pytest.raises(InputError, match="weights without values.*0.weight"):
            measure(net().to("meta"), X, Y)
        with pytest.raises(InputError, match="str with inputs"):
            measure("model", X, Y)
    far = X.clone()
    far[9] *= 3e38  # finite, and its logits are not
    big = net()
    with torch.no_grad():
        big[2].weight.fill_(1e3)
        big[0].weight.fill_(1e3)
    for loss in (None, 0.1):
        with pytest.raises(InputError, match="training cross-entropy (nan|inf)"):
            complexity_measures(big, net().state_dict(), far, Y, stopping_loss=loss)
    with pytest.raises(InputError, match="example 3"):
        path_norm(net(), NAN)
    with pytest.raises(InputError, match="labels from 1 to 2"):
        margins(net()(X).detach(), Y + 1)


@pytest.mark.parametrize(
    "wrong", [{"drop": 0}, {"drop": 1}, {"draws": 0}, {"tolerance": 0}, {"tolerance": np.nan}]
)
def test_searches_that_would_not_end(wrong):
    with pytest.raises(InputError, match="0 < drop < 1"):
        noise_scale(net(), X, Y, **wrong)
    steps = {"steps" if k == "draws" else k: v for k, v in wrong.items()}
    with pytest.raises(InputError, match="0 < drop < 1"):
        worst_step(net(), X, Y, **steps)
    fast = {"without": ("margin", "path_norm", "gradient_variance"), "stopping_loss": None}
    with pytest.raises(InputError, match="0 < drop < 1"):
        complexity_measures(net(), net().state_dict(), X, Y, options=Options(**wrong), **fast)


@pytest.mark.parametrize("history", [[(1, 2.0)], [1, 2], [("a", 0.05)], []])
def test_a_history_that_says_no_steps(history):
    fast = {"without": ("margin", "flatness", "sharpness"), "stopping_loss": None}
    with pytest.raises(InputError, match="no loss falls to 0.1"):
        complexity_measures(net(), net().state_dict(), X, Y, history=history, **fast)
