"""How much noise, or what worst step, the weights bear before training accuracy drops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.outputs import logits_of
from heldout.core.seeds import torch_stream
from heldout.measures.complexity._examples import refuse_inputs, refuse_labels

MAGNITUDE_EPS = 1e-3
"""Noise that weights near zero get where noise is scaled by the weight."""
_SMALLEST, _LARGEST = 1e-6, 1e4


def noise_scale(
    model: nn.Module, x: Float[Tensor, "n ..."], y: Int[Tensor, " n"], *,
    magnitude_aware: bool = False, drop: float = 0.1, draws: int = 10, seed: int = 0,
    tolerance: float = 0.02, start: float = 0.05,
) -> float:  # fmt: skip
    """Largest standard deviation of weight noise at which training accuracy drops by `drop`.

    Noise is `N(0, s^2)` on every weight, or `N(0, s^2 w_i^2 + eps^2)` with eps = 1e-3 where
    magnitude-aware; the drop is the mean over `draws` (Jiang et al. 2020, appendix C.4).

    DIFFERS: the draws are the same at every s, so that the search is over one function of s;
    s is a standard deviation, where the public reimplementation passes the variance in its
    place; the drop has its sign there taken off, which counts a gain as a loss.

    Args:
        model: borrowed.
        x: training inputs.
        y: their labels.
        magnitude_aware: noise in proportion to each weight.
        drop: of training accuracy, 0-1.
        draws: of the noise.
        seed: of the draws.
        tolerance: relative, of the answer.
        start: where the search begins.

    Raises:
        InputError: no noise up to 1e4 lowers accuracy so far, or the least noise already does;
            inputs or labels that are not the model's, or not finite; settings out of range.

    Cost: about 10 x `draws` forward passes.

    >>> net, x = nn.Linear(1, 2, bias=False), torch.ones(8, 1)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> 0.5 < noise_scale(net, x, torch.zeros(8).long(), draws=200) < 2
    True
    """
    _refuse(model, x, y, drop, draws, tolerance, start)
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def loss(scale: float) -> float:
        generator = torch_stream(seed, "noise")
        total = 0.0
        for _ in range(draws):
            moved = {}
            for name, w in weights.items():
                noise = torch.randn(w.shape, generator=generator, dtype=w.dtype).to(w.device)
                spread = (scale**2 * w**2 + MAGNITUDE_EPS**2).sqrt() if magnitude_aware else scale
                moved[name] = w + spread * noise
            total += _accuracy(model, moved, x, y)
        return total / draws

    with borrowed(model), torch.no_grad():
        return _largest(loss, _accuracy(model, weights, x, y) - drop, start, tolerance)


def worst_step(
    model: nn.Module, x: Float[Tensor, "n ..."], y: Int[Tensor, " n"], *,
    magnitude_aware: bool = False, drop: float = 0.1, steps: int = 20,
    tolerance: float = 0.02, start: float = 0.01,
) -> float:  # fmt: skip
    """Largest bound on a weight's change within which no change drops accuracy by `drop`.

    Changes are within `|u_i| <= a`, or `|u_i| <= a |w_i|` where magnitude-aware. The worst
    is sought by `steps` ascents of `2 a / steps` along the gradient's sign, kept within the box.

    DIFFERS: a search finds a bad change, not the worst one, so that a is an upper bound; it
    starts from the weights themselves and is the same at every call.

    Args:
        model: borrowed.
        x: training inputs.
        y: their labels.
        magnitude_aware: bounds in proportion to each weight.
        drop: of training accuracy, 0-1.
        steps: of the ascent.
        tolerance: relative, of the answer.
        start: where the search begins.

    Raises:
        InputError: no change up to 1e4 lowers accuracy so far, or the least one already does;
            inputs or labels that are not the model's, or not finite; settings out of range.

    Cost: about 10 x `steps` training passes.

    >>> net, x = nn.Linear(1, 2, bias=False), torch.ones(8, 1)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> round(worst_step(net, x, torch.zeros(8).long()), 1)  # both weights meet at zero
    1.0
    """
    _refuse(model, x, y, drop, steps, tolerance, start)
    weights = {n: p.detach() for n, p in model.named_parameters()}

    def worst(scale: float) -> float:
        room = {
            n: scale * w.abs() if magnitude_aware else torch.full_like(w, scale)
            for n, w in weights.items()
        }
        moved, lowest = dict(weights), 1.0
        for _ in range(steps):
            signs = _ascent(model, moved, x, y)
            for n, w in weights.items():
                change = moved[n] - w + (2 / steps) * room[n] * signs[n]
                moved[n] = w + torch.maximum(torch.minimum(change, room[n]), -room[n])
            lowest = min(lowest, _accuracy(model, moved, x, y))
        return lowest

    with borrowed(model), torch.no_grad():
        return _largest(worst, _accuracy(model, weights, x, y) - drop, start, tolerance)


def _refuse(
    model: Any, x: Any, y: Any, drop: float, count: int, tolerance: float, start: float
) -> None:
    logits = refuse_inputs(model, x)
    refuse_labels(y, len(x), logits.shape[1])
    if not (0 < drop < 1 and count >= 1 and tolerance > 0 and start > 0):
        raise InputError(
            f"drop={drop}, {count} draws or steps, tolerance={tolerance}, start={start}",
            "0 < drop < 1, at least one draw or step, tolerance and start above 0",
            "Options() as they are",
        )


def _accuracy(model: nn.Module, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> float:
    logits = logits_of(functional_call(model, weights, (x,)))
    return float((logits.argmax(1) == y).double().mean())


def _ascent(
    model: nn.Module, weights: dict[str, Tensor], x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    with torch.enable_grad():
        free = {n: w.detach().requires_grad_(True) for n, w in weights.items()}
        loss = nn.functional.cross_entropy(logits_of(functional_call(model, free, (x,))), y)
        found = torch.autograd.grad(loss, list(free.values()), allow_unused=True)
    return {
        n: torch.zeros_like(w) if g is None else g.sign()
        for (n, w), g in zip(free.items(), found, strict=True)
    }


def _largest(
    value: Callable[[float], float], floor: float, start: float, tolerance: float
) -> float:
    """The scale at which `value` falls below `floor`, bracketed by doubling, then bisected."""
    low = high = start
    if value(start) > floor:
        while value(high) > floor:
            low, high = high, 2 * high
            if high > _LARGEST:
                raise _none("no change of the weights", "a constant model cannot be measured")
    else:
        while value(low) <= floor:
            low, high = low / 2, low
            if low < _SMALLEST:
                raise _none("the least change of the weights", "its accuracy hangs by a thread")
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if value(middle) > floor else (low, middle)
    return math.sqrt(low * high)


def _none(what: str, why: str) -> InputError:
    return InputError(
        f"{what} lowers training accuracy by the amount asked for: {why}",
        "a model whose training accuracy is well above chance",
        "train on, or leave these measures out: without=('flatness', 'sharpness')",
    )
