"""Per-example gradient norms, side by side: Heldout, Opacus, BackPACK, torch.func.vmap.

    python benchmarks/pergrad.py            # two to five minutes; rewrites results/pergrad.json

Limit: one ordinary training pass (forward and backward of the batch's mean loss). All methods take
turns in every round, so that other load on the machine strikes them alike; a method's ratio is
the median over rounds of its time divided by the ordinary pass's time in the same round. Methods
whose norms differ from a loop by more than 1e-4 relative are reported as wrong and not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from _common import environment
from torch import Tensor, nn

from heldout.core.pergrad import gradient_norms, plan_gradients
from heldout.core.pergrad.memo import forget

RESULTS = Path(__file__).parent / "results" / "pergrad.json"
SLOW = {"opacus", "opacus_ghost", "vmap"}
Run = Callable[[], Tensor]


class Block(nn.Module):
    """One pre-norm transformer layer made of plain modules, as all methods need them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, t, width) to (n, t, width)."""
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Token and position embeddings, two layers, LayerNorm, mean, linear."""

    def __init__(self, words: int = 64, width: int = 128, length: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(2))
        self.norm, self.read = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (n, t) to logits (n, 10)."""
        places = torch.arange(x.shape[1]).expand(x.shape)
        h = self.tokens(x) + self.places(places)
        for block in self.blocks:
            h = block(h)
        return self.read(self.norm(h).mean(1))


def build(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return model, inputs and labels of one case, always the same."""
    torch.manual_seed(0)
    if name == "mlp":
        layers = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        model: nn.Module = nn.Sequential(*layers, nn.Linear(256, 10))
        x = torch.randn(512, 64)
    elif name == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 64, 10),
        )  # fmt: skip
        x = torch.randn(256, 1, 16, 16)
    else:
        length = 64 if name == "transformer" else 32
        model = Transformer(width=128 if name == "transformer" else 64, length=length)
        x = torch.randint(0, 64, (64, length))
    return model.eval(), x, torch.randint(0, 10, (len(x),))


def ordinary(name: str) -> Run:
    """One training pass of the batch: the limit."""
    model, x, y = build(name)

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return run


def heldout_norms(name: str) -> Run:
    """Norms by this library, called in a loop as the peers are; the first look is remembered."""
    model, x, y = build(name)
    return lambda: gradient_norms(model, x, y)


def heldout_first_norms(name: str) -> Run:
    """The same with a first look at the model in every call, as if it had never been seen."""
    model, x, y = build(name)

    def run() -> Tensor:
        forget(model)
        return gradient_norms(model, x, y)

    return run


def heldout_planned_norms(name: str) -> Run:
    """The same with a plan handed in, which also saves comparing three rows in every call."""
    model, x, y = build(name)
    plan = plan_gradients(model, x, y)
    return lambda: gradient_norms(model, x, y, plan=plan)


def vmap_norms(name: str) -> Run:
    """Norms of torch.func.vmap(grad)."""
    model, x, y = build(name)
    weights = {key: p.detach() for key, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], one_x: Tensor, one_y: Tensor) -> Tensor:
        out = torch.func.functional_call(model, weights, (one_x.unsqueeze(0),))
        return F.cross_entropy(out, one_y.unsqueeze(0))

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    return lambda: _norms(each(weights, x, y).values())


def opacus_norms(name: str) -> Run:
    """Norms of Opacus' per-sample gradients."""
    from opacus import GradSampleModule

    inner, x, y = build(name)
    model = GradSampleModule(inner.train(), loss_reduction="sum")

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y, reduction="sum").backward()
        return _norms(p.grad_sample for p in model.parameters())

    return run


def opacus_ghost_norms(name: str) -> Run:
    """Opacus' ghost norms (fast gradient clipping): no gradients are held."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    inner, x, y = build(name)
    model = GradSampleModuleFastGradientClipping(
        inner.train(), loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True
    )

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y, reduction="sum").backward()
        return model.get_norm_sample()

    return run


def backpack_norms(name: str) -> Run:
    """Norms of BackPACK's BatchL2Grad."""
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    model, x, y = build(name)
    extend(model)
    loss_fn = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        with backpack(BatchL2Grad()):
            loss_fn(model(x), y).backward()
        return sum(p.batch_l2 for p in model.parameters()).sqrt()

    return run


def _norms(grads: object) -> Tensor:
    return sum(g.flatten(1).square().sum(1) for g in grads).sqrt()  # type: ignore[attr-defined]


METHODS = {
    "ordinary": ordinary,
    "heldout": heldout_norms,
    "heldout_first": heldout_first_norms,
    "heldout_planned": heldout_planned_norms,
    "backpack": backpack_norms,
    "vmap": vmap_norms,
    "opacus": opacus_norms,
    "opacus_ghost": opacus_ghost_norms,
}


def looped(name: str) -> Tensor:
    """Return the reference norms, one ordinary backward per example, in float64."""
    model, x, y = build(name)
    model, x = model.double(), x.double() if x.is_floating_point() else x
    norms = []
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(torch.stack([g.square().sum() for g in grads]).sum().sqrt())
    return torch.stack(norms)


def check(run: Run, expected: Tensor | None) -> dict[str, object]:
    """Run once; say how far the norms are off, or why there are none."""
    try:
        got = run()
    except Exception as error:  # noqa: BLE001 a peer may fail in any way
        return {"not_supported": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"}
    if expected is None:
        return {}
    off = float(((got.double() - expected) / expected).abs().max())
    return {"largest_relative_error": off} if off < 1e-4 else {"wrong": off}


def race(runs: dict[str, Run], rounds: int) -> dict[str, dict[str, float]]:
    """Time every method in every round (slow ones in every fourth)."""
    times: dict[str, dict[int, float]] = {key: {} for key in runs}
    for r in range(rounds + 2):
        for key, run in runs.items():
            if key in SLOW and r % 4:
                continue
            start = time.perf_counter()
            run()
            if r >= 2:
                times[key][r] = 1e3 * (time.perf_counter() - start)
    base = times["ordinary"]
    return {
        key: {
            "median_ms": statistics.median(seen.values()),
            "fastest_ms": min(seen.values()),
            "ratio_median": statistics.median(t / base[r] for r, t in seen.items()),
            "ratio_of_fastest": min(seen.values()) / min(base.values()),
            "rounds": len(seen),
        }
        for key, seen in times.items()
    }


def measure(name: str, threads: int, rounds: int) -> dict[str, object]:
    """Return checks and times of all methods on one case."""
    torch.set_num_threads(threads)
    made, checks = {}, {}
    expected = looped(name)
    for key, make in METHODS.items():
        try:
            run = make(name)
        except Exception as error:  # noqa: BLE001 a peer may refuse the model in any way
            checks[key] = {"not_supported": f"{type(error).__name__}: {str(error)[:120]}"}
            continue
        checks[key] = check(run, None if key == "ordinary" else expected)
        if not {"wrong", "not_supported"} & set(checks[key]):
            made[key] = run
    timed = race(made, rounds)
    return {key: {**checks[key], **timed.get(key, {})} for key in METHODS if key in checks}


def main() -> None:
    """Measure every case at one and two threads and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=["mlp", "cnn", "transformer", "small"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    load = round(os.getloadavg()[0], 1)
    results: dict[str, dict[str, object]] = {}
    for threads in options.threads:
        for name in options.cases:
            results.setdefault(name, {})[f"threads_{threads}"] = measure(
                name, threads, options.rounds
            )
            print(name, threads, json.dumps(results[name][f"threads_{threads}"], indent=1))
    packages = ("torch", "opacus", "backpack-for-pytorch")
    record = {
        "what": "per-example gradient norms, float32; heldout: calls in a loop; heldout_first: a "
        "new look at the model each time; heldout_planned: with a plan handed in",
        "limit": "ordinary: forward and backward of the batch's mean loss",
        "cases": {
            "mlp": "64-256-256-10, ReLU, 512 rows",
            "cnn": "conv 1-16-32 (3x3), ReLU, max pool, linear; 256 rows of 16x16",
            "transformer": "2 layers, width 128, 4 heads, 64 tokens, 64 rows",
            "small": "the transformer with width 64, 32 tokens, 64 rows",
        },
        "results": results,
        "environment": environment(packages, load_before=load),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
