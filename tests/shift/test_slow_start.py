"""The schedule against the published re-implementation's cases, and on torch's schedulers."""

import pickle
import warnings

import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.dynamics.orthograd import OrthoGrad
from heldout.shift.slow_start import slow_start_fast_decay


def by_cases(epoch: int, base: float) -> float:
    """lr(e) = lr0 e below epoch 6, then lr0 5 / 2^(e - 5): the two lines as they are stated."""
    return base * epoch if epoch < 6 else base * 5 * 0.5 ** (epoch - 5)


def rates(optimizer: torch.optim.Optimizer, steps: int, **options: int) -> list[list[float]]:
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, slow_start_fast_decay(**options))
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("base", [1e-3, 1e-4])
def test_ten_epochs_are_the_stated_cases(base: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=base)
    assert [r for (r,) in rates(optimizer, 10)] == pytest.approx(
        [by_cases(e, base) for e in range(1, 11)]
    )


def test_stepping_by_batch_holds_each_epochs_rate() -> None:
    one = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    by_batch = rates(other, 21, steps_per_epoch=3)
    assert by_batch == [r for r in rates(one, 7) for _ in range(3)]


def test_every_group_of_a_wrapped_optimizer_and_resuming() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": lr} for lr in (0.1, 0.01)]
    optimizer = OrthoGrad(groups, torch.optim.AdamW)
    seen = rates(optimizer, 8)
    for e, pair in enumerate(seen, 1):
        assert pair == pytest.approx([by_cases(e, 0.1), by_cases(e, 0.01)])
    fresh = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(fresh, slow_start_fast_decay())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer step before the schedule's
        for _ in range(6):
            schedule.step()
        state = pickle.loads(pickle.dumps(schedule.state_dict()))
        resumed = torch.optim.lr_scheduler.LambdaLR(fresh, slow_start_fast_decay())
        resumed.load_state_dict(state)
        resumed.step()
    assert fresh.param_groups[0]["lr"] == pytest.approx(by_cases(8, 0.1))


def test_refused_numbers() -> None:
    for options in (
        {"ramp": 0}, {"ramp": 2.5}, {"ramp": True}, {"factor": 0.0}, {"factor": 1.5},
        {"factor": float("nan")}, {"steps_per_epoch": 0},
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(options))):
            slow_start_fast_decay(**options)
