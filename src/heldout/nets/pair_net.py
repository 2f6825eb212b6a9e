"""A network on pairs (or tuples) of categories that trains as fast as its matrix products allow.

Modular arithmetic, table lookups, group operations: inputs are a few categories, each usually
given as a one-hot vector. The product of a one-hot vector with a weight matrix is a row of that
matrix, so the first layer needs no product at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream

LogitGradient = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, c), labels (n,)) -> d(sum of the examples' losses) / d logits, (n, c)."""
_ACTIVATIONS = ("relu", "square")


class PairNet(nn.Module):
    """Bias-free network logits = a(... a(a(U_1[i_1] + U_2[i_2] + ...) W_1) ...) W_L.

    The same function as `Linear` layers without bias on one-hot vectors side by side, `one_hot`
    gives that network. Two ways to train it, with any optimizer:

    - `forward` is plain PyTorch: any loss, autograd, AMP, hooks, `torch.compile`;
    - `accumulate` adds to every `.grad` what `backward()` of a mean loss would, by hand and a
      block of rows at a time: no graph, memory that does not grow with the batch.

    Args:
        sizes: number of categories of each input, (p, p) for pairs modulo p.
        hidden: widths of the hidden layers, at least one.
        n_classes: outputs.
        activation: "relu" or "square".
        block: rows that `accumulate` takes at a time, at least 1. Its results are the same for
            every block up to the rounding of sums.
        seed: of the initial weights, uniform within 1 / sqrt(inputs), where the inputs of the first
            layer are all its one-hot entries.

    Raises:
        InputError: sizes below 1, no hidden layer, an unknown activation.

    >>> net = PairNet((5, 5), (16,), 5)
    >>> pairs = torch.tensor([[0, 1], [4, 4]])
    >>> net(pairs).shape
    torch.Size([2, 5])
    >>> net.accumulate(pairs, pairs.sum(1) % 5)
    >>> [tuple(w.grad.shape) for w in net.weights]
    [(10, 16), (16, 5)]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: Sequence[int],
        n_classes: int,
        *,
        activation: str = "relu",
        block: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__()
        widths = [sum(sizes), *hidden, n_classes]
        if not sizes or not hidden or min(*sizes, *hidden, n_classes, block) < 1:
            raise InputError(
                f"sizes {tuple(sizes)}, hidden {tuple(hidden)}, {n_classes} classes, block {block}",
                "at least one input, one hidden layer, and whole numbers of at least 1",
                "PairNet((p, p), (200, 200), p)",
            )
        if activation not in _ACTIVATIONS:
            raise InputError(f"activation {activation!r}", f"one of {_ACTIVATIONS}", "relu")
        self.sizes, self.activation, self.block = tuple(sizes), activation, block
        rng = torch_stream(seed, "pair_net", "weights")
        self.weights = nn.ParameterList(
            nn.Parameter((torch.rand(a, b, generator=rng) * 2 - 1) / a**0.5)
            for a, b in pairwise(widths)
        )
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.starts: Tensor

    def forward(self, ids: Int[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Return logits, differentiable.

        Raises:
            InputError: ids of another shape or type, or out of range.
        """
        first, *later = self.weights
        columns = self._rows(ids)
        h = first.index_select(0, columns[0])
        for rows in columns[1:]:
            h = h + first.index_select(0, rows)
        for w in later:
            h = (h.relu() if self.activation == "relu" else h.square()) @ w
        return h

    def accumulate(
        self,
        ids: Int[Tensor, "n k"],
        labels: Int[Tensor, " n"],
        gradient: LogitGradient | None = None,
    ) -> None:
        """Add the gradient of the mean loss over the rows to every weight's `.grad`.

        What `loss(net(ids), labels).backward()` adds, for a loss that is a mean over examples;
        weights that require no gradient are left alone. Not seen by hooks on gradients.

        Args:
            ids: categories.
            labels: class ids, passed on to `gradient`.
            gradient: d(sum of the examples' losses) / d logits. Default
                `cross_entropy_gradient`; `heldout.dynamics.stablemax_gradient` has StableMax's.
                It is called once a block and may overwrite the logits that it is given; what it
                returns is overwritten.

        Cost: one pass over the data; memory for one block of activations.

        Raises:
            InputError: ids of another shape or type, or out of range; no rows, or labels of
                another number.

        >>> net = PairNet((3, 3), (8,), 3)
        >>> optimizer = torch.optim.AdamW(net.parameters(), lr=0.03, fused=True)
        >>> pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     net.accumulate(pairs, pairs.sum(1) % 3)
        ...     optimizer.step()
        >>> bool((net(pairs).argmax(1) == pairs.sum(1) % 3).all())
        True
        """
        columns, n = self._rows(ids), len(ids)
        if n == 0 or labels.shape != (n,):
            raise InputError(
                f"labels {tuple(labels.shape)} for ids {tuple(ids.shape)}",
                "one label for each of at least one row",
                "ids (n, inputs) and labels (n,)",
            )
        with torch.no_grad():
            for w in self.weights:
                if w.requires_grad and w.grad is None:
                    w.grad = torch.zeros_like(w)
            for start in range(0, n, self.block):
                part = slice(start, start + self.block)
                self._add([c[part] for c in columns], labels[part], gradient, 1 / n)

    def one_hot(self) -> nn.Sequential:
        """Return the same network as ordinary layers on one-hot rows; a copy of the weights."""
        layers: list[nn.Module] = []
        for w in self.weights:
            # on "meta" no initial weights are drawn from the global generator
            layer = nn.Linear(w.shape[0], w.shape[1], bias=False, device="meta")
            layer.weight = nn.Parameter(w.detach().T.clone())
            layers += [layer, nn.ReLU() if self.activation == "relu" else Square()]
        return nn.Sequential(*layers[:-1])

    def _rows(self, ids: Tensor) -> list[Tensor]:
        # rows of the first weights, by input; a contiguous copy, since each is read twice
        if ids.ndim != 2 or ids.shape[1] != len(self.sizes) or ids.dtype not in _INTEGERS:
            raise InputError(
                f"ids of shape {tuple(ids.shape)} and type {ids.dtype}",
                f"integers (n, {len(self.sizes)})",
                "torch.from_numpy(split.train_pairs)",
            )
        columns = [(ids[:, k] + self.starts[k]).contiguous() for k in range(len(self.sizes))]
        if not torch.compiler.is_compiling() and len(ids):
            for k, (rows, size) in enumerate(zip(ids.unbind(1), self.sizes, strict=True)):
                low, high = (int(v) for v in rows.aminmax())
                if low < 0 or high >= size:  # another input's row would be read without a word
                    raise InputError(
                        f"ids from {low} to {high} in column {k}",
                        f"categories from 0 to {size - 1}",
                        "check `sizes`",
                    )
        return columns

    def _add(
        self, columns: list[Tensor], labels: Tensor, gradient: LogitGradient | None, scale: float
    ) -> None:
        first, *later = self.weights
        h = first.index_select(0, columns[0])
        for rows in columns[1:]:
            h += first.index_select(0, rows)
        relu = self.activation == "relu"
        pre, post = [], []
        for w in later:
            pre.append(h)
            # ReLU in place: that an output is above 0 says all that its gradient needs
            post.append(h.clamp_(min=0) if relu else h.square())
            h = post[-1] @ w
        d = (gradient or cross_entropy_gradient)(h, labels)
        d = d.mul_(scale)
        for w, before, after in zip(reversed(later), reversed(pre), reversed(post), strict=True):
            if w.grad is not None and w.requires_grad:
                w.grad.addmm_(after.T, d)
            d = d @ w.T
            if relu:
                torch.ops.aten.threshold_backward.grad_input(d, after, 0, grad_input=d)
            else:
                d.mul_(before).mul_(2)
        if first.grad is not None and first.requires_grad:
            for rows in columns:
                first.grad.index_add_(0, rows, d)


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


class Square(nn.Module):
    """Activation z -> z^2."""

    def forward(self, z: Tensor) -> Tensor:
        """Return z^2."""
        return z.square()


def cross_entropy_gradient(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Return d(sum of cross-entropies) / d logits = softmax(logits) - onehot(labels).

    In the type of the logits, as autograd computes it; about three passes over the logits.

    Raises:
        InputError: labels that are no class ids of these logits.

    >>> cross_entropy_gradient(torch.zeros(1, 2), torch.tensor([0]))
    tensor([[-0.5000,  0.5000]])
    """
    low, high = (int(v) for v in labels.aminmax()) if len(labels) else (0, 0)
    if low < 0 or high >= logits.shape[-1]:
        raise InputError(
            f"labels from {low} to {high}",
            f"class ids from 0 to {logits.shape[-1] - 1}",
            "check the label encoding; leave rows without a label out",
        )
    share = logits.detach().softmax(1)
    y = labels.long().unsqueeze(1)
    return share.scatter_add_(1, y, share.new_full((len(y), 1), -1.0))
