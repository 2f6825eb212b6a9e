"""Published forecasts against closed forms and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.shift.agreement import (
    agreement,
    density_ratio,
    label_shift_accuracy,
    reweighted_accuracy,
)
from heldout.shift.confidence import (
    atc_score,
    average_confidence,
    average_thresholded_confidence,
    confidence_optimal_transport,
    difference_of_confidences,
    matrix_norm_score,
    nuclear_norm_score,
)


def probabilities(n: int, k: int, seed: int, sharp: float = 2.0) -> np.ndarray:
    z = sharp * np.random.default_rng(seed).standard_normal((n, k))
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 80), st.integers(2, 6), st.integers(0, 1000))
def test_every_estimator_returns_the_test_accuracy_on_the_test_set(n, k, seed):
    p = probabilities(n, k, seed)
    y = np.random.default_rng(seed + 1).integers(0, k, n)
    accuracy = (p.argmax(1) == y).mean()
    assert difference_of_confidences(p, y, p) == pytest.approx(accuracy)
    for score in ("max_confidence", "negative_entropy"):
        assert average_thresholded_confidence(p, y, p, score) == pytest.approx(accuracy)


def test_atc_with_ties_still_returns_the_test_accuracy():
    p = np.repeat([[1.0, 0.0], [0.75, 0.25]], [6, 4], axis=0)  # a small forest's votes
    y = np.array([0] * 5 + [1] + [0, 1, 1, 0])
    assert average_thresholded_confidence(p, y, p) == pytest.approx(0.7)


def test_atc_equals_a_search_over_thresholds():
    p, q = probabilities(60, 3, 0), probabilities(40, 3, 1, sharp=1.0)
    y = np.where(np.arange(60) % 3 == 0, (p.argmax(1) + 1) % 3, p.argmax(1))
    s, t = atc_score(p), atc_score(q)
    best = min(s, key=lambda cut: abs((s >= cut).mean() - (p.argmax(1) == y).mean()))
    assert average_thresholded_confidence(p, y, q) == pytest.approx((t >= best).mean())


def test_calibrated_confidence_equals_accuracy_in_the_mean():
    p = probabilities(40000, 4, 3)
    y = (p.cumsum(1) < np.random.default_rng(0).random((len(p), 1))).sum(1)
    assert average_confidence(p) == pytest.approx((p.argmax(1) == y).mean(), abs=0.01)
    # Negative: an over-sure model is not caught by average confidence.
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    assert average_confidence(sharp) > (sharp.argmax(1) == y).mean() + 0.05


def test_transport_equals_brute_force_over_assignments():
    q = probabilities(6, 3, 5)
    y = [0, 0, 1, 1, 2, 2]
    best = max(
        np.mean([q[i, y[j]] for i, j in enumerate(s)]) for s in itertools.permutations(range(6))
    )
    assert confidence_optimal_transport([1, 1, 1], q) == pytest.approx(best)
    assert confidence_optimal_transport([1, 1, 1], q) <= average_confidence(q) + 1e-12


def test_matrix_scores_are_one_for_sure_balanced_and_small_for_flat():
    sure, flat = np.eye(4)[np.arange(40) % 4], np.full((40, 4), 0.25)
    assert nuclear_norm_score(sure) == pytest.approx(1.0)
    assert nuclear_norm_score(flat) == pytest.approx(0.25)
    assert matrix_norm_score(flat) == pytest.approx(0.25)
    assert matrix_norm_score(sure) > matrix_norm_score(flat)


def test_agreement_equals_the_mean_over_pairs_and_ignores_order():
    h = np.random.default_rng(0).integers(0, 3, (4, 50))
    expected = np.mean([(h[a] == h[b]).mean() for a, b in itertools.combinations(range(4), 2)])
    assert agreement(h) == pytest.approx(expected)
    assert agreement(h[::-1, ::-1]) == pytest.approx(expected)


def test_density_ratio_recovers_a_gaussian_tilt():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (3000, 1)), rng.normal(0.8, 1, (3000, 1))
    exact = np.exp(0.8 * a[:, 0] - 0.32)
    w = density_ratio(a, b, seed=1)
    assert np.corrcoef(np.log(w), np.log(exact))[0, 1] > 0.99
    correct = rng.random(3000) < 1 / (1 + np.exp(a[:, 0]))  # worse where b lies
    truth = (1 / (1 + np.exp(b[:, 0]))).mean()
    assert reweighted_accuracy(correct, w) == pytest.approx(truth, abs=0.03)
    assert abs(correct.mean() - truth) > 0.1


def test_label_shift_is_undone_exactly_without_sampling_noise():
    y = np.repeat([0, 1], 100)
    h = np.concatenate([np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [40, 60])])
    rows = np.concatenate([np.arange(0, 100), np.repeat(np.arange(100, 200), 9)])
    got = label_shift_accuracy(np.eye(2)[h], y, np.eye(2)[h[rows]])
    assert got == pytest.approx((h[rows] == y[rows]).mean(), abs=0.005)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 3)), np.ones((4, 1)), np.full((3, 2), 0.9), [[np.nan, 1]]]
)
def test_bad_probabilities_are_refused(bad):
    with pytest.raises(InputError):
        average_confidence(bad)


def test_mismatched_lengths_are_refused():
    p = probabilities(10, 3, 0)
    with pytest.raises(InputError, match="one per row"):
        difference_of_confidences(p, np.zeros(9), p)
    with pytest.raises(InputError):
        agreement(np.zeros((1, 5)))
    with pytest.raises(InputError):
        reweighted_accuracy([1, 0], [0.0, 0.0])
