"""Noise scales against brute force, bounds by hand, and the whole set on trained networks."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from heldout.bench.training import train_network
from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream
from heldout.measures.complexity import FAMILIES, Options, complexity_measures
from heldout.measures.complexity.bounds import pacbayes_bounds, sharpness_bounds
from heldout.measures.complexity.flatness import noise_scale, worst_step
from heldout.measures.complexity.gradient_variance import gradient_variance
from heldout.nets.small import SmallCNN, mlp

FAST = Options(draws=4, steps=6, tolerance=0.1)


def clouds(n=120, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[np.arange(n), y] += 4
    return torch.as_tensor(x), torch.as_tensor(y)


@pytest.fixture(scope="module")
def trained():
    x, y = clouds()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp([6, 24, 3])
    start = copy.deepcopy(net.state_dict())
    made = train_network(lambda: copy.deepcopy(net), x.numpy(), y.numpy(), 60, 0.01, weight_decay=0)
    return made, start, x, y


def brute_drop(net, x, y, scale, draws, aware):
    """Accuracy lost to noise, with the weights of a copy changed one by one."""
    generator = torch_stream(0, "noise")
    accuracy = lambda m: float((m(x).argmax(1) == y).double().mean())  # noqa: E731
    lost = []
    with torch.no_grad():
        for _ in range(draws):
            moved = copy.deepcopy(net)
            for p in moved.parameters():
                noise = torch.randn(p.shape, generator=generator)
                std = torch.sqrt((scale * p) ** 2 + 1e-6) if aware else torch.full_like(p, scale)
                p.add_(std * noise)
            lost.append(accuracy(net) - accuracy(moved))
    return float(np.mean(lost))


@pytest.mark.parametrize("aware", [False, True])
def test_the_noise_scale_is_where_brute_force_finds_the_drop(trained, aware):
    net, _, x, y = trained
    found = noise_scale(net, x, y, magnitude_aware=aware, draws=6, tolerance=0.01)
    grid = np.geomspace(0.02, 5, 80)
    drops = np.array([brute_drop(net, x, y, s, 6, aware) for s in grid])
    first = int((drops >= 0.1).argmax())
    assert drops.max() > 0.1
    assert brute_drop(net, x, y, found * 0.98, 6, aware) < 0.1 + 0.02
    assert grid[first - 1] * 0.9 <= found <= grid[first] * 1.15
    if not aware:  # the variance in the standard deviation's place is another question
        assert abs(brute_drop(net, x, y, found**2, 6, aware) - 0.1) > 0.02


def test_flatness_follows_the_scale_of_the_weights():
    """A linear net with weights c times as large bears c times the noise, and the same share."""
    x, y = clouds()
    net = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(3, 6))
    larger = copy.deepcopy(net)
    with torch.no_grad():
        larger.weight.mul_(4)
    for aware, factor in ((False, 4.0), (True, 1.0)):
        a, b = (noise_scale(m, x, y, magnitude_aware=aware, tolerance=0.01) for m in (net, larger))
        assert b / a == pytest.approx(factor, rel=0.05)


def test_the_worst_step_that_a_linear_classifier_bears_in_closed_form():
    """Two weights +1 and -1 against inputs of 1: they meet when each has moved by 1."""
    net, x, y = nn.Linear(1, 2, bias=False), torch.ones(20, 1), torch.zeros(20).long()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    for aware in (False, True):
        assert worst_step(net, x, y, magnitude_aware=aware) == pytest.approx(1.0, rel=0.03)
        with torch.no_grad():
            net.weight.mul_(3)
        wanted = 1.0 if aware else 3.0
        assert worst_step(net, x, y, magnitude_aware=aware) == pytest.approx(wanted, rel=0.03)
        with torch.no_grad():
            net.weight.div_(3)


def test_the_worst_step_is_worse_than_any_noise_in_its_box(trained):
    net, _, x, y = trained
    found = worst_step(net, x, y, tolerance=0.02)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        base = float((net(x).argmax(1) == y).double().mean())
        for _ in range(30):
            moved = copy.deepcopy(net)
            for p in moved.parameters():
                p.add_(found * (2 * torch.rand(p.shape, generator=generator) - 1))
            assert base - float((moved(x).argmax(1) == y).double().mean()) < 0.1
    assert found < noise_scale(net, x, y)


def test_a_model_that_noise_cannot_hurt_is_refused():
    x, y = clouds()
    constant = nn.Linear(6, 3)
    with torch.no_grad():
        constant.weight.zero_()
        constant.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="no change of the weights lowers training accuracy"):
        noise_scale(constant, x, torch.full_like(y, 2), drop=0.9)  # chance alone is 0.33


def test_bounds_by_hand():
    rng = np.random.default_rng(0)
    w, u, n, s, t = rng.normal(size=7), rng.normal(size=7), 50, 0.3, 0.4
    found = pacbayes_bounds(w, u, n, s, t)
    assert found["pacbayes_init"] == pytest.approx((u**2).sum() / 0.36 + math.log(50 / 0.3) + 10)
    assert found["pacbayes_orig"] == pytest.approx((w**2).sum() / 0.36 + math.log(50 / 0.3) + 10)
    assert found["pacbayes_mag_flatness"] == pytest.approx(1 / 0.16)
    for name, length in (("init", (u**2).sum()), ("orig", (w**2).sum())):
        total = math.log(50 / 0.4) + 10
        for i in range(7):
            total += 0.25 * math.log((1e-6 + 1.16 * length / 7) / (1e-6 + 0.16 * u[i] ** 2))
        assert found[f"pacbayes_mag_{name}"] == pytest.approx(total)
    sharp = sharpness_bounds(w, u, n, s, t)
    length = (u**2).sum() * math.log(14) / 0.36
    assert sharp["sharpness_init"] == pytest.approx(length + math.log(50 / 0.3) + 10)
    assert sharp["sharpness_mag_init"] > found["pacbayes_mag_init"]


def test_gradient_variance_one_gradient_at_a_time(trained):
    net, _, x, y = trained
    rows = []
    for i in range(30):
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    rows = torch.stack(rows).double()
    truth = float((rows - rows.mean(0)).square().sum(1).mean())
    assert gradient_variance(net, x[:30], y[:30]) == pytest.approx(truth, rel=1e-4)


def test_the_whole_set_is_there_and_finite(trained):
    net, start, x, y = trained
    history = [(10, 0.9), (20, 0.08), (30, 0.01)]
    found = complexity_measures(net, start, x, y, history=history, options=FAST)
    assert len(found) == 40 and all(map(math.isfinite, found.values()))
    assert found["params"] == 6 * 24 + 24 * 3 and found["steps_to_ce_0.1"] == 20
    state = {k: v.double() for k, v in net.state_dict().items()}
    names = ("1.weight", "3.weight")
    moved = sum(float((state[k] - start[k]).square().sum()) for k in names)
    assert found["fro_dist"] == pytest.approx(moved, rel=1e-6)
    with torch.no_grad():
        margin = (net(x).sort(1).values[:, -1] - net(x).sort(1).values[:, -2]).sort().values[11]
    assert found["inverse_margin"] == pytest.approx(float(margin) ** -2, rel=1e-4)
    fewer = complexity_measures(net, start, x, y, without=FAMILIES)
    assert set(fewer) < set(found) and fewer["fro_dist"] == found["fro_dist"]
    bounds = complexity_measures(
        net, start, x, y, without=("flatness", "sharpness"), normalized=True
    )
    assert bounds["params"] == pytest.approx(math.sqrt(found["params"] / 120))
    assert bounds["log_prod_spec"] == pytest.approx(0.5 * (found["log_prod_spec"] - math.log(120)))
    assert bounds["gradient_variance"] == pytest.approx(found["gradient_variance"])


def test_a_convolutional_net_and_what_does_not_change_its_measures():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=40)
    x = (rng.normal(size=(40, 1, 8, 8)) + 3 * y[:, None, None, None]).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = SmallCNN(1, 8, 2, width=4)
    start = copy.deepcopy(net.state_dict())
    net = train_network(lambda: copy.deepcopy(net), x, y, 40)
    given = (torch.as_tensor(x), torch.as_tensor(y))
    found = complexity_measures(net, start, *given, without=("sharpness",), options=FAST)
    assert abs(found["log_prod_spec"] - found["log_prod_spec_fft"]) > 0.1
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    again = complexity_measures(
        net, start, given[0][order], given[1][order], without=("sharpness",), options=FAST
    )
    for name, value in found.items():
        assert again[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("change, word", [
    ({"initial_state": None}, "no initial state"),
    ({"stopping_loss": 1e-9}, "at most 1e-09"),
    ({"without": ("margins",)}, "without"),
    ({"history": [(1, 0.5)]}, "no loss falls"),
])  # fmt: skip
def test_what_is_refused(trained, change, word):
    net, start, x, y = trained
    given = {"initial_state": start, "without": ("flatness", "sharpness")} | change
    with pytest.raises(InputError, match=word):
        complexity_measures(net, x=x, y=y, options=FAST, **given)


def test_an_untrained_model_is_refused_for_its_loss_and_then_for_its_margin(trained):
    net, start, x, y = trained
    fresh = copy.deepcopy(net)
    fresh.load_state_dict(start)
    with pytest.raises(InputError, match="cross-entropy"):
        complexity_measures(fresh, start, x, y)
    with pytest.raises(InputError, match="training accuracy"):
        complexity_measures(fresh, start, x, y, stopping_loss=None)
