"""The data of the sweep: digits, and patches of two photographs, with some labels wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from heldout.bench.digits import digits
from heldout.core.seeds import stream


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

    def first(self, n: int) -> Data:
        """Return the first n training examples, and the same test set."""
        return replace(self, x=self.x[:n], y=self.y[:n])


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
