"""Two-hidden-layer networks of "The Pitfalls of Simplicity Bias", trained fast on one core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heldout.core.seeds import torch_stream


@dataclass(frozen=True)
class Training:
    """How one network is trained: mini-batch SGD as `torch.optim.SGD`, cross-entropy."""

    steps: int
    """Most steps."""
    width: int = 100
    """Of both hidden layers."""
    lr: float = 0.1
    """Step size, constant."""
    momentum: float = 0.0
    """Of SGD."""
    weight_decay: float = 5e-5
    """Coupled, on weights and offsets."""
    batch: int = 256
    """Examples per step; what is left of an epoch is dropped."""
    fitted: float = 0.0
    """Stop once the mean loss of an epoch, in nats, is below this; 0 trains to the end."""
    epsilon: float = 0.0
    """Largest change of an input's entry that the net is trained against; 0 for none."""
    attack_steps: int = 7
    """Projected gradient steps for each training step, of 0.4 epsilon each."""


class Net:
    """ReLU network d-h-h-2 with gradients by hand; parameters and gradients are one vector each.

    All buffers are reused, so that a step allocates nothing.
    """

    def __init__(self, d: int, training: Training, rng: torch.Generator) -> None:
        h = training.width
        self.shapes = [(d, h), (h,), (h, h), (h,), (h, 2), (2,)]
        sizes = [torch.Size(s).numel() for s in self.shapes]
        self.flat, self.grad = torch.empty(sum(sizes)), torch.empty(sum(sizes))
        self.weights, self.grads = (
            [p.view(s) for p, s in zip(torch.split(v, sizes), self.shapes, strict=True)]
            for v in (self.flat, self.grad)
        )
        # nn.Linear's own initial values: U(-1, 1) / sqrt(inputs), offsets too
        for i, w in enumerate(self.weights):
            w.copy_((torch.rand(w.shape, generator=rng) * 2 - 1) / self.shapes[i - i % 2][0] ** 0.5)
        b = training.batch
        self.h1, self.h2, self.d1, self.d2 = (torch.empty(b, h) for _ in range(4))

    @classmethod
    def of(cls, module: nn.Sequential, batch: int) -> Net:
        """Return a copy of a module that `module` made, for batches of another size."""
        layers = [m for m in module if isinstance(m, nn.Linear)]
        width = layers[0].out_features
        net = cls(
            layers[0].in_features, Training(0, width=width, batch=batch), torch.Generator()
        )  # fmt: skip
        for i, layer in enumerate(layers):
            net.weights[2 * i].copy_(layer.weight.detach().T)
            net.weights[2 * i + 1].copy_(layer.bias.detach())
        return net

    def gradient(self, x: Tensor, sign: Tensor) -> Tensor:
        """Set `grad` to that of the mean cross-entropy; return the sum of losses.

        Args:
            x: (b, d), b the batch size.
            sign: 2 y - 1, float.
        """
        w1, b1, w2, b2, w3, b3 = self.weights
        g1, c1, g2, c2, g3, c3 = self.grads
        torch.addmm(b1, x, w1, out=self.h1).relu_()
        torch.addmm(b2, self.h1, w2, out=self.h2).relu_()
        z = torch.addmm(b3, self.h2, w3)
        # two classes: loss log(1 + exp(-s)) at the signed difference of logits s
        s = (z[:, 1] - z[:, 0]) * sign
        slope = torch.sigmoid(-s).mul_(sign).div_(len(x))
        dz = torch.stack([slope, -slope], 1)
        torch.mm(self.h2.T, dz, out=g3)
        torch.sum(dz, 0, out=c3)
        _relu_backward(torch.mm(dz, w3.T, out=self.d2), self.h2)
        torch.mm(self.h1.T, self.d2, out=g2)
        torch.sum(self.d2, 0, out=c2)
        _relu_backward(torch.mm(self.d2, w2.T, out=self.d1), self.h1)
        torch.mm(x.T, self.d1, out=g1)
        torch.sum(self.d1, 0, out=c1)
        return nn.functional.softplus(-s).sum()

    def uphill(self, x: Tensor, sign: Tensor, out: Tensor) -> Tensor:
        """Write the sign of the loss's gradient by the inputs, (b, d), to `out`, and return it."""
        w1, b1, w2, b2, w3, _ = self.weights
        torch.addmm(b1, x, w1, out=self.h1).relu_()
        torch.addmm(b2, self.h1, w2, out=self.h2).relu_()
        # Two classes: the loss rises as the right logit falls behind, by a positive slope that
        # is the example's own, so that the sign needs no softmax, and cannot vanish in it.
        push = -sign[:, None] * (w3[:, 1] - w3[:, 0])
        _relu_backward(torch.mul(push, 1, out=self.d2), self.h2)
        _relu_backward(torch.mm(self.d2, w2.T, out=self.d1), self.h1)
        return torch.mm(self.d1, w1.T, out=out).sign_()

    def module(self) -> nn.Sequential:
        """Return the same network as an ordinary module."""
        layers: list[nn.Module] = []
        for w, b in zip(self.weights[::2], self.weights[1::2], strict=True):
            layer = nn.Linear(
                w.shape[0], w.shape[1], device="meta"
            )  # draws nothing from the global generator
            layer.weight, layer.bias = nn.Parameter(w.T.clone()), nn.Parameter(b.clone())
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval()


def _relu_backward(d: Tensor, activation: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(d, activation, 0, grad_input=d)


def batches(n: int, size: int, steps: int, rng: torch.Generator) -> Iterator[tuple[bool, Tensor]]:
    """Yield whether an epoch begins, and the rows of each step."""
    done = 0
    while done < steps:
        order = torch.randperm(n, generator=rng)
        for i, rows in enumerate(torch.split(order[: n - n % size], size)[: steps - done]):
            done += 1
            yield i == 0, rows


def attack(
    net: Net, x: Tensor, sign: Tensor, epsilon: float, steps: int, rng: torch.Generator
) -> Tensor:
    """Return inputs (b, d) moved by up to `epsilon` each entry, so that the loss is large.

    Projected gradient ascent from a random start, steps of 0.4 epsilon. b is the batch size.
    """
    moved = (torch.rand(x.shape, generator=rng) * 2 - 1).mul_(epsilon).add_(x)
    low, high, step = x - epsilon, x + epsilon, torch.empty_like(x)
    for _ in range(steps):
        moved.add_(net.uphill(moved, sign, step), alpha=0.4 * epsilon)
        torch.minimum(torch.maximum(moved, low, out=moved), high, out=moved)
    return moved


def train(
    x: Tensor, y: Tensor, training: Training, seed: int, *purpose: str | int
) -> tuple[nn.Sequential, dict[int, float]]:
    """Train one network; return it and the mean loss of each epoch by its last step, nats."""
    rng = torch_stream(seed, "simplicity_bias", *purpose)
    net = Net(x.shape[1], training, rng)
    sign = (2 * y - 1).float()
    speed = torch.zeros_like(net.flat)
    total, seen, step, losses = torch.zeros(()), 0, 0, {}
    for begins, rows in batches(len(x), training.batch, training.steps, rng):
        if begins and step:
            losses[step] = float(total) / seen
            if losses[step] < training.fitted:
                break
            total, seen = torch.zeros(()), 0
        seen_x = x[rows]
        if training.epsilon:
            seen_x = attack(net, seen_x, sign[rows], training.epsilon, training.attack_steps, rng)
        total += net.gradient(seen_x, sign[rows])
        net.grad.add_(net.flat, alpha=training.weight_decay)
        speed.mul_(training.momentum).add_(net.grad)
        net.flat.sub_(speed, alpha=training.lr)
        step, seen = step + 1, seen + len(rows)
    else:
        losses[step] = float(total) / max(seen, 1)
    return net.module(), losses
