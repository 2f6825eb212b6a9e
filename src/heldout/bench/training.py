"""Plain supervised training of small networks, for examples and known-defect models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from heldout.core.seeds import derived_seed, torch_stream


def train_network(
    make: Callable[[], nn.Module],
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    epochs: int = 20,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    weight_decay: float = 1e-4,
    seed: int = 0,
) -> nn.Module:
    """Train a network from scratch with AdamW and a cosine schedule; return it in eval mode.

    Args:
        make: builds the network; called under a seeded random state that is restored after.
        x: inputs; converted to float32.
        y: class ids.
        epochs: passes over the data.
        learning_rate: at the start; it decays to 0.
        batch_size: examples per step.
        weight_decay: decoupled.
        seed: of initial weights and order of examples.

    >>> from heldout.nets.small import mlp
    >>> net = train_network(lambda: mlp([2, 4, 2]), np.zeros((8, 2)), np.arange(8) % 2, epochs=1)
    >>> net.training
    False
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        net = make()
    inputs, labels = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y).long()
    order = torch_stream(seed, "order")
    steps = epochs * -(-len(labels) // batch_size)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=order).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()
