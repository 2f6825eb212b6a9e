"""Intervals against closed forms and by how often they cover; corrections against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from heldout.core.interval import Interval
from heldout.core.statistics import (
    bootstrap,
    cross_entropy,
    difference,
    holm,
    mean,
    paired_difference,
    proportion,
    softmax,
)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_proportion_is_wilsons_closed_form(n: int, share: float, level: float) -> None:
    k = round(share * n)
    z, p = stats.norm.ppf((1 + level) / 2), k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = proportion(k, n, level)
    assert (found.value, found.n, found.level) == (p, n, level)
    assert found.low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert found.high == pytest.approx(min(1, centre + half), abs=1e-9)


def test_proportion_of_nothing_says_nothing() -> None:
    found = proportion(0, 0)
    assert np.isnan(found.value) and (found.low, found.high, found.n) == (0, 1, 0)


def test_difference_matches_a_published_example() -> None:
    # Newcombe 1998, table II, (a): 56/70 against 48/80, method 10.
    found = difference(proportion(56, 70), proportion(48, 80))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (
        pytest.approx(0.0524, abs=5e-4),
        pytest.approx(0.3339, abs=5e-4),
    )


def test_difference_turns_round() -> None:
    a, b = proportion(7, 20), proportion(33, 50)
    there, back = difference(a, b), difference(b, a)
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))


def test_difference_covers() -> None:
    rng = np.random.default_rng(0)
    pairs = zip(rng.binomial(60, 0.8, 400), rng.binomial(40, 0.6, 400), strict=True)
    inside = [0.2 in difference(proportion(int(a), 60), proportion(int(b), 40)) for a, b in pairs]
    assert 0.92 <= np.mean(inside) <= 0.98


def test_mean_is_students_interval() -> None:
    x = np.random.default_rng(0).normal(size=12)
    found = mean(x, 0.9)
    low, high = stats.t.interval(0.9, 11, x.mean(), stats.sem(x))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (mean(x[:1]).low, mean(x[:1]).high) == (-np.inf, np.inf)
    assert np.isnan(mean(np.array([])).value)


def test_pairing_removes_what_units_share() -> None:
    rng = np.random.default_rng(0)
    unit = rng.normal(scale=10, size=30)
    a, b = unit + 0.5 + rng.normal(scale=0.1, size=30), unit
    found = paired_difference(a, b)
    test = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(test.low), pytest.approx(test.high))
    assert found.high - found.low < 0.2 < mean(a).high - mean(a).low


def test_bootstrap_agrees_with_the_t_interval_of_a_mean() -> None:
    x = np.random.default_rng(1).normal(size=400)
    found = bootstrap(lambda rows: float(x[rows].mean()), 400, np.random.default_rng(0), 2000)
    peer = mean(x)
    assert found.low == pytest.approx(peer.low, abs=0.012)
    assert found.high == pytest.approx(peer.high, abs=0.012)


def test_bootstrap_skips_resamples_without_a_value() -> None:
    rng = np.random.default_rng(0)
    some = bootstrap(lambda rows: 1.0 if 0 in rows else float("nan"), 5, rng, 200)
    none = bootstrap(lambda rows: float("nan"), 5, rng, 10)
    assert (some.low, some.high) == (1, 1) and np.isnan(none.low)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    p = np.array(p_values)
    # A hypothesis falls when every set that holds it falls; a set falls by Bonferroni.
    sets = [set(s) for r in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), r)]
    wanted = [
        all(min(p[i] for i in s) <= 0.05 / len(s) for s in sets if h in s) for h in range(len(p))
    ]
    assert holm(p).tolist() == wanted


@given(st.lists(st.floats(-800, 800), min_size=2, max_size=5), st.floats(-1e3, 1e3))
def test_softmax_and_cross_entropy_against_scipy(row: list[float], shift: float) -> None:
    z = np.array([row])
    np.testing.assert_allclose(softmax(z), special.softmax(z, axis=1), atol=1e-12)
    np.testing.assert_allclose(softmax(z + shift), softmax(z), atol=1e-9)
    labels = np.array([1])
    wanted = -special.log_softmax(z, axis=1)[0, 1]
    assert cross_entropy(z, labels)[0] == pytest.approx(wanted, abs=1e-9)


def test_an_interval_knows_what_lies_in_it() -> None:
    moved = Interval(0.5, 0.4, 0.6, 10, 0.9, "x").shifted(-0.2)
    assert 0.2 in moved and 0.45 not in moved and 0.5 not in moved
    assert (moved.n, moved.level, moved.method) == (10, 0.9, "x")
