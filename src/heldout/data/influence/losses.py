"""What a model is trained on and what influence is on: tasks, with three methods each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from heldout.core.errors import InputError

from .batches import Draws


class LossTask(Protocol):
    """A loss with its model distribution, and a measurement.

    Write one for any model: `outputs` is what the model returns, `targets` what the data hold.
    `fisher="exact"` asks for a fourth method, `every_target(outputs, targets)`, which yields
    (targets, weight (n,)) whose weighted losses have the Fisher's gradients.
    """

    def per_example(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of every example, (n,): summed over its positions, never averaged."""
        ...

    def sample_targets(self, outputs: Any, targets: Any, draw: Draws) -> Any:
        """Return targets drawn from the model's own distribution, in the form of `targets`.

        `draw(k)` gives (n, k) uniform numbers that depend on the examples alone.
        """
        ...

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        """Return what influence is on, (n,): larger is the more of it."""
        ...


def refuse_task(task: Any) -> None:
    """Refuse what is no task, such as a loss function.

    Raises:
        InputError: it lacks the methods of a `LossTask`.

    >>> refuse_task(Classification())
    """
    lacks = [n for n in ("per_example", "measure") if not hasattr(task, n)]
    if lacks:
        raise InputError(
            f"a task of type {type(task).__name__} without {' and '.join(lacks)}",
            "a loss with the methods of LossTask",
            "Classification(), Regression() or CausalLanguageModel()",
        )


def logits_of(outputs: Any) -> Tensor:
    """Return the logits of a model that returns them, alone or under that name.

    >>> logits_of({"logits": torch.zeros(1, 2)}).shape
    torch.Size([1, 2])
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = outputs.get("logits") if isinstance(outputs, dict) else None
    found = getattr(outputs, "logits", None) if found is None else found
    if not isinstance(found, Tensor):
        raise InputError(
            f"a model that returns {type(outputs).__name__}",
            "a tensor of logits, or an output with .logits",
            "write a LossTask of your own for this model",
        )
    return found


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of logits (n, C) with class ids (n,)."""

    on: Literal["margin", "log_prob", "loss"] = "margin"
    """What influence is on: log p(y) - log(1 - p(y)), log p(y), or the loss -log p(y)."""

    def __post_init__(self) -> None:
        known = ("margin", "log_prob", "loss")
        if self.on not in known:
            raise InputError(f"on={self.on!r}", f"one of {known}", 'on="margin"')

    def per_example(self, outputs: Any, targets: Any) -> Tensor:
        """Return - log p(y), (n,).

        Raises:
            InputError: targets that are no class ids of these logits.
        """
        logits = logits_of(outputs)
        _check_class_ids(logits, targets)
        return F.cross_entropy(logits, targets, reduction="none")

    def sample_targets(self, outputs: Any, targets: Any, draw: Draws) -> Tensor:
        """Draw classes by inversion of the cumulative probabilities.

        Raises:
            InputError: targets that are no class ids, though none of them enters.
        """
        _check_class_ids(logits_of(outputs), targets)
        sums = logits_of(outputs).detach().double().softmax(-1).cumsum(-1)
        u = draw(1).to(sums.device)
        return (sums < u).sum(-1).clamp_(max=sums.shape[-1] - 1)

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        """Return the margin, the log-probability or the loss, (n,)."""
        logits = logits_of(outputs)
        log_p = -self.per_example(logits, targets)
        if self.on != "margin":
            return log_p if self.on == "log_prob" else -log_p
        own = F.one_hot(targets, logits.shape[-1]).bool()
        others = logits.masked_fill(own, -torch.inf).logsumexp(-1)
        return logits.masked_fill(~own, 0).sum(-1) - others

    def every_target(self, outputs: Any, targets: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each class for all examples, with its probability."""
        p = logits_of(outputs).detach().softmax(-1)
        for k in range(p.shape[-1]):
            yield torch.full((len(p),), k, device=p.device), p[:, k]


def _check_class_ids(logits: Tensor, targets: Any) -> None:
    if logits.dim() != 2:
        raise InputError(
            f"logits of shape {tuple(logits.shape)}",
            "(n, C), a row for each example",
            "CausalLanguageModel() for a model of tokens, Regression() for numbers",
        )
    ids, classes = torch.as_tensor(targets), logits.shape[1]
    if ids.dtype != torch.int64 or ids.shape != logits.shape[:1]:
        raise InputError(
            f"targets of type {ids.dtype} and shape {tuple(ids.shape)} for {len(logits)} examples",
            "int64 class ids, one for each example",
            "y.long(); y.argmax(1) for one-hot rows; Regression() for numbers",
        )
    _refuse_outside(
        "class ids", ids, classes, "leave examples without a class out, and count classes from 0"
    )


def _check_token_ids(logits: Tensor, targets: Any, ignore: int) -> None:
    if logits.dim() != 3:
        raise InputError(
            f"logits of shape {tuple(logits.shape)}",
            "(n, T, V), a row of them for each token",
            "Classification() for a model with one answer per example",
        )
    ids = torch.as_tensor(targets)
    if ids.dtype != torch.int64 or ids.shape != logits.shape[:2]:
        raise InputError(
            f"targets of type {ids.dtype} and shape {tuple(ids.shape)} "
            f"for logits of shape {tuple(logits.shape)}",
            "int64 token ids, one for each position of the input: they are moved by one here",
            "input_ids.long(), with -100 on padding",
        )
    counted, hint = ids[ids != ignore], f"targets of {ignore} where nothing is predicted"
    _refuse_outside("token ids", counted, logits.shape[2], hint)


def _refuse_outside(what: str, ids: Tensor, count: int, hint: str) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise InputError(
            f"{what} from {int(ids.min())} to {int(ids.max())} for {count} logits",
            f"0 to {count - 1}",
            hint,
        )


@dataclass(frozen=True)
class Regression:
    """Half the squared error of outputs (n,) or (n, k): a unit Gaussian around the output."""

    def per_example(self, outputs: Any, targets: Any) -> Tensor:
        """Return ||f - y||^2 / 2, (n,).

        Raises:
            InputError: targets of another shape than the outputs.
        """
        outputs = logits_of(outputs)
        shape = getattr(targets, "shape", None)
        if shape != outputs.shape:
            raise InputError(
                f"targets {None if shape is None else tuple(shape)} "
                f"for outputs {tuple(outputs.shape)}",
                "one number for each output: broadcast, every row would be compared with others",
                "y[:, None] for a model with one output, or out.squeeze(-1) in the model",
            )
        return 0.5 * (outputs - targets).square().reshape(len(outputs), -1).sum(1)

    def sample_targets(self, outputs: Any, targets: Any, draw: Draws) -> Tensor:
        """Return the outputs plus standard Gaussian noise."""
        outputs = logits_of(outputs)
        u = draw(*(outputs.shape[1:] or (1,))).to(outputs.device).clamp_(1e-12, 1 - 1e-12)
        u = u.view(outputs.shape)
        return outputs.detach() + torch.special.ndtri(u).to(outputs.dtype)

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss with its sign turned: how well the example is fitted, (n,)."""
        return -self.per_example(outputs, targets)

    def every_target(self, outputs: Any, targets: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one target per output, a unit away from it: E[d d^T] is the identity."""
        outputs = logits_of(outputs)
        flat = outputs.detach().reshape(len(outputs), -1)
        for k in range(flat.shape[1]):
            moved = flat.clone()
            moved[:, k] += 1
            yield moved.view_as(outputs), flat.new_ones(len(flat))


@dataclass(frozen=True)
class CausalLanguageModel:
    """Next-token cross-entropy of logits (n, T, V); targets are token ids (n, T).

    Position t predicts the token at t + 1. Targets of -100 do not count: put it on padding, and
    on the prompt where the loss is of the completion only. `EKFAC` puts it where a mask is False;
    without a mask, -100 at a row's end is taken as padding, and before that as a prompt.
    """

    ignore: int = -100
    """Target that does not count."""

    def per_example(self, outputs: Any, targets: Any) -> Tensor:
        """Return - log p(completion | prompt), summed over its tokens, (n,).

        Raises:
            InputError: targets that are no token ids of these logits.
        """
        logits = logits_of(outputs)
        _check_token_ids(logits, targets, self.ignore)
        losses = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            targets[:, 1:].flatten(),
            ignore_index=self.ignore,
            reduction="none",
        )
        return losses.view(len(targets), -1).sum(1)

    def sample_targets(self, outputs: Any, targets: Any, draw: Draws) -> Tensor:
        """Draw every counted token from the model's prediction at the position before it."""
        logits = logits_of(outputs).detach()[:, :-1]
        u = draw(logits.shape[1]).to(logits.device)
        rows = zip(logits, u.float(), strict=True)  # one example at a time: V may be 50,000
        drawn = torch.stack(
            [(z.float().softmax(-1).cumsum(-1) < v[:, None]).sum(-1) for z, v in rows]
        ).clamp_(max=logits.shape[-1] - 1)
        sampled = targets.clone()
        sampled[:, 1:] = torch.where(targets[:, 1:] == self.ignore, self.ignore, drawn)
        return sampled

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        """Return log p(completion | prompt), (n,)."""
        return -self.per_example(outputs, targets)
