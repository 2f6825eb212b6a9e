"""Swap test and gap filling on models and data whose answer is known, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.data.diversity.filling import fill_gap
from heldout.data.diversity.gaps import wasserstein_gap
from heldout.data.diversity.swap import column_swap, relevant_accuracy, swap_test

RNG = np.random.default_rng(0)
SITE = np.repeat(["far", "near"], 100)
TASK = 2 * (SITE == "near") + RNG.integers(0, 2, 200)
X = np.stack([TASK + 0.0, 10.0 * (SITE == "near") + RNG.random(200)], axis=1)
SWAP = column_swap(X, SITE, [1])


def honest(x):
    """Looks at the task alone."""
    return -((np.asarray(x)[:, :1] - np.arange(4)) ** 2)


def shortcut(x):
    """Tells the two tasks of an island apart, and the island by the site's column."""
    x = np.asarray(x)
    return -((x[:, :1] % 2 + 2 * (x[:, 1:] > 5) - np.arange(4)) ** 2)


def lost(x):
    """Right at seen views; at unseen ones always the same answer."""
    x = np.asarray(x)
    seen = ((x[:, 1] >= 0) & (x[:, 1] <= 11))[:, None]
    return np.where(seen, honest(x), [[1.0, 0.0, 0.0, 0.0]])


def test_a_model_that_looks_at_the_task_is_told_from_one_that_follows_the_site():
    good, bad = (swap_test(m, (X, TASK, SITE), SWAP) for m in (honest, shortcut))
    assert (good.id.value, good.ood.value, good.shortcut_rate.value) == (1, 1, 0)
    assert (bad.id.value, bad.ood.value, bad.shortcut_rate.value) == (1, 0, 1)
    assert bad.shortcut_rate_before.value == 0 and bad.ood.n == 200


def test_unseen_views_tell_extrapolation_from_shortcut():
    def unseen(x, rng):
        out = np.array(x)
        out[:, 1] = np.where(SITE == "near", 20.0, -10.0)
        return out

    followed = swap_test(shortcut, (X, TASK, SITE), SWAP, unseen=unseen)
    confused = swap_test(lost, (X, TASK, SITE), SWAP, unseen=unseen)
    assert followed.unseen.value == 1 and followed.ood.value == 0
    assert confused.unseen.value < 0.4 and confused.ood.value == 1


def test_the_oracle_sees_when_relevant_features_say_little():
    y = np.arange(200) % 2
    weak = relevant_accuracy(RNG.normal(size=(200, 2)) + 0.1 * y[:, None], y)
    strong = swap_test(
        honest, (X, TASK, SITE), SWAP, relevant=X[:, 0] + 0.01 * RNG.normal(size=200)
    ).relevant_only
    assert weak.value < 0.7 and strong.value > 0.95


def test_three_parts_need_the_part_shown_and_swaps_go_to_others():
    part = np.arange(200) % 3
    moved, shown = column_swap(X, part, [1])(X, np.random.default_rng(1))
    assert (shown != part).all() and (moved[:, 0] == X[:, 0]).all()
    assert all(moved[i, 1] in X[part == shown[i], 1] for i in range(20))
    with pytest.raises(InputError, match="part shown"):
        swap_test(honest, (X, TASK, part), lambda x, rng: x + 1)


@pytest.mark.parametrize(
    ("data", "swap", "said"),
    [
        ((X, TASK, SITE), lambda x, rng: x, "changes nothing"),
        ((X, TASK, SITE), lambda x, rng: x[:5], "swapped rows"),
        ((X, TASK, SITE), lambda x, rng: (x + 1, np.full(200, "mars")), "mars"),
        ((X, TASK, np.full(200, "near")), SWAP, "one part"),
        ((X, TASK + 0.5, SITE), SWAP, "dtype float64"),
    ],
)
def test_swaps_that_cannot_be_judged(data, swap, said):
    with pytest.raises(InputError) as error:
        swap_test(honest, data, swap)
    assert said in str(error.value)


def test_bridges_fill_the_gap_and_change_nothing_else():
    x, y, origin = fill_gap(X, TASK, SITE, [1], copies=3, relevant=lambda x: x[:, 0])
    assert len(x) == 800 and (y == TASK[origin]).all() and (x[:, 0] == X[origin, 0]).all()
    new = x[200:, 1]
    assert new.min() >= X[:, 1].min() and new.max() <= X[:, 1].max()
    assert ((new > 2) & (new < 9)).mean() > 0.5  # where no row was before
    near, far = (np.repeat(SITE, 1)[origin[200:]] == s for s in ("near", "far"))
    before = wasserstein_gap(X[SITE == "near", 1], X[SITE == "far", 1])
    assert wasserstein_gap(new[near], new[far]) < 0.2 * before
    short = fill_gap(X, TASK, SITE, [1], reach=0.2)[0][200:, 1]
    assert not ((short > 3.2) & (short < 7.8)).any()
    assert (fill_gap(X, TASK, SITE, [1])[0] == fill_gap(X, TASK, SITE, [1])[0]).all()


def test_rendering_from_measured_values():
    images = np.zeros((200, 1, 4, 4)) + X[:, 1, None, None, None]

    def render(x, factor):
        return x * 0 + factor[:, :, None, None]

    x, _, _ = fill_gap(images, TASK, SITE, X[:, 1], render=render)
    assert x.shape == (400, 1, 4, 4) and np.ptp(x[200:].reshape(200, -1), axis=1).max() == 0


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((X, TASK, np.full(200, "near"), [1]), {}, "two parts"),
        ((X, TASK, SITE, [7]), {}, "columns"),
        ((X, TASK[:9], SITE, [1]), {}, "9 labels"),
        ((X, TASK, SITE, [1]), {"reach": 1.5}, "reach"),
        ((X, TASK, SITE, [0]), {"relevant": lambda x: x[:, 0]}, "relevant"),
        ((X, TASK, SITE, X[:, 1]), {"render": lambda x, f: x[:3]}, "shape"),
        ((X, TASK, SITE, X[:9, 1]), {"render": lambda x, f: x}, "one per row"),
    ],
)
def test_augmentations_that_are_refused(arguments, options, said):
    with pytest.raises(InputError) as error:
        fill_gap(*arguments, **options)
    assert said in str(error.value)
