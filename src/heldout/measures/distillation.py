"""One network that predicts like an average of many, and how faithfully it does.

Feder, Urbanke and Fogel, "The Universality Lens", arXiv:2506.07661, name distillation as what makes
the mixture practical: a single network is trained on the averaged probabilities,

    min over student of  mean_x KL( p(. | x) || student(. | x) ),

which needs inputs and no labels (Hinton, Vinyals and Dean 2015, at temperature 1).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.outputs import logits_of
from heldout.core.seeds import torch_stream
from heldout.core.statistics import mean, proportion
from heldout.measures.posterior_ensemble import PosteriorEnsemble

Teacher = PosteriorEnsemble | Callable[[Tensor], Any]
"""An ensemble, or anything that maps inputs to probabilities (n, K)."""

_FEWEST = 10  # held-out inputs
_LOOSE = 1e-4  # how far from 1 a sum of probabilities may be


@dataclass(frozen=True)
class Distilling:
    """How a student is trained."""

    steps: int = 1000
    """Of Adam, the rate falling to 0 along a cosine."""
    rate: float = 0.01
    """First learning rate."""
    batch_size: int = 256
    """Inputs per step."""
    share: float = 0.2
    """Of the inputs that is held out to measure fidelity, where no others are given."""


@dataclass(frozen=True)
class Distilled:
    """A student, and how near it came on inputs that it was not trained on."""

    student: nn.Module
    """A trained copy of the module that was given."""
    kl: Interval
    """KL(teacher || student) in nats per held-out input; 0 is perfect."""
    agreement: Interval
    """Share of held-out inputs where both have the same likeliest class, 0 to 1."""
    kl_constant: Interval
    """The null reference: KL to the teacher's mean probabilities, the best constant student's."""
    kl_trained_on: float
    """KL on the inputs that it was trained on; far below `kl`, more inputs would help."""


def distill(
    teacher: Teacher,
    student: nn.Module,
    inputs: Tensor,
    *,
    held_out: Tensor | None = None,
    options: Distilling | None = None,
    seed: int = 0,
) -> Distilled:
    """Train one network to give an ensemble's averaged probabilities, and say how well it does.

    Args:
        teacher: a `PosteriorEnsemble`, or a function from inputs to probabilities (n, K).
        student: returns logits; of any size. It is copied, and itself left as it was.
        inputs: (n, ...), at least 20, like those of the task: no labels, so that unlabelled and
            made-up ones will do, and the more the better.
        held_out: inputs to measure on, at least 10; a fifth of `inputs`, then not trained on, when
            None.
        options: how to train.
        seed: of the split and the batches.

    Cost: one prediction of the teacher per input, then `steps` training steps.

    Raises:
        InputError: no probabilities, another number of classes, nothing to train, or too few
            inputs.

    >>> x = torch.linspace(-2, 2, 100)[:, None]
    >>> found = distill(lambda x: torch.hstack([-x, x]).softmax(1), nn.Linear(1, 2), x,
    ...                 options=Distilling(steps=200, rate=0.1))
    >>> found.kl.value < 0.001, found.agreement.n, found.kl_constant.value > 0.1
    (True, 20, True)
    """
    chosen = options or Distilling()
    _check(student, inputs, held_out, chosen)
    generator = torch_stream(seed, "distill")
    seen, new = inputs, held_out
    if new is None:
        order = torch.randperm(len(inputs), generator=generator)
        count = max(_FEWEST, round(chosen.share * len(inputs)))
        new, seen = inputs[order[:count]], inputs[order[count:]]
    wanted, target = _probabilities(teacher, seen), _probabilities(teacher, new)
    with borrowed(student):
        with torch.no_grad():
            columns = logits_of(student(seen[:2])).shape[-1]
        made = copy.deepcopy(student)
    if columns != wanted.shape[1]:
        raise InputError(
            f"a student of {columns} classes",
            f"{wanted.shape[1]}, as the teacher has",
            "change its last layer",
        )
    with borrowed():
        _train(made, seen, wanted, chosen, generator)
        predicted, fitted = _log_softmax(made, new), _log_softmax(made, seen)
    for part, old in zip(made.modules(), student.modules(), strict=True):
        part.training = old.training
    constant = np.log(np.maximum(target.mean(0), 1e-300))
    same = target.argmax(1) == predicted.argmax(1)
    return Distilled(
        made,
        mean(_kl(target, predicted)),
        proportion(int(same.sum()), len(same)),
        mean(_kl(target, constant)),
        float(_kl(wanted, fitted).mean()),
    )


def _check(student: nn.Module, inputs: Tensor, held_out: Tensor | None, chosen: Distilling) -> None:
    if not isinstance(student, nn.Module) or not any(p.requires_grad for p in student.parameters()):
        raise InputError(
            f"a student of type {type(student).__name__} with nothing to train",
            "an nn.Module with trainable parameters",
            "requires_grad_(True)",
        )
    few = 2 * _FEWEST if held_out is None else 1
    measured = held_out is None or (isinstance(held_out, Tensor) and len(held_out) >= _FEWEST)
    if not isinstance(inputs, Tensor) or len(inputs) < few or not measured:
        raise InputError(
            f"inputs of type {type(inputs).__name__}, held out {type(held_out).__name__}",
            f"a tensor of at least {few} inputs, and {_FEWEST} to measure on",
            "more inputs: they need no labels",
        )
    if chosen.steps < 1 or chosen.batch_size < 1 or not (chosen.rate > 0 and 0 < chosen.share < 1):
        raise InputError(str(chosen), "counts and rate above 0, share below 1", "Distilling()")


def _probabilities(teacher: Teacher, x: Tensor) -> np.ndarray:
    found = teacher.predict_proba(x) if isinstance(teacher, PosteriorEnsemble) else teacher(x)
    raw = found.detach().cpu().numpy() if isinstance(found, Tensor) else found
    p = np.asarray(raw, dtype=float)
    fine = p.ndim == 2 and len(p) == len(x) and np.isfinite(p).all() and (p >= 0).all()
    if not fine or not (abs(p.sum(1) - 1) < _LOOSE).all():
        raise InputError(
            f"a teacher's output of shape {p.shape} for {len(x)} inputs",
            f"({len(x)}, classes) of probabilities that sum to 1",
            "average probabilities, not logits",
        )
    return p / p.sum(1, keepdims=True)


def _train(
    made: nn.Module, x: Tensor, p: np.ndarray, chosen: Distilling, generator: torch.Generator
) -> None:
    taken = [q for q in made.parameters() if q.requires_grad]
    optimizer = torch.optim.Adam(taken, chosen.rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, chosen.steps)
    wanted = torch.from_numpy(p).to(x.device)
    made.eval()  # no dropout and no running statistics: the target is a fixed function
    for _ in range(chosen.steps):
        a, b = x, wanted
        if chosen.batch_size < len(x):
            rows = torch.randperm(len(x), generator=generator)[: chosen.batch_size]
            a, b = x[rows], wanted[rows]
        with torch.enable_grad():
            log_q = logits_of(made(a)).double().log_softmax(1)
            loss = nn.functional.kl_div(log_q, b, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        decay.step()
    optimizer.zero_grad()


def _log_softmax(made: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        parts = [logits_of(made(part)).double().log_softmax(1) for part in x.split(4096)]
    return np.asarray(torch.cat(parts).cpu().numpy())


def _kl(p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    logs = np.log(np.where(p > 0, p, 1.0))
    return np.asarray((p * (logs - log_q)).sum(1))
