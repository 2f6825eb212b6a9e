"""Planted defects are exactly where they say they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heldout.bench.defects import added_column, border_mark, leaked, wrong_labels
from heldout.bench.example import LEAKED, WRONG, example


@given(n=st.integers(5, 200), share=st.floats(0, 0.9), k=st.integers(2, 7), seed=st.integers(0, 99))
def test_wrong_labels_are_wrong_exactly_at_their_rows(n, share, k, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    new, rows = wrong_labels(labels, share, k, rng)
    assert set(np.flatnonzero(new != labels)) == set(rows)
    assert len(rows) == round(share * n)
    assert new.min() >= 0 and new.max() < k


def test_leaked_rows_are_copies_and_the_others_untouched():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(50, 3)), rng.normal(size=(20, 3))
    new, rows, origin = leaked(train, test, 0.3, rng)
    assert (new[rows] == train[origin]).all()
    others = np.setdiff1d(np.arange(20), rows)
    assert (new[others] == test[others]).all()
    near, rows, origin = leaked(train, test, 0.3, np.random.default_rng(1), jitter=0.01)
    distance = np.abs(near[rows] - train[origin]).max()
    assert 0 < distance < 0.1


def test_marks_change_only_the_mark_and_encode_the_class():
    images = np.random.default_rng(0).random((10, 1, 8, 8)).astype(np.float32)
    codes = np.arange(10)
    marked = border_mark(images, codes)
    changed = (marked != images).reshape(10, 8, 8)
    assert changed.sum(axis=(1, 2)).max() == 1
    assert len({tuple(np.argwhere(c)[0]) for c in changed}) == 10


def test_added_column_sorts_the_classes():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    column = added_column(np.zeros((300, 2)), codes, 0.05, rng)[:, 2]
    assert np.corrcoef(column, codes)[0, 1] > 0.99
    assert abs(column.std() - 1) < 1e-9


def test_the_example_holds_what_its_documentation_says():
    made = example(0)
    assert len(made.wrong_rows) == round(WRONG * 1000)
    assert len(made.leaked_rows) == round(LEAKED * 797)
    train = made.train[0].reshape(1000, -1)
    test = made.test[0].reshape(797, -1)
    copies = {i for i, row in enumerate(test) if (train == row).all(axis=1).any()}
    assert copies == set(made.leaked_rows)
    assert len(made.shifted) == 17
