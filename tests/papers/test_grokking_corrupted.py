"""The recipe's fast step against autograd, its IPR and pruning end to end, and a tiny run."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from heldout.bench.corrupted_modular import corrupted_modular
from heldout.bench.modular import one_hot_pairs
from heldout.papers import grokking_corrupted as recipe
from heldout.papers._grokking_corrupted_batches import BatchArm, BatchNet, train_batches
from heldout.papers._grokking_corrupted_net import (
    Arm,
    SquareNet,
    answers,
    initial_weights,
    module,
    train,
)

GROUPS = {c.group: c.id for c in reversed(recipe.CLAIMS)}


@pytest.fixture(scope="module")
def every():
    return {group: recipe.run(claim, "tiny", 7) for group, claim in GROUPS.items()}


@pytest.fixture(scope="module")
def tiny(every):
    return every["corrupted"]


def test_gradients_by_hand_are_those_of_autograd():
    task = corrupted_modular(23, 0.8, 0.2)  # 423 pairs: more than one chunk
    weights = [w.requires_grad_() for w in initial_weights(23, 12, 0)]
    pairs, y = torch.from_numpy(task.train_pairs), torch.from_numpy(task.train_labels)
    SquareNet(weights, pairs, y).backward()
    net = module((weights[0], weights[1]))
    out = net(torch.from_numpy(one_hot_pairs(task.train_pairs, 23)))
    assert (answers(weights, pairs) == out.argmax(1).numpy()).all()
    nn.functional.mse_loss(out, nn.functional.one_hot(y, 23).float()).backward()
    for w, layer in zip(weights, (net[0], net[2]), strict=True):
        assert torch.allclose(w.grad, layer.weight.grad.T, rtol=1e-4, atol=1e-9)
        assert float(w.grad.abs().max()) > 1e-6


def test_training_is_that_of_plain_torch():
    task = corrupted_modular(11, 0.7, 0.2)
    start = initial_weights(11, 16, 3)
    net = module((start[0], start[1]))
    x = torch.from_numpy(one_hot_pairs(task.train_pairs, 11))
    y = nn.functional.one_hot(torch.from_numpy(task.train_labels), 11).float()
    arm = Arm(steps=20, weight_decay=2.0)
    optimizer = torch.optim.AdamW(net.parameters(), arm.lr, arm.betas, arm.eps, 2.0)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    trace = train(arm, task, 16, 3, [0])
    assert torch.allclose(trace.weights[0], net[0].weight.T, atol=1e-4)
    assert torch.allclose(trace.weights[1], net[2].weight.T, atol=1e-4)
    dropped = train(Arm(steps=20, dropout=0.5), task, 16, 3, [])
    assert not torch.allclose(dropped.weights[0], trace.weights[0], atol=1e-3)


def test_every_number_that_claims_need(every):
    for claim in recipe.CLAIMS:
        wanted = {claim.metric} | {c.metric for c in claim.controls}
        assert wanted <= set(every[claim.group]), claim.id
    assert all(isinstance(v, float) and v == v for m in every.values() for v in m.values())
    assert len({c.id for c in recipe.CLAIMS}) == len(recipe.CLAIMS)


@pytest.mark.parametrize("norm", [False, True])
def test_batch_net_is_that_of_plain_torch(norm):
    task = corrupted_modular(11, 0.7, 0.2)
    first, last = initial_weights(11, 16, 3)
    net = BatchNet(first.clone(), last.clone(), norm)
    layers = [*module((first, last))]
    peer = nn.Sequential(*layers[:2], *([nn.BatchNorm1d(16)] if norm else []), layers[2])
    pairs, x = torch.from_numpy(task.train_pairs), one_hot_pairs(task.train_pairs, 11)
    got, wanted = net(pairs), peer(torch.from_numpy(x))
    assert torch.allclose(got, wanted, atol=1e-6)
    got.square().mean().backward()
    wanted.square().mean().backward()
    assert torch.allclose(net.first.grad, peer[0].weight.grad.T, atol=1e-6)
    assert torch.allclose(net.last.grad, peer[-1].weight.grad.T, atol=1e-6)


def test_one_batch_of_everything_is_full_batch_training():
    task = corrupted_modular(11, 0.7, 0.2)
    looks = list(range(0, 41, 5))
    whole = train(Arm(40, lr=0.005), task, 16, 3, looks)
    batches = train_batches(BatchArm(40, batch=10**6), task, 16, 3, looks)
    assert batches.train == pytest.approx(whole.train, abs=0.03)  # sums in another order
    assert batches.train[40] > batches.train[0] + 0.2
    small = train_batches(BatchArm(40, batch=16), task, 16, 3, looks)
    assert small.train != batches.train


def test_differences_are_of_the_arms_that_they_name(every):
    dropout, batches, forgetting = every["dropout"], every["batches"], every["forgetting"]
    assert dropout["inverted_over_none/none"] == 0.0
    wanted = dropout["inverted/dropout_0.3"] - dropout["inverted/none"]
    assert dropout["inverted_over_none/dropout_0.3"] == wanted
    late = [v for k, v in batches.items() if k.startswith("inverted/batch_norm@") and at(k) >= 22.5]
    assert batches["inverted_late/batch_norm"] == pytest.approx(sum(late) / len(late))
    last = {f"{kind}/less@30" for kind in ("train", "test")}
    assert forgetting["left/less"] == max(forgetting[k] for k in last)
    assert forgetting["peak/less"] >= forgetting["test/less"]


def at(key):
    return float(key.split("@")[1])


def test_same_seed_same_numbers_and_another_seed_others(tiny):
    state = torch.get_rng_state()
    assert recipe.run("unlearning", "tiny", 7) == tiny
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe.run("unlearning", "tiny", 8) != tiny


def test_figure(tiny):
    from matplotlib.figure import Figure

    seeds = [{"seed": 0, "metrics": tiny}, {"seed": 1, "error": "stopped"}]
    ax = Figure().subplots()
    assert recipe.plot({"coexistence": {"seeds": seeds}}, ax) is ax
    curve = next(line for line in ax.lines if line.get_label() == "low ipr, test")
    assert len(ax.lines) == 8 and list(curve.get_xdata()) == [0, 10, 20, 30, 40, 50, 60]
    assert float(curve.get_ydata()[0]) == tiny["test/plain"]


@pytest.mark.parametrize("claim", ["dropout_inverts", "weight_decay_forgets", "batch_norm_adds"])
def test_records_without_pruning_are_drawn_by_step(every, claim):
    from matplotlib.figure import Figure

    group = next(c.group for c in recipe.CLAIMS if c.id == claim)
    first = {c.group: c.id for c in reversed(recipe.CLAIMS)}[group]
    ax = Figure().subplots()
    recipe.plot({first: {"seeds": [{"seed": 0, "metrics": every[group]}]}}, ax)
    assert ax.get_xlabel() == "step" and len(ax.lines) in (4, 6)
    assert all(len(line.get_xdata()) > 5 for line in ax.lines)


def test_the_example_runs():
    lines = [
        f"from {u.rpartition('.')[0]} import {u.rpartition('.')[2]}" for u in recipe.PAPER.uses
    ]
    names = {}
    with torch.random.fork_rng():
        exec("\n".join(lines) + recipe.EXAMPLE, names)
    assert names["answer"].localized in (True, False)
    assert names["phase"].stored.low <= 0.05 <= names["phase"].stored.high
    assert set(names["curve"].whole) == {"suspect", "clean", "held-out"}


def test_recipe_imports_no_torch():
    code = "import sys, heldout.papers.grokking_corrupted; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
