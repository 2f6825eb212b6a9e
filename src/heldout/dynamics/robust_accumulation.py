"""Medians of means for training loops that accumulate: any model, optimizer, scaler or Trainer.

Chatterjee and Zielinski, "On the Generalization Mystery in Deep Learning", arXiv:2203.10036: the
coordinatewise median of micro-batches' mean gradients keeps what they agree on. Accumulation has
these micro-batches already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.dynamics.robust_means import coordinate_median, require_odd


@contextmanager
def median_over_backwards(model: nn.Module, parts: int = 3) -> Iterator[None]:
    """Inside, after `parts` calls of `backward()` each `.grad` is parts * median, not the sum.

    With the losses divided by `parts`, as accumulation does, that is the coordinatewise median of
    the micro-batches' gradients: `median_of_means` of the big batch where their sizes are equal.
    Clipping, unscaling and any optimizer follow as usual; dropout and batch norm may be active.
    A window begins where `.grad` is None, so that one which is cut short (the last of an epoch)
    stays a plain sum and the next begins anew; `zero_grad` has to set gradients to None, as it
    does by default. Further calls of `backward()` add to the median. A scaled loss that overflows
    leaves what is not finite in `.grad`, for the scaler to see.

    Cost: no pass, `parts` gradients in memory.

    Args:
        model: parameters that require gradients on entering take part; left as it was on leaving.
        parts: calls of `backward()` between two steps, odd.

    Raises:
        InputError: `parts` is even, or no parameter requires gradients.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> with median_over_backwards(model, parts=3):
    ...     for slope in (1.0, 2.0, 90.0):
    ...         (slope / 3 * model(torch.ones(1, 1))).sum().backward()
    >>> model.weight.grad
    tensor([[2.]])
    """
    require_odd("parts", parts)
    chosen = [p for p in model.parameters() if p.requires_grad]
    if not chosen:
        raise InputError(
            f"{type(model).__name__} with every parameter frozen",
            "at least one parameter that requires gradients",
            "set requires_grad_(True)",
        )
    handles = []
    try:
        for p in chosen:
            collect, finish = _window(p, parts)
            handles.append(p.register_hook(collect))
            handles.append(p.register_post_accumulate_grad_hook(finish))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _window(p: Tensor, parts: int) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]:
    held: list[Tensor] = []
    newest: Tensor | None = None
    begins = done = False

    def collect(grad: Tensor) -> None:
        # also called by torch.autograd.grad, which accumulates nothing: so only `finish` counts
        nonlocal newest, begins
        newest, begins = grad.detach().clone(), p.grad is None

    def finish(_: Tensor) -> None:
        nonlocal newest, done
        if begins:
            held.clear()
            done = False
        if done or newest is None or p.grad is None:
            return
        held.append(newest)
        newest = None
        if len(held) == parts:
            middle = parts * coordinate_median([{"": g} for g in held])[""]
            # a median could hide one micro-batch that overflowed; the sum shows it to a scaler
            p.grad.copy_(torch.where(p.grad.isfinite().all(), middle, p.grad))
            held.clear()
            done = True

    return collect, finish
