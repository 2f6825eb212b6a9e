"""Streams are equal for equal purposes, unrelated for others, and never global."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from heldout.core.seeds import derived_seed, stream, torch_stream


@given(st.integers(-(2**40), 2**40), st.lists(st.text(max_size=5), max_size=3))
def test_equal_arguments_give_equal_streams(seed: int, purpose: list[str]) -> None:
    assert stream(seed, *purpose).random() == stream(seed, *purpose).random()
    assert derived_seed(seed, *purpose) == derived_seed(seed, *purpose)
    first, second = (torch.rand(2, generator=torch_stream(seed, *purpose)) for _ in range(2))
    assert torch.equal(first, second)


def test_purposes_and_seeds_are_told_apart() -> None:
    keys = [(0, "a"), (0, "b"), (1, "a"), (0, "a", 1), (0, "a", 2), (0, "ab"), (0, "a", "b"), (0,)]
    assert len({derived_seed(*k) for k in keys}) == len(keys)


def test_streams_of_many_purposes_are_uncorrelated() -> None:
    draws = np.stack([stream(0, "fold", i).normal(size=500) for i in range(40)])
    off = np.corrcoef(draws)[~np.eye(40, dtype=bool)]
    assert np.abs(off).max() < 0.25  # five standard deviations of a chance correlation
    assert abs(off.mean()) < 0.01


def test_global_states_do_not_move() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    stream(0, "x").random()
    torch.rand(3, generator=torch_stream(0, "x"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
