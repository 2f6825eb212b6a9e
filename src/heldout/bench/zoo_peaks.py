"""Networks that are trained to the end, or stopped, where the track record needs to know which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from heldout.bench.training import train_network
from heldout.core.seeds import stream
from heldout.nets.small import mlp

TIMES = tuple(np.geomspace(0.01, 1e8, 50).tolist())
"""Gradient-flow times at which a readout of random features is looked at, beside the end."""
EPOCHS = (2, 4, 8, 16, 32, 64, 128)
"""Lengths of training at which a wide network is looked at; the last is the end."""
_VALIDATION = 0.2
_SCALE = 10.0  # of the targets: a regression on 0 and 1 could be taken for probabilities

Path = Callable[[], list[nn.Module]]
"""Makes a model at growing lengths of training, the last being the end."""


def readouts(
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    width: int,
    times: Sequence[float] = (np.inf,),
    seed: int = 0,
) -> list[nn.Module]:
    """Return random-feature networks whose last layer is trained by gradient flow, exactly.

    One hidden layer of fixed random ReLU units; the last layer regresses on one column per class,
    10 for its examples and 0 for others.

    Args:
        x: inputs; flattened.
        y: class ids.
        n_classes: columns.
        width: hidden units.
        times: lengths of training, as learning rate times steps on centred hidden units that are
            divided by one number, so that their squares sum to n - 1; infinity is the
            least-squares solution of least norm.
        seed: of the hidden layer.

    Returns:
        One network per time.

    >>> x, y = np.eye(12, dtype=np.float32), np.arange(12) % 2
    >>> net = readouts(x, y, 2, 50)[0]
    >>> bool((net(torch.as_tensor(x)).argmax(1).numpy() == y).all())
    True
    """
    rng = stream(seed, "random features")
    flat = np.asarray(x, dtype=float).reshape(len(x), -1)
    mix = rng.standard_normal((flat.shape[1], width)) / np.sqrt((flat**2).sum(axis=1).mean())
    shift = 0.5 * rng.standard_normal(width)
    hidden = np.maximum(flat @ mix + shift, 0)
    found = _flow(hidden, _SCALE * np.eye(n_classes)[y], times)
    return [_network(mix, shift, weight, bias) for weight, bias in found]


def stopped(
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    width: int,
    seed: int = 0,
) -> nn.Module:
    """Return such a network, stopped when a fifth of the data, kept aside, is best predicted.

    >>> x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    >>> type(stopped(x, y, 2, 30)).__name__
    'Sequential'
    """
    order = stream(seed, "validation").permutation(len(y))
    aside, kept = np.split(order, [round(_VALIDATION * len(y))])
    tried = readouts(x[kept], y[kept], n_classes, width, TIMES, seed)
    inputs = torch.as_tensor(x[aside], dtype=torch.float32)
    wanted = _SCALE * np.eye(n_classes)[y[aside]]
    with torch.no_grad():
        errors = [float(((net(inputs).numpy() - wanted) ** 2).mean()) for net in tried]
    return readouts(x, y, n_classes, width, [TIMES[int(np.argmin(errors))]], seed)[0]


def wide(
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    width: int,
    epochs: int = EPOCHS[-1],
    seed: int = 0,
) -> nn.Module:
    """Return a network of one hidden layer, both layers trained without weight decay.

    >>> net = wide(np.eye(4), np.arange(4) % 2, 2, 8, epochs=1)
    >>> len(net)
    4
    """
    inputs = int(np.prod(np.shape(x)[1:]))
    return train_network(
        lambda: mlp([inputs, width, n_classes]), x, y, epochs=epochs, weight_decay=0.0, seed=seed
    )


def path(kind: str, x: Any, y: Any, n_classes: int, width: int, seed: int) -> Path:
    """Return what makes a model, `random` or `wide`, at growing lengths of training.

    >>> make = path("random", np.eye(12), np.arange(12) % 2, 2, 20, 0)
    >>> len(make()) == len(TIMES) + 1
    True
    """
    if kind == "random":
        return lambda: readouts(x, y, n_classes, width, [*TIMES, np.inf], seed)
    return lambda: [wide(x, y, n_classes, width, e, seed) for e in EPOCHS]


def _flow(
    x: np.ndarray, y: np.ndarray, times: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    # weights and bias by time: (1 - exp(-t s^2)) / s along every singular direction of x
    size = np.sqrt(((x - x.mean(0)) ** 2).sum() / (len(x) - 1))
    left, s, right = np.linalg.svd((x - x.mean(0)) / size, full_matrices=False)
    kept = s > 1e-6 * s[0]  # the rest is rounding
    left, s, right = left[:, kept], s[kept], right[kept]
    along = left.T @ (y - y.mean(0))
    weights = [right.T @ ((-np.expm1(-t * s**2) / s)[:, None] * along) / size for t in times]
    return [(w, y.mean(0) - x.mean(0) @ w) for w in weights]


def _network(mix: np.ndarray, shift: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        net = mlp([mix.shape[0], mix.shape[1], weight.shape[1]])
    for layer, (w, b) in zip((net[1], net[3]), ((mix, shift), (weight, bias)), strict=True):
        assert isinstance(layer, nn.Linear)
        layer.weight.data = torch.as_tensor(w.T.copy(), dtype=torch.float32)
        layer.bias.data = torch.as_tensor(b.copy(), dtype=torch.float32)
    net[1].requires_grad_(False)
    return net.eval()
