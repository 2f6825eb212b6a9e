"""One perturbation for all inputs: how little breaks a model, and where that little goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import torch_stream
from heldout.core.statistics import proportion


@dataclass(frozen=True)
class PerturbationEffect:
    """What one perturbation does to a model, beside what is no attack."""

    untouched: Interval
    """Accuracy on the inputs as they are; Wilson."""
    perturbed: Interval
    """Accuracy with the perturbation; Wilson."""
    random: Interval
    """Accuracy with perturbations of the same norm in random directions, over all draws; the
    Wilson interval of as many examples as there are, not of examples times draws."""


def universal_perturbation(
    model: nn.Module,
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    norm: float,
    *,
    signed: bool = True,
    epochs: int = 2,
    repeats: int = 30,
    step: float = 0.05,
    batch: int = 256,
    seed: int = 0,
) -> Float[np.ndarray, ...]:
    """Return one delta, |delta|_2 <= norm, that raises the mean cross-entropy of all inputs.

    Ascent delta <- P(delta + step * g / |g|) from zero on mini-batches, `repeats` times on each,
    with g the gradient of their loss by delta and P the projection on the ball. For two classes
    with `signed`, class 1 gets +delta and class 0 -delta: one direction, both ways. Otherwise all
    inputs get +delta, and where one feature tells two classes apart linearly, no shift can spoil
    more than one class.

    Shafahi et al. 2018, arXiv:1811.11304, algorithm 2; signed as in Shah et al. 2020,
    arXiv:2006.07710, section 4. DIFFERS: no clipping of the perturbed inputs to a range.

    Args:
        model: borrowed, in evaluation mode; logits (n, c) from float32 inputs.
        x: inputs to find it on; measure it on others, with `perturbation_effect`.
        y: classes from 0.
        norm: radius of the ball, in the inputs' unit.
        signed: plus for class 1 and minus for class 0; only for two classes.
        epochs: passes over the inputs.
        repeats: steps on each mini-batch.
        step: length of a step, in the inputs' unit.
        batch: examples in each mini-batch.
        seed: of their order.

    Cost: epochs * repeats forward and backward passes over the data.

    Raises:
        InputError: a norm, step or count that is not positive, labels that do not fit, or more
            than two classes with `signed`.

    >>> w = nn.Linear(3, 2); _ = w.requires_grad_(False)
    >>> w.weight[:] = torch.tensor([[-1.0, 0, 0], [1, 0, 0]]); w.bias[:] = 0
    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 3)).astype("float32")
    >>> delta = universal_perturbation(w, x, (x[:, 0] > 0).astype(int), norm=2.0)
    >>> delta.round(2).tolist()
    [-2.0, 0.0, 0.0]
    """
    _check(
        x,
        y,
        signed,
        {"norm": norm, "step": step, "epochs": epochs, "repeats": repeats, "batch": batch},
    )
    inputs, labels = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y).long()
    with borrowed(model), torch.enable_grad():
        place = _place(model)
        delta = torch.zeros(inputs.shape[1:], device=place)
        for rows in _batches(len(y), batch, epochs, seed):
            part, wanted = inputs[rows].to(place), labels[rows].to(place)
            way = _ways(wanted, signed, part.ndim)
            for _ in range(repeats):
                delta.requires_grad_()
                loss = nn.functional.cross_entropy(model(part + way * delta), wanted)
                (g,) = torch.autograd.grad(loss, delta)
                with torch.no_grad():
                    delta = delta + step * g / g.norm().clamp(min=1e-20)
                    delta = delta * (norm / delta.norm().clamp(min=norm))
    return np.asarray(delta.detach().cpu().numpy())


def perturbation_effect(
    model: nn.Module,
    x: Float[np.ndarray, "n ..."],
    y: Int[np.ndarray, " n"],
    delta: Float[np.ndarray, ...],
    *,
    signed: bool = True,
    draws: int = 10,
    batch: int = 4096,
    seed: int = 0,
) -> PerturbationEffect:
    """Return accuracy untouched, with delta, and with random directions of the same norm.

    Args:
        model: borrowed, in evaluation mode; logits (n, c) from float32 inputs.
        x: inputs that took no part in finding delta.
        y: classes from 0.
        delta: perturbation.
        signed: as it was found.
        draws: random directions.
        batch: examples at a time.
        seed: of the directions.

    Cost: 2 + draws forward passes over the data.

    Raises:
        InputError: a delta of another shape than one input, no draws, labels that do not fit, or
            more than two classes with `signed`.

    >>> w = nn.Linear(3, 2); _ = w.requires_grad_(False)
    >>> w.weight[:] = torch.tensor([[-1.0, 0, 0], [1, 0, 0]]); w.bias[:] = 0
    >>> x = np.array([[0.5, 0, 0], [-0.5, 0, 0]])
    >>> found = perturbation_effect(w, x, np.array([1, 0]), np.array([-2.0, 0, 0]))
    >>> found.untouched.value, found.perturbed.value
    (1.0, 0.0)
    """
    _check(x, y, signed, {"draws": draws, "batch": batch})
    shift = torch.as_tensor(delta, dtype=torch.float32)
    inputs, labels = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y).long()
    if shift.shape != inputs.shape[1:]:
        raise InputError(
            f"a perturbation {tuple(shift.shape)} for inputs {tuple(inputs.shape[1:])}",
            "the shape of one input", "delta = universal_perturbation(model, x, y, norm)",
        )  # fmt: skip
    rng = torch_stream(seed, "universal perturbation", "random")
    others = [torch.randn(shift.shape, generator=rng) for _ in range(draws)]
    tried = [0 * shift, shift, *(o * (shift.norm() / o.norm()) for o in others)]
    with borrowed(model), torch.no_grad():
        right = [_right(model, inputs, labels, d, signed, batch) for d in tried]
    n = len(labels)
    return PerturbationEffect(
        proportion(right[0], n),
        proportion(right[1], n),
        proportion(round(sum(right[2:]) / draws), n),
    )


def _right(model: nn.Module, x: Tensor, y: Tensor, delta: Tensor, signed: bool, batch: int) -> int:
    place, found = _place(model), 0
    for part, wanted in zip(x.split(batch), y.split(batch), strict=True):
        moved = part + _ways(wanted, signed, part.ndim) * delta
        found += int((model(moved.to(place)).argmax(1).cpu() == wanted).sum())
    return found


def _ways(y: Tensor, signed: bool, ndim: int) -> Tensor:
    ways = (2 * y - 1).float() if signed else torch.ones(len(y), device=y.device)
    return ways.view(-1, *[1] * (ndim - 1))


def _place(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _batches(n: int, size: int, epochs: int, seed: int) -> Iterator[Tensor]:
    rng = torch_stream(seed, "universal perturbation", "batches")
    for _ in range(epochs):
        yield from torch.randperm(n, generator=rng).split(size)


def _check(x: Any, y: Any, signed: bool, positive: dict[str, float]) -> None:
    classes = np.unique(np.asarray(y))
    if np.ndim(y) != 1 or len(y) != len(x) or not len(y) or classes.dtype.kind not in "iu":
        raise InputError(
            f"{len(x)} inputs and labels of shape {np.shape(y)}, {classes.dtype}",
            "one class number for each input", "y = y.astype(int)",
        )  # fmt: skip
    if signed and not set(classes.tolist()) <= {0, 1}:
        raise InputError(
            f"classes {classes.tolist()[:5]} with signed=True", "two classes, 0 and 1",
            "signed=False adds the same delta to every input",
        )  # fmt: skip
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} {value}", "a positive number", f"{name}=1")
