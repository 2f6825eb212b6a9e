"""What the recipe `grokking_stability` trains on, and the networks that it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.bench.modular import ModularSplit, modular_addition
from heldout.bench.sparse_parity import sparse_parity
from heldout.core.seeds import derived_seed
from heldout.nets.pair_net import PairNet
from heldout.nets.tiny_transformer import TinyTransformer


@dataclass(frozen=True)
class Task:
    """What is learned, all in one batch, and what it is judged on."""

    x: Tensor
    """Inputs to train on."""
    y: Tensor
    """Their classes."""
    x_test: Tensor
    """Inputs that were held out."""
    y_test: Tensor
    """Their classes."""


def task_of(*parts: np.ndarray) -> Task:
    """Return inputs and classes to train on, then those held out, as tensors."""
    return Task(*(torch.from_numpy(part) for part in parts))


def addition(split: ModularSplit) -> Task:
    """Return modular addition as a task on pairs."""
    return task_of(split.train_pairs, split.train_labels, split.test_pairs, split.test_labels)


def split_of(p: int, share: float, seed: int) -> ModularSplit:
    """Return the seed's split."""
    return modular_addition(p, share, derived_seed(seed, "grokking_stability", "split"))


def pairs(setting: dict[str, Any], seed: int) -> tuple[Task, Callable[[], nn.Module]]:
    """Return modular addition, and what makes the bias-free network on one-hot pairs."""
    p, width = setting["p"], setting["width"]
    split = split_of(p, setting["train_share"], seed)
    start = derived_seed(seed, "grokking_stability", "weights")
    return addition(split), lambda: PairNet((p, p), (width, width), p, seed=start)


def transformer(setting: dict[str, Any], seed: int) -> tuple[Task, Callable[[], nn.Module]]:
    """Return modular addition, and what makes the one-layer transformer."""
    split = split_of(setting["p"], setting["train_share"], seed)
    sizes = (setting["p"], setting["width"], setting["heads"], setting["hidden"])
    options: dict[str, Any] = {
        "embedding_std": setting["embedding_std"],
        "seed": derived_seed(seed, "grokking_stability", "transformer"),
    }
    return addition(split), lambda: TinyTransformer(*sizes, **options)


def parity(setting: dict[str, Any], seed: int) -> tuple[Task, Callable[[], nn.Module]]:
    """Return sparse parity, and what makes the network with biases that the authors use on it."""
    n, bits, width = setting["n"], setting["bits"], setting["width"]
    start = derived_seed(seed, "grokking_stability", "strings")
    drawn = sparse_parity(n, bits, setting["k"], setting["train_share"], start)
    task = task_of(drawn.train_inputs, drawn.train_labels, drawn.test_inputs, drawn.test_labels)

    def make() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "grokking_stability", "parity"))
            return nn.Sequential(
                nn.Linear(bits, width), nn.ReLU(),
                nn.Linear(width, width), nn.ReLU(),
                nn.Linear(width, 2),
            )  # fmt: skip

    return task, make


KINDS = {"pairs": pairs, "transformer": transformer, "parity": parity}
"""setting["task"] -> (setting, seed) -> task, and what makes its network anew."""
