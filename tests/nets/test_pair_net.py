import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from heldout.core.errors import InputError
from heldout.dynamics.stablemax import StableMaxCrossEntropy
from heldout.dynamics.stablemax_gradient import stablemax_gradient
from heldout.nets.pair_net import PairNet, cross_entropy_gradient


def task(sizes=(7, 7), n=40, classes=7, seed=0):
    rng = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(s, (n,), generator=rng) for s in sizes], 1)
    return ids, torch.randint(classes, (n,), generator=rng)


def one_hot(ids, sizes, dtype=torch.float32):
    parts = [F.one_hot(c, s) for c, s in zip(ids.unbind(1), sizes, strict=True)]
    return torch.cat(parts, 1).to(dtype)


def gradients(net):
    return [w.grad.clone() for w in net.weights]


def relative(found, true):
    pairs = zip(found, true, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


LOSSES = {
    "softmax": (None, nn.CrossEntropyLoss()),
    "stablemax": (stablemax_gradient, StableMaxCrossEntropy()),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "square"])
@pytest.mark.parametrize(
    ("sizes", "hidden"), [((7, 7), (16,)), ((7, 5), (16, 12)), ((3, 4, 5), (16, 12, 10))]
)
@pytest.mark.parametrize("block", [1, 13, 1000])
def test_equals_the_network_on_one_hot_rows(loss, activation, sizes, hidden, block):
    by_hand, by_graph = LOSSES[loss]
    net = PairNet(sizes, hidden, 7, activation=activation, block=block, seed=3)
    ids, y = task(sizes)
    plain = net.one_hot()
    logits = plain(one_hot(ids, sizes))
    assert float((net(ids) - logits).detach().abs().max()) < 1e-6
    by_graph(logits, y).backward()
    true = [layer.weight.grad.T for layer in plain if isinstance(layer, nn.Linear)]
    net.accumulate(ids, y, by_hand)
    assert relative(gradients(net), true) < 1e-6
    net.zero_grad()
    by_graph(net(ids), y).backward()
    assert relative(gradients(net), true) < 1e-6
    net.zero_grad()
    net.accumulate(ids, (y + 1) % 7, by_hand)  # a test that could not fail would say nothing
    assert relative(gradients(net), true) > 1e-2


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "square"])
def test_equals_finite_differences(loss, activation):
    by_hand, by_graph = LOSSES[loss]
    net = PairNet((4, 4), (6, 5), 4, activation=activation, block=5).double()
    ids, y = task((4, 4), 12, 4)
    net.accumulate(ids, y, by_hand)
    h = 1e-6
    for w, g in zip(net.weights, gradients(net), strict=True):
        flat, slopes = w.data.view(-1), []
        for k in range(len(flat)):
            ends = []
            for step in (h, -2 * h):
                flat[k] += step
                ends.append(float(by_graph(net(ids), y).detach()))
            flat[k] += h
            slopes.append((ends[0] - ends[1]) / (2 * h))
        assert torch.allclose(g.view(-1), torch.tensor(slopes, dtype=g.dtype), atol=1e-8)


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_training_is_that_of_the_graph(cls):
    fast, slow = PairNet((5, 5), (12,), 5).double(), PairNet((5, 5), (12,), 5).double()
    ids, y = task((5, 5), 30, 5)
    optimizers = [cls(net.parameters(), lr=0.01) for net in (fast, slow)]
    for _ in range(20):
        for o in optimizers:
            o.zero_grad()
        fast.accumulate(ids, y)
        F.cross_entropy(slow(ids), y).backward()
        for o in optimizers:
            o.step()
    for a, b in zip(fast.weights, slow.weights, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9)


def test_gradients_add_up_and_frozen_weights_are_left_alone():
    net = PairNet((7, 7), (9, 8), 7)
    ids, y = task()
    net.accumulate(ids, y)
    whole = gradients(net)
    net.zero_grad()
    net.accumulate(ids[:20], y[:20])
    net.accumulate(ids[20:], y[20:])
    assert relative([g / 2 for g in gradients(net)], whole) < 1e-6
    net.zero_grad()
    net.weights[1].requires_grad_(False)
    net.accumulate(ids, y)
    assert net.weights[1].grad is None
    assert relative([net.weights[0].grad, net.weights[2].grad], whole[::2]) < 1e-6


def test_weights_hang_on_the_seed_and_on_no_global_state():
    before = torch.get_rng_state()
    a, b, c = PairNet((5, 5), (8,), 5), PairNet((5, 5), (8,), 5), PairNet((5, 5), (8,), 5, seed=1)
    a.one_hot()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.weights[0], b.weights[0])
    assert not torch.equal(a.weights[0], c.weights[0])
    assert float(a.weights[0].detach().abs().max()) <= 10**-0.5


def test_copies_and_state():
    net, other = PairNet((5, 5), (8,), 5), PairNet((5, 5), (8,), 5, seed=1)
    other.load_state_dict(net.state_dict())
    ids, y = task((5, 5), 9, 5)
    assert torch.equal(copy.deepcopy(net)(ids), other(ids))
    assert list(net.state_dict()) == ["weights.0", "weights.1"]
    assert torch.equal(net(ids.int()), net(ids))


def test_cross_entropy_gradient_is_autograds():
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    y = task(classes=6, n=20)[1]
    leaf = z.clone().requires_grad_()
    F.cross_entropy(leaf, y, reduction="sum").backward()
    assert torch.allclose(cross_entropy_gradient(z, y), leaf.grad, rtol=1e-12, atol=1e-15)
    with pytest.raises(InputError, match="-1"):
        cross_entropy_gradient(z, y - y.max() - 1)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (torch.zeros(3, 3).long(), r"\(3, 3\)"),
        (torch.zeros(3, 2), "float32"),
        (torch.zeros(3).long(), r"\(3,\)"),
        (torch.tensor([[0, 5]]), "0 to 4"),
        (torch.tensor([[5, 0]]), "column 0"),
        (torch.tensor([[0, -1]]), "-1"),
    ],
)
def test_bad_ids(ids, says):
    net = PairNet((5, 5), (8,), 5)
    with pytest.raises(InputError, match=says):
        net(ids)
    with pytest.raises(InputError, match=says):
        net.accumulate(ids, torch.zeros(len(ids)).long())


def test_bad_labels_and_options():
    net = PairNet((5, 5), (8,), 5)
    ids = torch.zeros(2, 2).long()
    for count in (0, 3):
        with pytest.raises(InputError, match="label"):
            net.accumulate(ids[:count], torch.zeros(count + (count > 0)).long())
    for bad in ({"sizes": ()}, {"hidden": ()}, {"block": 0}, {"activation": "tanh"}):
        options = {"sizes": (5, 5), "hidden": (8,), "n_classes": 5} | bad
        with pytest.raises(InputError):
            PairNet(**options)
