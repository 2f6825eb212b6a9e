"""Many small networks trained to one loss, and the complexity measures of each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from heldout.bench.digits import digits
from heldout.core.perceptrons import cross_entropy_gradients, logits
from heldout.core.seeds import derived_seed, stream, torch_stream
from heldout.measures.complexity import Options, complexity_measures
from heldout.nets.small import mlp

AXES = ("width", "depth", "rate", "batch")


@dataclass(frozen=True)
class Data:
    """One data set, flat inputs; labels of both parts carry the same share of errors."""

    x: Tensor
    """(n, d) training inputs."""
    y: Tensor
    """(n,) their labels."""
    x_test: Tensor
    """(t, d) test inputs."""
    y_test: Tensor
    """(t,) their labels."""
    classes: int
    """How many."""


@dataclass
class Runs:
    """What is known of each network that reached the loss."""

    values: list[dict[str, float]]
    """Measures by name."""
    axes: list[tuple[Any, ...]]
    """Hyperparameters, in the order of `AXES`."""
    gaps: list[tuple[float, float, float]]
    """Test minus training error: on all test rows, on every other one, on the rest."""
    trained: int = 0
    """How many networks were trained, those that never reached the loss among them."""


def load(name: str, n: int, noise: float, seed: int) -> Data:
    """Return `digits`, or `photographs`: which of two pictures is an 8x8 patch from?"""
    if name == "digits":
        (x, y), (xt, yt) = digits(seed, n)
    else:
        x, y, xt, yt = _patches(n, seed)
    rng = stream(seed, "label noise", name)
    parts: list[Tensor] = []
    for inputs, labels in ((x, y), (xt, yt)):
        classes = int(y.max()) + 1
        wrong = rng.random(len(labels)) < noise
        other = (labels + rng.integers(1, classes, size=len(labels))) % classes
        flat = torch.as_tensor(inputs.reshape(len(inputs), -1), dtype=torch.float32)
        parts += [flat, torch.as_tensor(np.where(wrong, other, labels))]
    x_train, y_train, x_test, y_test = parts
    return Data(x_train, y_train, x_test, y_test, int(y.max()) + 1)


def _patches(n: int, seed: int) -> tuple[np.ndarray, ...]:
    found = []
    for name in ("china.jpg", "flower.jpg"):
        grey = load_sample_image(name).mean(axis=2)
        high, wide = (s // 8 for s in grey.shape)
        blocks = grey[: 8 * high, : 8 * wide].reshape(high, 8, wide, 8).transpose(0, 2, 1, 3)
        found.append(blocks.reshape(-1, 64))
    x = np.concatenate(found)
    y = np.repeat([0, 1], [len(f) for f in found])
    x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 8)
    order = stream(seed, "patches").permutation(len(y))
    train, test = order[:n], order[n:]
    return x[train], y[train], x[test], y[test]


def sweep(given: dict[str, Any], data: Data, seed: int, name: str) -> Runs:
    """Train the whole grid, `repeats` times each, and measure what reached the loss."""
    found = Runs([], [], [])
    for width, depth, batch in itertools.product(given["width"], given["depth"], given["batch"]):
        rates = [r for r in given["rate"] for _ in range(given["repeats"])]
        shape = [data.x.shape[1], *[width] * depth, data.classes]
        key = (name, width, depth, batch)
        start = _initial(shape, len(rates), derived_seed(seed, *key))
        stack = _Stack(start, data, rates, batch, torch_stream(seed, "order", *key))
        done = stack.train(given["loss"], given["epochs"])
        found.trained += len(rates)
        for i, (weights, history) in done.items():
            found.axes.append((width, depth, rates[i], batch))
            measure(found, shape, [w[i] for w in start], weights, data, history, given)
    return found


def _initial(shape: list[int], many: int, seed: int) -> list[Tensor]:
    generator = torch_stream(seed, "weights")
    net = []
    for a, b in itertools.pairwise(shape):
        net.append(torch.randn(many, a, b, generator=generator) * (2 / a) ** 0.5)
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
    found.values.append(
        complexity_measures(
            net, state, data.x, data.y, history=history, stopping_loss=given["loss"] * 1.001,
            options=Options(draws=given["draws"], steps=given["steps"],
                            tolerance=given["tolerance"]),
        )
    )  # fmt: skip
    with torch.no_grad():
        wrong = (net(data.x_test).argmax(1) != data.y_test).double()
        train = float((net(data.x).argmax(1) != data.y).double().mean())
    parts = (wrong, wrong[::2], wrong[1::2])
    found.gaps.append(tuple(float(p.mean()) - train for p in parts))  # type: ignore[arg-type]


def _flipped(net: list[Tensor]) -> list[Tensor]:
    return [w[0] if w.shape[0] == 1 else w.T.contiguous() for w in net]
