"""The recipe's fast network against torch, and a tiny run of every experiment."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from heldout.bench.slabs import make_lms
from heldout.core.seeds import stream, torch_stream
from heldout.dynamics.feature_reliance import Group, group_reliance
from heldout.papers import simplicity_bias as recipe
from heldout.papers._simplicity_bias_nets import Net, Training, attack, batches, train

GROUPS = sorted({c.group for c in recipe.CLAIMS})
FIRST = {c.group: c.id for c in reversed(recipe.CLAIMS)}


@pytest.fixture(scope="module")
def tiny() -> dict[str, dict[str, float]]:
    return {group: recipe.run(FIRST[group], "tiny", 7) for group in GROUPS}


def _data(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch_stream(3)
    return torch.randn(n, d, generator=rng), torch.randint(2, (n,), generator=rng)


def test_gradients_by_hand_are_those_of_autograd() -> None:
    x, y = _data(64, 5)
    net = Net(5, Training(1, width=12, batch=64), torch_stream(0))
    total = net.gradient(x, (2 * y - 1).float())
    module = net.module()
    loss = nn.functional.cross_entropy(module(x), y)
    loss.backward()
    assert float(total) / 64 == pytest.approx(loss.item(), rel=1e-5)
    layers = [m for m in module if isinstance(m, nn.Linear)]
    for i, layer in enumerate(layers):
        assert torch.allclose(net.grads[2 * i], layer.weight.grad.T, atol=1e-6)
        assert torch.allclose(net.grads[2 * i + 1], layer.bias.grad, atol=1e-6)
        assert float(layer.weight.grad.abs().max()) > 1e-4


def test_attack_stays_within_epsilon_and_climbs() -> None:
    x, y = _data(64, 5)
    net = Net(5, Training(1, width=12, batch=64), torch_stream(0))
    sign, module = (2 * y - 1).float(), net.module()
    # the direction is autograd's
    moved = x.clone().requires_grad_()
    nn.functional.cross_entropy(module(moved), y).backward()
    assert torch.equal(net.uphill(x, sign, torch.empty_like(x)), moved.grad.sign())
    found = attack(net, x, sign, 0.1, 7, torch_stream(1))
    assert float((found - x).abs().max()) <= 0.1 + 1e-6
    noise = x + 0.1 * (torch.randint(2, x.shape, generator=torch_stream(2)) * 2 - 1)
    with torch.no_grad():
        usual, noisy, worst = (
            float(nn.functional.cross_entropy(module(z), y)) for z in (x, noise, found)
        )
    assert worst - usual > 5 * abs(noisy - usual) > 0
    copied = Net.of(module, 64)
    assert torch.equal(copied.flat, net.flat)


def test_training_against_attacks_makes_a_net_withstand_them() -> None:
    rng = torch_stream(5)
    y = torch.randint(2, (600,), generator=rng)
    # one coordinate of margin 1, and twenty that tell little each and much together
    x = torch.randn(600, 21, generator=rng) * 0.5 + 0.25 * (2 * y - 1)[:, None]
    x[:, 0] = (2 * y - 1) * (1 + torch.rand(600, generator=rng))
    right = []
    for epsilon in (0.0, 0.5):
        options = Training(300, width=24, lr=0.05, momentum=0.9, batch=100, epsilon=epsilon)
        net, _ = train(x, y, options, 0, "withstand")
        moved = attack(Net.of(net, 600), x, (2 * y - 1).float(), 0.5, 20, torch_stream(6))
        right.append(float((net(moved).argmax(1) == y).float().mean()))
    assert right[1] > right[0] + 0.1 and right[1] > 0.9


def test_training_is_that_of_torch_with_momentum_and_decay() -> None:
    x, y = _data(150, 5)
    options = Training(20, width=12, lr=0.1, momentum=0.9, weight_decay=0.01, batch=32)
    got, losses = train(x, y, options, 4, "check")
    rng = torch_stream(4, "simplicity_bias", "check")
    peer = Net(5, options, rng).module()
    sgd = torch.optim.SGD(peer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _, rows in batches(150, 32, 20, rng):
        sgd.zero_grad()
        nn.functional.cross_entropy(peer(x[rows]), y[rows]).backward()
        sgd.step()
    for a, b in zip(got.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert sorted(losses) == [4, 8, 12, 16, 20]


def test_training_stops_once_fitted_and_epochs_do_not_repeat_rows() -> None:
    x, y = _data(128, 5)
    x[:, 0] = 10 * (2 * y - 1)
    _, losses = train(x, y, Training(500, width=12, batch=64, fitted=0.05), 0, "stop")
    assert max(losses) < 500 and losses[max(losses)] < 0.05
    seen = torch.cat([rows for _, rows in batches(10, 3, 3, torch_stream(1))])
    assert len(seen.unique()) == 9


def test_every_number_that_claims_and_figure_need(tiny: dict[str, dict[str, float]]) -> None:
    assert len({c.id for c in recipe.CLAIMS}) == len(recipe.CLAIMS)
    for claim in recipe.CLAIMS:
        wanted = {claim.metric} | {c.metric for c in claim.controls}
        assert wanted <= set(tiny[claim.group]), claim.id
        assert all(isinstance(v, float) and v == v for v in tiny[claim.group].values())


def test_a_net_leans_on_the_linear_block_unless_it_says_nothing() -> None:
    options = Training(400, width=32, lr=0.3, momentum=0.9)
    data, held = make_lms(8000, dim=4), make_lms(2000, dim=4, part="test")
    blocks = data.blocks()
    blocks[:, 0] = blocks[stream(0, "order").permutation(8000), 0]
    for x, uses in ((data.x, True), (data.rotated(blocks), False)):
        net, _ = train(torch.from_numpy(x), torch.from_numpy(data.y), options, 0, "lean")
        found = group_reliance(
            net, held.x, held.y, {"linear": Group([0], held.rotation.T)}, n_perm=3
        )["linear"]
        left, kept = found.randomized.value, found.complement_randomized.value
        assert (left < 0.7 and kept > 0.95) if uses else (abs(kept - 0.5) < 0.1 < left - 0.5)


def test_same_seed_same_numbers_and_another_seed_others(tiny: dict[str, dict[str, float]]) -> None:
    state = torch.get_rng_state()
    assert recipe.run(FIRST["ms57"], "tiny", 7) == tiny["ms57"]
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe.run(FIRST["ms57"], "tiny", 8) != tiny["ms57"]


def test_figure(tiny: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    records = {
        c.id: {"seeds": [{"seed": 0, "metrics": tiny[c.group]}, {"seed": 1, "error": "stopped"}]}
        for c in recipe.CLAIMS
    }
    ax = Figure().subplots()
    assert recipe.plot(records, ax) is ax
    assert len(ax.patches) == 18
    assert ax.patches[0].get_height() == tiny["lms5"]["auc/lms5/standard"]


def test_example_says_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(recipe.EXAMPLE, "EXAMPLE", "exec"), {})
    assert capsys.readouterr().out.strip() == "shortcut"


def test_recipe_imports_no_torch() -> None:
    code = "import sys, heldout.papers.simplicity_bias; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
