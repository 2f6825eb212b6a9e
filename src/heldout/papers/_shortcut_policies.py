"""Runs of the recipe `shortcut_policies`: one policy per setting, all trained at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from heldout.bench.islands import IslandData, IslandWorld, Ranges, island_world
from heldout.core.seeds import stream, torch_stream
from heldout.data.diversity.dependence import disjoint_islands_information
from heldout.data.diversity.factors import Binning
from heldout.data.diversity.report import dataset_report
from heldout.data.diversity.swap import relevant_accuracy, swap_test


@dataclass(frozen=True)
class Setting:
    """One training set: from where islands are seen, and where the other island is tested."""

    key: str
    ranges: Ranges
    other: tuple[float, float]
    """View of each island at which tasks of the other one are tested."""
    reach: float = 0.0
    """Views of training rows are moved by up to this much, once."""
    bridge: float = 0.0


def sweeps(given: dict[str, Any]) -> list[Setting]:
    """Return every setting of the recipe."""
    low, high = given["diversity"]["centres"]
    width = given["disparity"]["width"]
    base = around((low, high), width)
    out = [
        Setting(f"diversity@{w:g}", around((low, high), w), (low, high))
        for w in given["diversity"]["widths"]
    ]
    for apart in given["disparity"]["apart"]:
        centres = (0.5 - apart / 2, 0.5 + apart / 2)
        out.append(Setting(f"disparity@{apart:g}", around(centres, width), centres))
    near, far = given["inward"]["edges"]
    for w in given["inward"]["widths"]:
        out.append(Setting(f"inward@{w:g}", ((near, near + w), (far - w, far)), (near, far)))
    for reach in given["augmentation"]["reach"]:
        out.append(Setting(f"augmentation@{reach:g}", base, (low, high), reach=reach))
    for share in given["bridge"]["shares"]:
        out.append(Setting(f"bridge@{share:g}", base, (low, high), bridge=share))
    return out


def around(centres: tuple[float, float], width: float) -> Ranges:
    """Return a range of one width around each centre."""
    a, b = ((c - width / 2, c + width / 2) for c in centres)
    return a, b


def measure(given: dict[str, Any], seed: int) -> dict[str, float]:
    """Train a policy per setting; test it at its own views, at the other island's, and beyond."""
    world = island_world(seed, **given["world"])
    every = sweeps(given)
    trained = [_training(world, s, given, seed) for s in every]
    nets = train(
        np.stack([d.x for d in trained]),
        np.stack([world.actions[d.task] for d in trained]), given, seed,
    )  # fmt: skip
    out: dict[str, float] = {}
    for k, (setting, data) in enumerate(zip(every, trained, strict=True)):
        found = tested(world, setting, [p[k] for p in nets], given)
        found |= described(world, setting, data, given, seed)
        out |= {f"{name}/{setting.key}": value for name, value in found.items()}
    plain = world.sample(given["tested"], around((0.3, 0.7), 0.1), part="oracle")
    out["oracle"] = relevant_accuracy(plain.x[:, :-2], plain.task, seed=seed).value
    return out | summary(out, every, given)


def _training(world: IslandWorld, s: Setting, given: dict[str, Any], seed: int) -> IslandData:
    # The same observations in every setting, seen from other views.
    data = world.sample(given["n"], s.ranges, bridge=s.bridge)
    if not s.reach:
        return data
    moved = stream(seed, "augmentation").uniform(-s.reach, s.reach, given["n"])
    view = data.view + moved
    return IslandData(world.seen_from(data.x, view, data.view), data.task, view)


def train(x: np.ndarray, y: np.ndarray, given: dict[str, Any], seed: int) -> list[torch.Tensor]:
    """Return W1, b1, W2, ... of M ReLU networks, (M, a, b) and (M, 1, b), by Adam on squares.

    Adam works number by number, so that training them together changes nothing.
    """
    m, n, width = x.shape
    inputs, wanted = torch.as_tensor(x), torch.as_tensor(y, dtype=torch.float32)
    rng, sizes = torch_stream(seed, "weights"), [width, *given["hidden"], y.shape[2]]
    nets: list[torch.Tensor] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        weight = (2 * torch.rand(1, a, b, generator=rng) - 1) * (1 / a) ** 0.5
        # One start for all settings: they differ in their data alone.
        nets += [weight.repeat(m, 1, 1), torch.zeros(m, 1, b)]
    for p in nets:
        p.requires_grad_()
    optimizer = torch.optim.Adam(nets, lr=given["rate"], fused=True)
    order = torch_stream(seed, "order")
    for _ in range(given["steps"]):
        rows = torch.randint(n, (given["batch"],), generator=order)
        loss = ((answer(nets, inputs[:, rows]) - wanted[:, rows]) ** 2).mean((1, 2)).sum()
        for p, gradient in zip(nets, torch.autograd.grad(loss, nets), strict=True):
            p.grad = gradient
        optimizer.step()
    return [p.detach() for p in nets]


def answer(nets: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs (M, n, c) of M networks on rows (M, n, d)."""
    for k in range(0, len(nets), 2):
        x = torch.baddbmm(nets[k + 1], x, nets[k])
        x = x.relu() if k < len(nets) - 2 else x
    return x


def tested(
    world: IslandWorld, s: Setting, net: list[torch.Tensor], given: dict[str, Any]
) -> dict[str, float]:
    """Success at own views, at the other island's, and as far away on the outer side."""
    data = world.sample(given["tested"], s.ranges, part="test")
    own = world.island[data.task]
    middle = np.array(s.ranges).mean(axis=1)
    other = np.array(s.other)[1 - own]

    def policy(x: Any) -> np.ndarray:
        stacked = [p[None] for p in net]
        action = answer(stacked, torch.as_tensor(np.asarray(x))[None])[0].numpy()
        off = ((action[:, None] - world.actions) ** 2).sum(axis=2)
        return np.asarray(-off)  # the nearest action wins

    def seen(view: np.ndarray) -> Any:
        return lambda x, rng: world.seen_from(np.asarray(x), view, data.view)

    beyond = 2 * middle[own] - other
    # Islands at one place have no other side: there is nothing to swap, and views stay.
    same = bool(np.allclose(other, data.view))
    result = swap_test(
        policy, (data.x, data.task, own), seen(other + 1e-4 * same), unseen=seen(beyond)
    )
    assert result.unseen is not None
    return {
        "id": result.id.value,
        "ood": result.ood.value,
        "shortcut": result.shortcut_rate.value,
        "unseen": result.unseen.value,
    }


def described(
    world: IslandWorld, s: Setting, data: IslandData, given: dict[str, Any], seed: int
) -> dict[str, float]:
    """What the data set says of itself before anything is trained."""
    report = dataset_report(
        data.view, data.task, world.island[data.task],
        binning=Binning("width", given["bin"]), draws=given["draws"], seed=seed,
    )  # fmt: skip
    half = len(world.actions) // 2
    width = [b - a for a, b in s.ranges]
    bins = [max(1, round(w / given["bin"])) for w in width]
    closed = disjoint_islands_information([np.log(half)] * 2, np.log(bins).tolist())
    return {
        "nmi": report.nmi.nmi.value,
        "closed_form": closed,
        "islands": report.island_score.value,
        "gap": report.pairs[0].gap.value,
        "overlap": report.pairs[0].overlap.value,
        "spread": float(np.mean([p.diversity.value for p in report.parts])),
    }


def summary(out: dict[str, float], every: list[Setting], given: dict[str, Any]) -> dict[str, float]:
    """Return the differences that claims are about."""

    def change(what: str, sweep: str, a: float, b: float) -> float:
        return out[f"{what}/{sweep}@{b:g}"] - out[f"{what}/{sweep}@{a:g}"]

    widths, apart = given["diversity"]["widths"], given["disparity"]["apart"]
    inward, reach = given["inward"]["widths"], given["augmentation"]["reach"]
    shares = given["bridge"]["shares"]
    near = given["disparity"]["width"]  # islands that touch, and share no view
    disjoint = [s.key for s in every if s.ranges[0][1] < s.ranges[1][0] - 1e-9]
    exact = [k for k in disjoint if k.startswith(("diversity", "disparity", "inward"))]
    found = {
        "gain/diversity": change("ood", "diversity", widths[0], widths[-1]),
        "gain/diversity_disjoint": change("ood", "diversity", widths[0], widths[-2]),
        "gain/inward": change("ood", "inward", inward[0], inward[-1]),
        "gain/disparity": change("ood", "disparity", near, apart[-1]),
        "gain/augmentation": change("ood", "augmentation", 0.0, reach[-1]),
        "gain/bridge": change("ood", "bridge", 0.0, shares[-1]),
        "id_gain/diversity": change("id", "diversity", widths[0], widths[-1]),
        "id_gain/augmentation": change("id", "augmentation", 0.0, reach[-1]),
        "nmi_change/disparity": abs(change("nmi", "disparity", near, apart[-1])),
        "islands_change/disparity": change("islands", "disparity", near, apart[-1]),
        "nmi_off": max(abs(out[f"nmi/{k}"] - out[f"closed_form/{k}"]) for k in exact),
    }
    keys = [s.key for s in every if s.key.startswith(("diversity", "disparity", "inward"))]
    ood = [out[f"ood/{k}"] for k in keys]
    for what in ("islands", "nmi", "gap", "overlap"):
        found[f"rank/{what}"] = float(spearmanr([out[f"{what}/{k}"] for k in keys], ood).statistic)
    return {k: float(v) for k, v in found.items()}
