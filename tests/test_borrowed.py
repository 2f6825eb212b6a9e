"""The user's model is borrowed: every public function that takes one gives it back unchanged."""

import inspect
import pkgutil
import random
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

import heldout
from heldout.core.classifier import classifier
from heldout.core.inputs import from_native

_ROOMS = ("core", "measures", "dynamics", "data", "shift")
_N, _D, _C = 48, 6, 3


class _Net(nn.Module):
    """Every kind of state a model can have: buffers, dropout, a frozen layer, a hook."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(_D, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(16, _C)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.first(x)))))


def _functions():
    """Public functions of the method rooms whose first parameter is a model."""
    found = {}
    for room in _ROOMS:
        package = import_module(f"heldout.{room}")
        for info in pkgutil.walk_packages(package.__path__, f"heldout.{room}."):
            module = import_module(info.name)
            for name, value in vars(module).items():
                if not inspect.isfunction(value) or value.__module__ != info.name:
                    continue
                parameters = list(inspect.signature(value).parameters)
                if not name.startswith("_") and parameters[:1] == ["model"]:
                    found[f"{info.name.removeprefix('heldout.')}.{name}"] = value
    return found


FUNCTIONS = _functions()
# Called by others with what only they have, or not asking the model anything.
_INTERNAL = {
    "core.pergrad.guard.select_parameters",
    "core.pergrad.guard.refuse_random",
    "core.pergrad.plan.make_plan",
    "core.pergrad.plan.run_model",
    "core.weights.load_weights",  # changing the weights is its purpose
}


def _state(net):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
             for m in net.modules()]  # fmt: skip
    return {
        "values": {k: v.clone() for k, v in net.state_dict().items()},
        "identity": [id(p) for p in net.parameters()],
        "modes": [m.training for m in net.modules()],
        "flags": [p.requires_grad for p in net.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "dtypes": [p.dtype for p in net.parameters()],
        "hooks": hooks,
        "random": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),
    }


def _same(a, b, python_random=True):
    for key in ("identity", "modes", "flags", "dtypes", "hooks"):
        assert a[key] == b[key], key
    for name, value in a["values"].items():
        assert torch.equal(value, b["values"][name]), name
    for one, other in zip(a["gradients"], b["gradients"], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert torch.equal(a["random"][0], b["random"][0])
    assert (a["random"][1] == b["random"][1]).all()
    assert not python_random or a["random"][2] == b["random"][2]


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _Net()
        x = torch.randn(_N, _D)
        made.train()
        nn.functional.cross_entropy(made(x), torch.arange(_N) % _C).backward()
    made.first.weight.requires_grad_(False)
    made.register_forward_hook(lambda *a: None)
    made.eval()
    made.drop.train()  # a mixed mode, which .eval() and .train() alone cannot restore
    return made


def _arguments(function, net):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(_N, _D)).astype(np.float32), np.arange(_N) % _C
    known = {
        "model": net,
        "x": torch.tensor(x),
        "y": torch.tensor(y),
        "inputs": from_native(torch.tensor(x)),
        "labels": torch.tensor(y),
        "x_test": torch.tensor(x[::-1].copy()),
        "y_test": torch.tensor(y[::-1].copy()),
        "loss_fn": lambda z, t: nn.functional.cross_entropy(z, t, reduction="none"),
        "generator": torch.Generator().manual_seed(0),
        "rng": rng,
        "seed": 0,
        "n_classes": _C,
        "groups": y % 2,
    }
    wanted = inspect.signature(function).parameters.values()
    required = [p.name for p in wanted if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return {name: known.get(name) for name in required}


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - _INTERNAL))
@pytest.mark.parametrize("broken", [False, True], ids=["fine", "raises"])
def test_functions_that_take_a_model_give_it_back(net, name, broken):
    function = FUNCTIONS[name]
    arguments = _arguments(function, net)
    if broken:  # inputs of a width the model does not take
        arguments = {
            k: v[:, :2] if isinstance(v, torch.Tensor) and v.ndim == 2 else v
            for k, v in arguments.items()
        }
    before = _state(net)
    try:
        result = function(**arguments)
        if inspect.isgeneratorfunction(inspect.unwrap(function)):
            with result:
                pass
    except Exception as error:
        # A refusal is an answer too; what counts is the state it leaves. Only a call that this
        # test got wrong would make it vacuous.
        assert "unexpected keyword" not in str(error) and "required positional" not in str(error)
    _same(before, _state(net))


def test_there_is_something_to_test():
    assert len(set(FUNCTIONS) - _INTERNAL) >= 5
    assert set(FUNCTIONS) >= _INTERNAL


@pytest.mark.parametrize("broken", [False, True], ids=["fine", "raises"])
def test_the_classifier_gives_it_back(net, broken):
    before = _state(net)
    asked = classifier(net)
    inputs = from_native(torch.randn(5, 2 if broken else _D, generator=torch.Generator()))
    if broken:
        with pytest.raises(RuntimeError):
            asked(inputs)
    else:
        asked(inputs)
    _same(before, _state(net))


@pytest.mark.slow
def test_the_audit_gives_it_back(net):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, _D)).astype(np.float32), rng.integers(0, _C, 120)
    before = _state(net)
    heldout.audit(net, (x[:80], y[:80]), (x[80:], y[80:]), {"far": x[80:] + 1})
    # The shape checks of the test suite draw from Python's generator, even around the audit.
    _same(before, _state(net), python_random=False)
