"""The learning rates of adversarial fine-tuning: a slow start, then a fast decay.

Jeddi, Shafiee and Wong, "A Simple Fine-tuning Is All You Need: Towards Robust Deep Learning Via
Adversarial Fine-tuning", arXiv:2012.13628: a network trained on clean data is fine-tuned for about
ten epochs; the small rates at first keep what it has learned, the fast decay is to prevent robust
overfitting. The formula is a re-implementation's; the paper's base rate is not verified.
"""

from __future__ import annotations

from collections.abc import Callable

from heldout.core.errors import InputError


def slow_start_fast_decay(
    ramp: int = 5, factor: float = 0.5, *, steps_per_epoch: int = 1
) -> Callable[[int], float]:
    """Return what multiplies the base rate, for `torch.optim.lr_scheduler.LambdaLR`.

    In epoch e = 1, 2, ...: e while e <= `ramp`, then ramp * factor^(e - ramp). With 5 and 0.5 and
    ten epochs: 1, 2, 3, 4, 5, 2.5, 1.25, ... of a base rate of 1e-3, so its peak is 5e-3. All
    values are at least 0 and at most `ramp`.

    DIFFERS: `steps_per_epoch` above 1 is for schedulers that step after every batch, as those of
    `transformers.Trainer` do; the rate is constant within an epoch, as when stepping once in each.

    Args:
        ramp: epochs of linear growth, at least 1.
        factor: of each epoch's rate to the one before in the decay, above 0, at most 1.
        steps_per_epoch: scheduler steps in an epoch.

    Raises:
        InputError: a number out of its range.

    >>> [slow_start_fast_decay()(step) for step in range(8)]
    [1.0, 2.0, 3.0, 4.0, 5.0, 2.5, 1.25, 0.625]
    """
    for name, value in (("ramp", ramp), ("steps_per_epoch", steps_per_epoch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name}={value!r}", "a whole number, at least 1", f"{name}=5")
    if not 0 < factor <= 1:
        raise InputError(f"factor={factor!r}", "above 0, at most 1", "factor=0.5")

    def multiplier(step: int) -> float:
        epoch = step // steps_per_epoch + 1
        return float(epoch) if epoch <= ramp else ramp * factor ** (epoch - ramp)

    return multiplier
