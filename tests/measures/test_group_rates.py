"""Group rates: the arithmetic against scipy, false alarms, and coverage after shrinkage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heldout.measures import group_rates as groups


def test_false_alarms_on_equal_groups_stay_below_the_level():
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        y, correct = rng.integers(0, 10, 300), rng.random(300) < 0.85
        found = [groups.Cell("class", str(k), y == k) for k in range(10)]
        site = rng.integers(0, 12, 300)
        found += [groups.Cell("site", str(k), site == k) for k in range(12)]
        alarms += any(
            j.rejected for j in groups.judge([c for c in found if c.rows.sum() >= 10], correct)
        )
    assert alarms / 100 <= 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 60), st.integers(12, 60), st.integers(0, 10_000))
def test_the_p_value_is_fishers_exact_one_sided(n, m, seed):
    rng = np.random.default_rng(seed)
    correct = np.concatenate([rng.random(n) < 0.5, rng.random(m) < 0.8])
    rows = np.arange(n + m) < n
    a, b = int(correct[rows].sum()), int(correct[~rows].sum())
    p = stats.fisher_exact([[a, n - a], [b, m - b]], alternative="less").pvalue
    judged = groups.judge([groups.Cell("f", "x", rows)], correct)[0]
    assert judged.rejected == (p <= 1 - 0.95)
    assert judged.gap.value == pytest.approx(a / n - b / m)


def test_shrinkage_pulls_small_groups_more_and_is_closer_to_the_truth():
    rng = np.random.default_rng(3)
    raw, pulled = [], []
    for _ in range(100):
        truth = rng.beta(16, 4, 12)
        n = rng.integers(5, 60, 12)
        k = rng.binomial(n, truth)
        found = np.array([i.value for i in groups.shrink(k, n)])
        raw.append(np.mean((k / n - truth) ** 2))
        pulled.append(np.mean((found - truth) ** 2))
    assert np.mean(pulled) < 0.75 * np.mean(raw)


def test_shrunk_intervals_cover_the_truth():
    rng, covered = np.random.default_rng(4), []
    for _ in range(100):
        truth, n = rng.beta(8, 2, 10), rng.integers(10, 80, 10)
        found = groups.shrink(rng.binomial(n, truth), n)
        covered += [t in i for t, i in zip(truth, found, strict=True)]
    assert np.mean(covered) > 0.92
