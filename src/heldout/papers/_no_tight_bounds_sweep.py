"""Many small networks trained to one loss, and the complexity measures of each."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heldout.core.files import read_json, write_json
from heldout.core.perceptrons import cross_entropy_gradients, logits
from heldout.core.seeds import derived_seed, torch_stream
from heldout.measures.complexity import Options, complexity_measures
from heldout.nets.small import mlp
from heldout.papers._no_tight_bounds_data import Data
from heldout.papers.code_hash import code_hash

AXES = ("examples", "width", "depth", "batch", "rate", "spread")
"""Hyperparameters; `spread` multiplies the standard deviation of He's initial weights."""


@dataclass
class Runs:
    """What is known of each network that reached the loss."""

    values: list[dict[str, float]]
    """Measures by name."""
    axes: list[list[float]]
    """Hyperparameters, in the order of `AXES`."""
    gaps: list[list[float]]
    """Test minus training error: on all test rows, on every other one, on the rest."""
    trained: int = 0
    """How many networks were trained, those that never reached the loss among them."""


def sweep(
    given: dict[str, Any], data: Data, seed: int, name: str, folder: Path | None = None
) -> Runs:
    """Train the whole grid, `repeats` times each, and measure what reached the loss.

    Args:
        given: settings.
        data: with the largest training set; smaller ones are its first rows.
        seed: of weights and orders.
        name: of the data.
        folder: keeps what is finished, by settings and code, so that the same call goes on there.
    """
    found = Runs([], [], [])
    code = code_hash("heldout.papers.no_tight_bounds") if folder else ""
    for shared in itertools.product(*(given[a] for a in AXES[:4])):
        whole = json.dumps([code, given, name, seed, shared], sort_keys=True)
        path = folder and folder / f"{hashlib.sha256(whole.encode()).hexdigest()[:16]}.json"
        if path and path.exists():
            part = Runs(**read_json(path))
        else:
            part = _stacked(given, data, seed, name, shared)
            if path:
                write_json(path, asdict(part))
        found.values += part.values
        found.axes += part.axes
        found.gaps += part.gaps
        found.trained += part.trained
    return found


def _stacked(
    given: dict[str, Any], data: Data, seed: int, name: str, shared: tuple[int, ...]
) -> Runs:
    """Networks that share examples, width, depth and batch size, so that one stack trains them."""
    n, width, depth, batch = shared
    own = list(itertools.product(given["rate"], given["spread"], range(given["repeats"])))
    data, shape = data.first(n), [data.x.shape[1], *[width] * depth, data.classes]
    start = _initial(shape, [k for _, k, _ in own], derived_seed(seed, name, *shared))
    order = torch_stream(seed, "order", name, *shared)
    stack = _Stack(start, data, [r for r, _, _ in own], batch, order)
    done = stack.train(given["loss"], given["updates"] // -(-n // batch))
    found = Runs([], [], [], len(own))
    for i, (weights, history) in done.items():
        found.axes.append([*shared, *own[i][:2]])
        measure(found, shape, [w[i] for w in start], weights, data, history, given)
    return found


def _initial(shape: list[int], spreads: Sequence[float], seed: int) -> list[Tensor]:
    generator, many = torch_stream(seed, "weights"), len(spreads)
    spread = torch.tensor(spreads)[:, None, None]
    net = []
    for a, b in itertools.pairwise(shape):
        net.append(torch.randn(many, a, b, generator=generator) * (2 / a) ** 0.5 * spread)
        net.append(torch.zeros(many, 1, b))
    return net


class _Stack:
    """Networks of one shape and batch size, trained at once by SGD with momentum 0.9."""

    def __init__(
        self, start: list[Tensor], data: Data, rates: list[float], batch: int,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        self.net = [w.clone() for w in start]
        self.speed = [torch.zeros_like(w) for w in start]
        self.data, self.batch, self.generator = data, batch, generator
        self.rates = torch.tensor(rates)[:, None, None]
        self.left = torch.arange(len(rates))
        self.onehot = torch.nn.functional.one_hot(data.y, data.classes).float()

    def train(self, loss: float, epochs: int) -> dict[int, tuple[list[Tensor], list[Any]]]:
        done: dict[int, tuple[list[Tensor], list[Any]]] = {}
        n, history = len(self.data.y), {int(i): [] for i in self.left}  # type: ignore[var-annotated]
        for epoch in range(1, epochs + 1):
            self._epoch(n)
            losses = self._losses()
            for i, value in zip(self.left.tolist(), losses.tolist(), strict=True):
                history[i].append((epoch * -(-n // self.batch), value))
            here = losses <= loss
            for k in torch.nonzero(here)[:, 0].tolist():
                i = int(self.left[k])
                done[i] = ([w[k].clone() for w in self.net], history[i])
            if here.any() or not torch.isfinite(losses).all():
                self._keep(~here & torch.isfinite(losses))
            if not len(self.left):
                break
        return done

    def _epoch(self, n: int) -> None:
        many = len(self.left)
        orders = torch.stack([torch.randperm(n, generator=self.generator) for _ in range(many)])
        for rows in torch.split(orders, self.batch, dim=1):
            weight = torch.full(rows.shape, 1 / rows.shape[1])
            gradients = cross_entropy_gradients(
                self.net, self.data.x[rows], self.onehot[rows], weight
            )
            for w, v, g in zip(self.net, self.speed, gradients, strict=True):
                v.mul_(0.9).add_(g)
                w.sub_(self.rates * v)

    def _losses(self) -> Tensor:
        x = self.data.x.expand(len(self.left), -1, -1)
        out = torch.log_softmax(logits(self.net, x), -1)
        return -(out * self.onehot).sum(-1).mean(-1)

    def _keep(self, kept: Tensor) -> None:
        self.net, self.speed = [w[kept] for w in self.net], [v[kept] for v in self.speed]
        self.rates, self.left = self.rates[kept], self.left[kept]


def measure(
    found: Runs, shape: list[int], start: list[Tensor], weights: list[Tensor], data: Data,
    history: list[tuple[int, float]], given: dict[str, Any],
) -> None:  # fmt: skip
    """Add one network's measures and gaps."""
    net = mlp(shape)
    state = dict(zip(net.state_dict(), _flipped(start), strict=True))
    net.load_state_dict(dict(zip(net.state_dict(), _flipped(weights), strict=True)))
    values = complexity_measures(
        net, state, data.x, data.y, history=history, stopping_loss=given["loss"] * 1.001,
        normalized=True,  # or it is the number of examples that norms measure
        options=Options(draws=given["draws"], steps=given["steps"], tolerance=given["tolerance"]),
    )  # fmt: skip
    # Without convolutions those of their spectra are the same numbers twice.
    found.values.append({k: v for k, v in values.items() if not k.endswith("_fft")})
    with torch.no_grad():
        wrong = (net(data.x_test).argmax(1) != data.y_test).double()
        train = float((net(data.x).argmax(1) != data.y).double().mean())
    parts = (wrong, wrong[::2], wrong[1::2])
    found.gaps.append([float(p.mean()) - train for p in parts])


def _flipped(net: list[Tensor]) -> list[Tensor]:
    return [w[0] if w.shape[0] == 1 else w.T.contiguous() for w in net]
