"""The recipe's gradients and training against plain torch, its softmax, and a tiny run."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from heldout.bench.modular import one_hot_pairs
from heldout.core.seeds import torch_stream
from heldout.dynamics.collapse import SoftmaxCollapseMonitor
from heldout.dynamics.stablemax_gradient import stablemax_gradient
from heldout.papers import code_hash
from heldout.papers import grokking_stability as recipe
from heldout.papers._grokking_stability import (
    Arm,
    Trace,
    backward,
    differences,
    points,
    softmax_gradient,
    train,
)
from heldout.papers._grokking_stability_tasks import KINDS, split_of
from heldout.papers._grokking_stability_words import WORDS

GROUPS = sorted({c.group for c in recipe.CLAIMS})


@pytest.fixture(scope="module")
def tiny() -> dict[str, dict[str, float]]:
    first = {c.group: c.id for c in reversed(recipe.CLAIMS)}
    return {group: recipe.run(claim, "tiny", 7) for group, claim in first.items()}


@pytest.mark.parametrize("group", ["generalize", "transformer", "parity"])
def test_gradients_are_those_of_autograd(group: str) -> None:
    task, make = KINDS[recipe.SETTINGS["tiny"][group]["task"]](recipe.SETTINGS["tiny"][group], 3)
    ours, theirs = make(), make()
    backward(ours, task, lambda z, y: softmax_gradient(z, y, "float32"))
    nn.functional.cross_entropy(theirs(task.x), task.y).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)  # every arm of a seed starts alike
        assert torch.allclose(a.grad, b.grad, atol=1e-7)
        assert float(a.grad.abs().max()) > 0 or group == "transformer"


@pytest.mark.parametrize("arm", [Arm(12, weight_decay=0.3), Arm(12, stablemax=True)])
def test_training_is_that_of_plain_torch(arm: Arm) -> None:
    task, make = KINDS["pairs"]({"p": 7, "train_share": 0.6, "width": 12}, 3)
    module = make().one_hot()
    x, y = torch.from_numpy(one_hot_pairs(task.x.numpy(), 7)), task.y
    optimizer = torch.optim.AdamW(
        module.parameters(), arm.lr, (0.9, arm.beta2), arm.eps, arm.weight_decay
    )
    wanted = []
    for _ in range(13):
        wanted.append(float((module(x).argmax(1) == y).float().mean()))
        module.zero_grad()
        z = module(x)
        loss = nn.functional.cross_entropy(z, y)
        if arm.stablemax:
            s = torch.where(z >= 0, z + 1, 1 / (1 - z.clamp(max=0)))
            loss = (s.sum(1).log() - s.gather(1, y[:, None])[:, 0].log()).mean()
        loss.backward()
        optimizer.step()
    got = train(arm, make(), task, list(range(13)))
    assert [got.train[s] for s in range(13)] == pytest.approx(wanted, abs=1.01 / len(y))


def test_tasks_are_what_they_say() -> None:
    split = split_of(11, 0.6, 5)
    for kind, size in (("pairs", {}), ("transformer", {"heads": 2, "hidden": 8})):
        setting = {"p": 11, "train_share": 0.6, "width": 8, "embedding_std": 1.0} | size
        task, make = KINDS[kind](setting, 5)
        assert torch.equal(task.x, torch.from_numpy(split.train_pairs))
        assert bool((task.x_test.sum(1) % 11 == task.y_test).all())
        assert make()(task.x).shape == (len(task.y), 11)
    task, make = KINDS["parity"](recipe.SETTINGS["tiny"]["parity"], 5)
    both = torch.cat([task.x, task.x_test])
    assert both.shape == (60, 12) and len(both.unique(dim=0)) == 60
    assert [tuple(w.shape) for w in make().parameters()] == [
        (16, 12), (16,), (16, 16), (16,), (2, 16), (2,)
    ]  # fmt: skip


def test_comparisons_of_arms_on_numbers_by_hand() -> None:
    def trace(test: dict[int, float], shares: dict[int, float]) -> Trace:
        made = Trace(train=dict.fromkeys(test, 1.0), test=test)
        made.monitor.history.update(shares)
        return made

    traces = {
        "float32": trace({4: 0.2, 8: 0.25, 9: 0.3}, {4: 0.1, 9: 0.6}),
        "float64": trace({4: 0.3, 8: 0.45, 9: 0.7}, {4: 0.0, 9: 0.0}),
        "softmax": trace({9: 0.2}, {}),
        "softmax_0.1": trace({9: 0.4}, {}),
        "stablemax": trace({9: 0.9}, {}),
        "perpendicular": trace({5: 0.8}, {}),
    }
    setting = {
        "collapse_at": [["float32", "float64", 9]],
        "accuracy_at": [["float32", "float64", 8]],
        "gain_from": [["float32", 4], ["float64", 4]],
    }
    assert differences(traces, setting) == pytest.approx(
        {
            "test/best_softmax": 0.4,
            "test/stablemax_minus_softmax": 0.5,
            "test/perpendicular_minus_softmax": 0.4,
            "collapsed/float32_minus_float64": 0.6,
            "train/float32_and_float64": 1.0,
            "test/float64_minus_float32": 0.2,
            "gain/float32": 0.1,
            "gain/float64": 0.4,
            "collapsed_then/float32": 0.1,
            "collapsed_then/float64": 0.0,
        }
    )


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_own_gradient_is_zero_exactly_where_the_monitor_says_collapsed(name: str) -> None:
    rng = torch_stream(5)
    y = torch.randint(9, (400,), generator=rng)
    z = torch.randn(400, 9, generator=rng)
    z[torch.arange(400), y] += torch.linspace(0, 45, 400)
    own = softmax_gradient(z, y, name)[torch.arange(400), y]
    told = SoftmaxCollapseMonitor(name).observe(0, z, y).zero_loss.value
    # sums over nine classes are rounded more than once: 0.02 is 0.9 nats on this ladder of gaps
    gone = float((own == 0).float().mean())
    assert told == pytest.approx(gone, abs=0.02)
    assert 0 < told < 1
    leaf = z.to(getattr(torch, name)).clone().requires_grad_()
    nn.functional.cross_entropy(leaf, y, reduction="sum").backward()
    peer = leaf.grad[torch.arange(400), y]
    assert gone == pytest.approx(float((peer == 0).float().mean()), abs=0.01)
    loose = 4 * torch.finfo(leaf.dtype).eps + 1e-7
    assert torch.allclose(leaf.grad.float(), softmax_gradient(z, y, name), atol=loose)
    assert bool((stablemax_gradient(z, y)[torch.arange(400), y] != 0).all())


def test_points() -> None:
    assert points(5) == [0, 1, 2, 3, 4, 5]
    assert 147 in points(3000) and points(3000)[-1] == 3000 and len(points(10**5)) < 70


def test_every_number_that_claims_and_figure_need(tiny: dict[str, dict[str, float]]) -> None:
    for claim in recipe.CLAIMS:
        found = tiny[claim.group]
        wanted = {claim.metric} | {c.metric for c in claim.controls}
        assert wanted <= set(found), claim.id
        assert all(isinstance(v, float) and v == v for v in found.values())
    assert len({c.id for c in recipe.CLAIMS}) == len(recipe.CLAIMS)
    for scale in ("small", "full"):
        for claim in recipe.CLAIMS:  # a control at a step exists at every scale
            setting = recipe.SETTINGS[scale][claim.group]
            for metric in (c.metric for c in claim.controls if "@" in c.metric):
                arm, step = metric.split("/")[1].split("@")
                assert int(step) in points(setting["arms"][arm]["steps"])


@pytest.mark.parametrize("group", GROUPS)
def test_same_seed_same_numbers_and_another_seed_others(
    group: str, tiny: dict[str, dict[str, float]]
) -> None:
    claim = next(c.id for c in recipe.CLAIMS if c.group == group)
    state = torch.get_rng_state()
    assert recipe.run(claim, "tiny", 7) == tiny[group]
    assert torch.equal(torch.get_rng_state(), state)
    assert recipe.run(claim, "tiny", 8) != tiny[group]


def test_figure_of_one_panel(tiny: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    seeds = [{"seed": 0, "metrics": tiny["weight_decay"]}, {"seed": 1, "error": "stopped"}]
    ax = Figure().subplots()
    assert recipe.plot({"weight_decay_groks": {"seeds": seeds}}, ax) is ax
    assert len(ax.lines) == 6 and ax.get_xscale() == "log"
    curve = next(line for line in ax.lines if line.get_label() == "weight decay, train")
    assert float(curve.get_ydata()[-1]) == tiny["weight_decay"]["train/weight_decay"]


def test_figure_of_all_panels(tiny: dict[str, dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    drawn = Figure(layout="constrained")
    ax = drawn.subplots()
    records = {c.id: {"seeds": [{"seed": 0, "metrics": tiny[c.group]}]} for c in recipe.CLAIMS}
    assert recipe.plot(records, ax) is ax
    drawn.canvas.draw()
    panels = [p for p in drawn.axes if p is not ax]
    assert len(panels) == 4 and recipe.ALT
    assert [len(p.lines) >= 6 for p in panels] == [True] * 4
    transformer, half = panels[1].lines, panels[2].lines[6:]
    last = tiny["transformer"]["test/weight_decay"]
    assert float(transformer[4].get_ydata()[-1]) == last
    metrics = tiny["stall"]
    onsets = {
        min(
            (int(k.split("@")[1]) for k, v in metrics.items()
             if k.startswith(f"collapsed/{arm}@") and v >= 0.5),
            default=0,
        )
        for arm in ("float16", "float32", "float64")
    } - {0}  # fmt: skip
    assert {int(line.get_xdata()[0]) for line in half} == onsets


def test_every_claim_has_its_words_and_they_are_not_hashed() -> None:
    assert list(WORDS) == [c.id for c in recipe.CLAIMS]
    reached = code_hash.reached(recipe.__name__)
    assert not {m for m in reached if m.endswith(("_words", "_figure"))}
    assert "heldout.nets.tiny_transformer" in reached


def test_recipe_imports_no_torch() -> None:
    code = "import sys, heldout.papers.grokking_stability; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
