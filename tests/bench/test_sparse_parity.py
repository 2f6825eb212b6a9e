"""Sparse parity: labels by counting, no string twice, nothing to learn from any other bit."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.bench.sparse_parity import sparse_parity
from heldout.core.errors import InputError


@given(st.integers(3, 12), st.data(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_labels_are_parities_and_strings_are_distinct(bits: int, data, seed: int) -> None:
    k = data.draw(st.integers(1, bits))
    n = data.draw(st.integers(4, 2**bits))
    task = sparse_parity(n, bits, k, 0.5, seed)
    x = np.concatenate([task.train_inputs, task.test_inputs])
    y = np.concatenate([task.train_labels, task.test_labels])
    assert len(set(map(tuple, x.tolist()))) == n == len(y)
    assert set(np.unique(x)) <= {0.0, 1.0} and x.dtype == np.float32
    assert len(task.train_labels) == round(0.5 * n)
    assert len(task.relevant) == k and list(task.relevant) == sorted(set(task.relevant.tolist()))
    for row, label in zip(x.tolist(), y.tolist(), strict=True):
        ones = [row[j] for j in task.relevant].count(1.0)
        assert label == (1 if ones in range(1, bits + 1, 2) else 0)


def test_only_the_product_of_all_relevant_bits_says_anything() -> None:
    # Walsh coefficients over every string: 0 for every set of bits but the relevant one
    task = sparse_parity(2**10, 10, 3, 0.5, 4)
    x = np.concatenate([task.train_inputs, task.test_inputs])
    y = np.concatenate([task.train_labels, task.test_labels])
    sign, label = 1 - 2 * x, 1 - 2 * y
    for size in range(4):
        for chosen in itertools.combinations(range(10), size):
            found = float((sign[:, list(chosen)].prod(1) * label).mean())
            assert found == (1.0 if chosen == tuple(task.relevant) else 0.0)


def test_seed_decides_strings_and_places_and_nothing_else() -> None:
    one, same, other = (sparse_parity(300, 43, 3, 0.5, s) for s in (3, 3, 4))
    assert np.array_equal(one.train_inputs, same.train_inputs)
    assert not np.array_equal(one.train_inputs, other.train_inputs)
    places = {tuple(sparse_parity(4, 43, 3, 0.5, s).relevant.tolist()) for s in range(20)}
    assert len(places) > 15
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    sparse_parity(10, 20, 2)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_bits_are_fair_and_labels_balanced() -> None:
    task = sparse_parity(20_000, 43, 3, 0.5, 1)
    sd = 0.5 / math.sqrt(10_000)
    assert np.abs(task.train_inputs.mean(0) - 0.5).max() < 4.5 * sd
    assert abs(task.train_labels.mean() - 0.5) < 4 * sd


@pytest.mark.parametrize(
    ("n", "bits", "k"),
    [(1, 5, 2), (33, 5, 2), (8, 0, 1), (8, 63, 2), (8, 5, 0), (8, 5, 6), (8.0, 5, 2), (8, "5", 2)],
)
def test_bad_sizes(n, bits, k) -> None:
    with pytest.raises(InputError, match="strings of"):
        sparse_parity(n, bits, k)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_share_that_leaves_a_part_empty(share: float) -> None:
    with pytest.raises(InputError, match="train share"):
        sparse_parity(20, 10, 2, share)
