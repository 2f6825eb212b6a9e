"""How the recipe `grokking_stability` trains, and what it notes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from heldout.dynamics.collapse import SoftmaxCollapseMonitor
from heldout.dynamics.logit_scaling import scaling_alignment
from heldout.dynamics.numerics import FORMATS
from heldout.dynamics.orthograd import OrthoGrad
from heldout.dynamics.stablemax_gradient import stablemax_gradient
from heldout.nets.pair_net import LogitGradient, PairNet
from heldout.papers._grokking_stability_tasks import KINDS, Task


@dataclass(frozen=True)
class Arm:
    """One way of training; every arm of a seed starts from the same weights and split."""

    steps: int
    """Full-batch steps."""
    lr: float = 0.01
    """Learning rate of AdamW."""
    weight_decay: float = 0.0
    """Of AdamW, on all weights."""
    beta2: float = 0.98
    """Second moment's decay."""
    perpendicular: bool = False
    """Project the gradients."""
    stablemax: bool = False
    """StableMax in float64 rather than softmax cross-entropy."""
    precision: str = "float32"
    """In which softmax, its loss and their gradient are computed; the network is float32."""
    eps: float = 1e-25
    """AdamW's: the usual 1e-8 would stop small gradients long before softmax collapses."""


@dataclass
class Trace:
    """What one arm did, by step."""

    train: dict[int, float] = field(default_factory=dict)
    """Training accuracy."""
    test: dict[int, float] = field(default_factory=dict)
    """Accuracy on the pairs that were held out."""
    monitor: SoftmaxCollapseMonitor = field(default_factory=SoftmaxCollapseMonitor)
    """Share of collapsed training examples in the arm's precision."""
    alignment: dict[int, float] = field(default_factory=dict)
    """cos(-g, theta) over all weights, at the first and the last step."""


def softmax_gradient(z: Tensor, y: Tensor, precision: str) -> Tensor:
    """Return d(sum of cross-entropies)/dz in float32, each operation rounded to a format.

    An example whose other classes' exp(z - max) sum to at most eps / 2 gets p_y - 1 = 0 exactly:
    softmax collapse as in the paper.
    DIFFERS: by hand, so that every format goes through the same operations; the division by n is
    left to float32, so that 1 / n in float16 adds no underflow of its own.
    """
    low = z.to(FORMATS[precision])
    share = (low - low.amax(1, keepdim=True)).exp_()
    share /= share.sum(1, keepdim=True)
    share[torch.arange(len(y)), y] -= 1
    return share.float()


def train(arm: Arm, model: nn.Module, task: Task, looks: list[int]) -> Trace:
    """Train one arm and look at it at the given steps (0 is before the first) and the last."""
    weights = list(model.parameters())
    options: dict[str, Any] = {
        "lr": arm.lr, "betas": (0.9, arm.beta2), "eps": arm.eps,
        "weight_decay": arm.weight_decay, "fused": True,
    }  # fmt: skip
    adamw = torch.optim.AdamW
    optimizer: torch.optim.Optimizer = (
        OrthoGrad(weights, adamw, **options) if arm.perpendicular else adamw(weights, **options)
    )
    gradient = (
        stablemax_gradient if arm.stablemax else partial(softmax_gradient, precision=arm.precision)
    )
    trace = Trace(monitor=SoftmaxCollapseMonitor(arm.precision))
    for step in range(arm.steps + 1):
        if step in looks or step == arm.steps:
            look(trace, step, model, task, arm)
        if step < arm.steps:
            optimizer.zero_grad()
            backward(model, task, gradient)
            optimizer.step()
    return trace


def backward(model: nn.Module, task: Task, gradient: LogitGradient) -> None:
    """Set the weights' gradients of the mean loss, given the loss's at the logits."""
    if isinstance(model, PairNet):
        model.accumulate(task.x, task.y, gradient)
    else:
        z = model(task.x)
        z.backward(gradient(z.detach(), task.y) / len(task.y))


def look(trace: Trace, step: int, model: nn.Module, task: Task, arm: Arm) -> None:
    """Note accuracies; where softmax is used, also collapsed shares and the first alignments."""
    with torch.no_grad():
        z, held = model(task.x), model(task.x_test)
    trace.train[step] = float((z.argmax(1) == task.y).float().mean())
    trace.test[step] = float((held.argmax(1) == task.y_test).float().mean())
    if arm.stablemax:
        return
    trace.monitor.observe(step, z, task.y)
    if step in (0, arm.steps):
        aligned = scaling_alignment(model, task.x, task.y, batch_size=len(task.y))
        trace.alignment[step] = aligned.every


def points(steps: int) -> list[int]:
    """Return the steps to look at: 0, 1, then twelve to a decade, and the last.

    >>> points(3)
    [0, 1, 2, 3]
    """
    spaced = {round(10 ** (i / 12)) for i in range(12 * len(str(steps)) + 1)}
    return sorted({0, steps} | {s for s in spaced if s <= steps})


def measure(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Train every arm of an experiment on one draw and return its numbers, see `summary`."""
    task, make = KINDS[setting["task"]](setting, seed)
    traces: dict[str, Trace] = {}
    for name, options in setting["arms"].items():
        arm = Arm(**options)
        looks = points(arm.steps) + setting.get("looks", [])
        traces[name] = train(arm, make(), task, looks)
    return summary(traces) | differences(traces, setting)


def summary(traces: dict[str, Trace]) -> dict[str, float]:
    """Return `kind/arm` at the last step and `kind/arm@step` for every step looked at."""
    out: dict[str, float] = {}
    for name, trace in traces.items():
        series = {
            "train": trace.train, "test": trace.test,
            "collapsed": trace.monitor.history, "alignment": trace.alignment,
        }  # fmt: skip
        for kind, values in series.items():
            # an alignment is NaN once softmax leaves no gradient at all: no number then
            seen = {s: v for s, v in values.items() if math.isfinite(v)}
            out |= {f"{kind}/{name}@{s}": v for s, v in seen.items()}
            out |= {f"{kind}/{name}": seen[s] for s in list(values)[-1:] if s in seen}
    return out


def differences(traces: dict[str, Trace], setting: dict[str, Any]) -> dict[str, float]:
    """Return what is compared between arms, where the experiment has them."""
    out: dict[str, float] = {}
    last = {k: list(t.test.values())[-1] for k, t in traces.items()}
    # a method's own baseline is its best learning rate, chosen by test accuracy in its favour
    for prefix in ("plain", "softmax"):
        found = [v for k, v in last.items() if k.startswith(prefix)]
        out |= {f"test/best_{prefix}": max(found)} if found else {}
    for method in ("stablemax", "perpendicular"):
        if method in last and "test/best_softmax" in out:
            out[f"test/{method}_minus_softmax"] = last[method] - out["test/best_softmax"]
    for low, high, step in setting.get("collapse_at", []):
        share = {k: traces[k].monitor.history[step] for k in (low, high)}
        out[f"collapsed/{low}_minus_{high}"] = share[low] - share[high]
        out[f"train/{low}_and_{high}"] = min(traces[k].train[step] for k in (low, high))
    for low, high, step in setting.get("accuracy_at", []):
        out[f"test/{high}_minus_{low}"] = traces[high].test[step] - traces[low].test[step]
    for name, start in setting.get("gain_from", []):
        out[f"gain/{name}"] = last[name] - traces[name].test[start]
        out[f"collapsed_then/{name}"] = traces[name].monitor.history[start]
    return out
