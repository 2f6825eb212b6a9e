"""Learning curves: recovery of known laws, coverage of forecasts, nested subsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.measures.learning_curve import fit_learning_curve, nested_order

SIZES = np.array([50, 100, 200, 400])


def simulated(a, b, c, seed, seeds=4, tests=800, sizes=SIZES):
    """Errors of a law, with difficulty shared between models as on a real test set."""
    rng = np.random.default_rng(seed)
    rate = np.clip(a * sizes**-b + c, 0, 1)
    hard = rng.random(tests)  # an example's own threshold, the same for every model
    return (hard + 0.1 * rng.normal(size=(seeds, len(sizes), tests))) < rate[:, None]


@pytest.mark.parametrize(
    ("a", "b", "c"), [(2.0, 0.5, 0.0), (3.0, 0.7, 0.05), (0.6, 0.2, 0.0), (0.0, 1.0, 0.1)]
)
def test_the_forecast_covers_the_law_it_came_from(a, b, c):
    rng, covered, misses = np.random.default_rng(0), [], []
    for seed in range(25):
        wrong = simulated(a, b, c, seed)
        rate = wrong.mean(axis=(0, 2))
        # The law of the drawn test set: fitted noise-free on very many seeds.
        truth = simulated(a, b, c, seed, seeds=150, sizes=np.array([400, 800])).mean(axis=(0, 2))
        curve = fit_learning_curve(SIZES, wrong, rng)
        covered.append(truth[1] in curve.at(800))
        misses.append(abs(curve.at(800).value - truth[1]))
        assert curve.at(400).value == pytest.approx(rate[-1], abs=0.05)
    assert np.mean(covered) >= 0.85 and np.mean(misses) < 0.03


def test_a_flat_curve_promises_nothing_and_a_steep_one_does():
    rng = np.random.default_rng(1)
    flat = fit_learning_curve(SIZES, simulated(0.0, 1.0, 0.1, 3), rng).gain(400, 800)
    steep = fit_learning_curve(SIZES, simulated(3.0, 0.5, 0.0, 3), rng).gain(400, 800)
    assert flat.value < 0.015 and 3 * 400**-0.5 - 3 * 800**-0.5 in steep and steep.low > 0.01


def test_more_test_examples_and_seeds_narrow_the_interval():
    rng = np.random.default_rng(2)
    small = fit_learning_curve(SIZES, simulated(2, 0.5, 0, 5, 2, 200), rng).gain(400, 800)
    large = fit_learning_curve(SIZES, simulated(2, 0.5, 0, 5, 8, 6000), rng).gain(400, 800)
    assert large.high - large.low < 0.6 * (small.high - small.low)


def test_one_seed_is_enough_to_fit_and_a_perfect_model_does_not_break_it():
    rng = np.random.default_rng(3)
    curve = fit_learning_curve(SIZES, np.zeros((1, 4, 100)), rng)
    assert 0 <= curve.at(800).value < 0.02 and np.isfinite(curve.at(800).high)


def test_the_unit_of_size_does_not_matter():
    wrong = simulated(2, 0.5, 0.02, 7)
    a = fit_learning_curve(SIZES, wrong, np.random.default_rng(4)).gain(400, 800)
    b = fit_learning_curve(10 * SIZES, wrong, np.random.default_rng(4)).gain(4000, 8000)
    assert a.value == pytest.approx(b.value, abs=2e-3)
    assert a.high == pytest.approx(b.high, abs=4e-3)


def test_two_sizes_are_refused():
    with pytest.raises(InputError, match="three or more"):
        fit_learning_curve(np.array([5, 10]), np.zeros((2, 2, 9)), np.random.default_rng(0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=80), st.integers(0, 99))
def test_every_prefix_has_the_proportions_of_the_whole(labels, seed):
    y = np.array(labels)
    order = nested_order(y, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(y)))
    classes = len(np.unique(y))
    for n in range(1, len(y) + 1):
        for k in np.unique(y):
            expected = n * np.mean(y == k)
            assert abs(np.sum(y[order[:n]] == k) - expected) <= 0.5 * classes + 1
