"""The quadratic network trained on mini-batches, with or without batch norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heldout.bench.corrupted_modular import CorruptedModular
from heldout.core.seeds import torch_stream
from heldout.papers._grokking_corrupted_net import Trace, initial_weights


@dataclass(frozen=True)
class BatchArm:
    """One way of training on mini-batches with AdamW, no weight decay, no dropout."""

    steps: int
    """Mini-batches."""
    batch: int = 64
    """Pairs in each; what is left of an epoch is dropped."""
    norm: bool = False
    """Whether batch norm follows the squares."""
    lr: float = 0.005
    """Learning rate; the authors' is 0.01 sqrt(batch / 256) below 256 pairs."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's."""


class BatchNet(nn.Module):
    """f = W norm((U[a; b])^2), norm the identity or batch norm with its usual initial values."""

    def __init__(self, first: Tensor, last: Tensor, norm: bool) -> None:
        super().__init__()
        self.p = len(first) // 2
        self.first, self.last = nn.Parameter(first), nn.Parameter(last)
        self.norm = nn.BatchNorm1d(first.shape[1]) if norm else nn.Identity()

    def forward(self, pairs: Tensor) -> Tensor:
        """Return logits (n, p) of pairs (n, 2)."""
        # a one-hot pair picks two rows; embedding's gradient is faster than that of indexing
        h = nn.functional.embedding(pairs[:, 0], self.first)
        h = h + nn.functional.embedding(pairs[:, 1] + self.p, self.first)
        out: Tensor = self.norm(h * h) @ self.last
        return out


def train_batches(
    arm: BatchArm, task: CorruptedModular, width: int, seed: int, looks: list[int]
) -> Trace:
    """Train one arm and look at it, in evaluation mode, at the given steps and the last."""
    first, last = initial_weights(task.p, width, seed)
    net = BatchNet(first, last, arm.norm)
    optimizer = torch.optim.AdamW(
        net.parameters(), arm.lr, arm.betas, weight_decay=0.0, fused=True
    )  # fmt: skip
    rng = torch_stream(seed, "grokking_corrupted", "batches")
    pairs, labels = torch.from_numpy(task.train_pairs), torch.from_numpy(task.train_labels)
    target = nn.functional.one_hot(labels, task.p).float()
    trace, order = Trace(), torch.empty(0, dtype=torch.long)
    batch = min(arm.batch, len(pairs))
    for step in range(arm.steps + 1):
        if step in looks or step == arm.steps:
            _look(trace, step, net, task)
        if step == arm.steps:
            break
        if len(order) < batch:
            order = torch.randperm(len(pairs), generator=rng)
        rows, order = order[:batch], order[batch:]
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.mse_loss(net(pairs[rows]), target[rows]))
        optimizer.step()
    return trace


def _look(trace: Trace, step: int, net: BatchNet, task: CorruptedModular) -> None:
    net.eval()
    with torch.no_grad():
        said = net(torch.from_numpy(task.train_pairs)).argmax(1).numpy()
        test = net(torch.from_numpy(task.test_pairs)).argmax(1).numpy()
    net.train()
    wrong = task.corrupted
    trace.train[step] = float((said == task.train_labels).mean())
    trace.test[step] = float((test == task.test_labels).mean())
    trace.memorized[step] = float((said == task.train_labels)[wrong].mean())
    trace.inverted[step] = float((said == task.true_labels)[wrong].mean())
