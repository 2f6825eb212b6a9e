"""One pass over data with the gradients that the Fisher is made of, or those of loss or measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from heldout.core.errors import InputError

from .batches import Batch, Draws, batches, doubled
from .losses import LossTask
from .taps import Receive, Taps

Fisher = Literal["sampled", "empirical", "exact"]


@dataclass(frozen=True)
class FisherPass:
    """How the Fisher's gradients are made; additive over examples, so that data can be sharded."""

    fisher: Fisher = "sampled"
    """"sampled": labels drawn from the model (true Fisher); "empirical": the data's own labels;
    "exact": every label with its probability, at one backward pass each."""
    seed: int = 0
    """Of the sampled labels."""
    batch_size: int = 64
    """Rows at a time, where the data are given whole."""
    offset: int = 0
    """Number of the first example in the whole data, for a process that reads a part of it."""


def run_fisher(
    taps: Taps,
    task: LossTask,
    data: Any,
    how: FisherPass,
    receive: Callable[[Batch, str, Tensor, Tensor, bool], None],
    after: Callable[[int], None] | None = None,
    skip: int = 0,
) -> int:
    """Hand over (a, d) of the Fisher's gradients, batch by batch; return the number of examples.

    Args:
        taps: from `taps.tapping`.
        task: the loss.
        data: as in `batches.batches`.
        how: labels and batches.
        receive: takes the batch, the layer's name, a (n, T, n_in), d (n, T, n_out), and whether
            these inputs come for the first time in this batch (with "exact" they come again).
        after: called with the number of batches done.
        skip: batches that are passed over, done before.

    Raises:
        InputError: losses that are averaged or not finite.
    """
    device = next(taps.model.parameters()).device
    n = 0
    for number, batch in enumerate(batches(data, how.batch_size, device)):
        n += batch.size
        if number < skip:
            continue
        if number == skip:
            refuse_reduced(taps, task, batch)
        outputs = taps.forward(batch)
        targets = list(_targets(task, outputs, batch, how))
        for k, (labels, weight) in enumerate(targets):
            losses = _losses(task, outputs, labels, batch)
            total = losses.sum() if weight is None else (losses * weight.sqrt()).sum()

            def found(name: str, a: Tensor, d: Tensor, batch: Batch = batch, k: int = k) -> None:
                receive(batch, name, a, d, k == 0)

            taps.backward(total, found, again=k < len(targets) - 1)
        if after is not None:
            after(number + 1)
    return n


def run_gradients(
    taps: Taps,
    of: Callable[[Any, Any], Tensor],
    data: Any,
    batch_size: int,
    receive: Callable[[Batch], Receive],
) -> int:
    """Hand over (a, d) of the gradients of `of(outputs, targets)`; return the number of examples.

    Raises:
        InputError: values that are not finite, or not one per example.
    """
    device = next(taps.model.parameters()).device
    n = 0
    for batch in batches(data, batch_size, device):
        outputs = taps.forward(batch)
        values = _checked(of(outputs, batch.targets), batch)
        taps.backward(values.sum(), receive(batch))
        n += batch.size
    return n


def refuse_reduced(taps: Taps, task: LossTask, batch: Batch) -> None:
    """Refuse a loss that is averaged over the batch: neither doubling it nor leaving rows out may
    change a row's loss. Of an average that was expanded only the second tells.

    Raises:
        InputError: it is, or rows of a batch influence one another.

    Cost: a forward pass of at most seven rows.
    """
    few, twice = doubled(batch)
    with torch.no_grad():
        one = _losses(task, taps.forward(few), few.targets, few)
        two = _losses(task, taps.forward(twice), twice.targets, twice)[: few.size]
    if torch.allclose(one, two, rtol=1e-2, atol=1e-4 * float(one.abs().max())):
        _refuse_expanded(taps, task, batch, one)
        return
    if torch.allclose(one, 2 * two, rtol=1e-2):
        raise InputError(
            "a loss averaged over the batch: it halves when the batch is doubled",
            "the loss of each example on its own, summed over its positions",
            'reduction="none"',
        )
    raise InputError(
        "losses that change with the other rows of the batch",
        "examples that do not influence one another",
        "replace batch statistics and functional dropout",
    )


def _refuse_expanded(taps: Taps, task: LossTask, batch: Batch, one: Tensor) -> None:
    first, _ = doubled(batch, 1)
    with torch.no_grad():
        alone = _losses(task, taps.forward(first), first.targets, first)[0]
    apart = float((alone - one[0]).abs())
    # rounding of a small loss, which a matrix product of one row does otherwise, is no mixing
    rounding = 1e-4 * float(one.abs().max()) + 10 * torch.finfo(one.dtype).eps
    if apart > 1e-2 * float(one[0].abs()) + rounding:
        mean = len(one) == 2 and bool(one[0] == one[1])
        raise InputError(
            "a loss averaged over the batch and repeated: all rows have the same"
            if mean
            else "losses that change with the other rows of the batch",
            "the loss of each example on its own, summed over its positions",
            'reduction="none", and no batch statistics',
        )


def _targets(
    task: LossTask, outputs: Any, batch: Batch, how: FisherPass
) -> Any:  # an iterable of (targets, weight or None)
    if how.fisher == "empirical":
        return [(batch.targets, None)]
    if how.fisher == "sampled":
        draws = Draws(how.seed, batch, how.offset)
        return [(task.sample_targets(outputs, batch.targets, draws), None)]
    if how.fisher == "exact" and hasattr(task, "every_target"):
        return task.every_target(outputs, batch.targets)
    raise InputError(
        f"fisher={how.fisher!r} with {type(task).__name__}",
        '"sampled", "empirical", or "exact" for a task with every_target',
        'fisher="sampled"',
    )


def _losses(task: LossTask, outputs: Any, targets: Any, batch: Batch) -> Tensor:
    return _checked(task.per_example(outputs, targets), batch)


def _checked(values: Any, batch: Batch) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != (batch.size,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            f"losses of shape {shape} for {batch.size} examples (reduced?)",
            "one number per example",
            'reduction="none", summed over positions',
        )
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        bad = batch.start + int(torch.nonzero(~finite)[0])
        raise InputError(
            f"a loss that is not finite, at example {bad}",
            "finite losses",
            "look for overflow: very large weights, inputs or logits",
        )
    return values
