"""Perpendicular gradients, StableMax and slow start in `transformers.Trainer`.

Nothing here imports transformers: it comes with the arguments that are passed in, as
`pip install 'transformers[torch]'` provides them.

    trainer = Trainer(
        model, args, train_dataset=data,
        optimizers=trainer_optimizers(model, args, schedule=slow_start_fast_decay()),
        compute_loss_func=stablemax_loss(),
    )

Where the model is made by `model_init`, the Trainer makes the optimizer, too:
`optimizer_cls_and_kwargs=(OrthoGrad, {"base_cls": torch.optim.AdamW, "lr": args.learning_rate})`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.dynamics.orthograd import OrthoGrad
from heldout.dynamics.stablemax import StableMaxCrossEntropy


class Arguments(Protocol):
    """What is read of `transformers.TrainingArguments`."""

    learning_rate: float
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    gradient_accumulation_steps: int
    dataloader_drop_last: bool

    @property
    def train_batch_size(self) -> int:
        """Examples in one process's batch."""

    @property
    def world_size(self) -> int:
        """Number of processes."""


def trainer_optimizers(
    model: nn.Module,
    args: Arguments,
    *,
    base_cls: type[torch.optim.Optimizer] = torch.optim.AdamW,
    skip_1d: bool = False,
    schedule: Callable[[int], float] | None = None,
    **kw: Any,
) -> tuple[OrthoGrad, torch.optim.lr_scheduler.LambdaLR | None]:
    """Return optimizer and schedule for the Trainer's `optimizers=`.

    Learning rate, weight decay and Adam's numbers are those of `args`. As in the Trainer, weights
    of two dimensions and more decay, biases and norms do not.

    Args:
        model: the one that is passed to the Trainer; parameters that are frozen now stay out.
        args: `TrainingArguments`.
        base_cls: class of the optimizer inside `OrthoGrad`.
        skip_1d: leave gradients of biases and norms as they are.
        schedule: number of steps done to multiplier of the rate, such as
            `slow_start_fast_decay(steps_per_epoch=updates_per_epoch(len(data), args))`. None: the
            Trainer makes the schedule that `args.lr_scheduler_type` names.
        kw: options of the wrapped optimizer, before those of `args`.

    Raises:
        InputError: nothing to train.

    >>> from types import SimpleNamespace
    >>> args = SimpleNamespace(learning_rate=0.1, weight_decay=0.01)
    >>> made, _ = trainer_optimizers(nn.Linear(2, 1), args, base_cls=torch.optim.SGD)
    >>> [(group["lr"], group["weight_decay"]) for group in made.param_groups]
    [(0.1, 0.01), (0.1, 0.0)]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": args.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError(
            f"{type(model).__name__} with every parameter frozen",
            "at least one parameter that requires gradients",
            "set requires_grad_(True) on what is to be trained",
        )
    options: dict[str, Any] = {"lr": args.learning_rate}
    if issubclass(base_cls, torch.optim.Adam | torch.optim.AdamW):
        options |= {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    optimizer = OrthoGrad(groups, base_cls, skip_1d=skip_1d, **options | kw)
    if schedule is None:
        return optimizer, None
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)


def updates_per_epoch(examples: int, args: Arguments) -> int:
    """Return how many steps the Trainer's optimizer takes in an epoch.

    Batches, the last of which may be smaller or dropped, over accumulation steps, rounded up.

    >>> from types import SimpleNamespace
    >>> args = SimpleNamespace(train_batch_size=8, world_size=1, dataloader_drop_last=False)
    >>> args.gradient_accumulation_steps = 4
    >>> updates_per_epoch(100, args)  # 13 batches
    4
    """
    size = args.train_batch_size * args.world_size
    batches = examples // size if args.dataloader_drop_last else math.ceil(examples / size)
    return max(1, math.ceil(batches / args.gradient_accumulation_steps))


def stablemax_loss(*, shift: bool = False, ignore_index: int = -100) -> Callable[..., Tensor]:
    """Return StableMax cross-entropy as the Trainer's `compute_loss_func`.

    Its sum over the labels that count, divided by their number in all batches of a step, so that
    accumulation does what one big batch does.

    Args:
        shift: compare the logits at one position with the label at the next, as causal language
            models need.
        ignore_index: label without loss.

    Returns:
        a function of the model's outputs (with "logits", or logits first), the labels and
        `num_items_in_batch`. It raises `InputError` where the logits are half precision: a model
        in bfloat16 throughout has lost what StableMax is to keep; `bf16=True` of the Trainer is
        fine, since that hands out float32.

    >>> logits = torch.tensor([[3.0, -1.0, -1.0]])
    >>> stablemax_loss()({"logits": logits}, torch.tensor([0])).exp()
    tensor(1.2500, dtype=torch.float64)
    """
    total = StableMaxCrossEntropy("sum", ignore_index)
    mean = StableMaxCrossEntropy("mean", ignore_index)

    def loss(
        outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        if shift:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        logits, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        if num_items_in_batch is None:
            return mean(logits, labels)  # type: ignore[no-any-return]
        return total(logits, labels) / num_items_in_batch  # type: ignore[no-any-return]

    return loss
