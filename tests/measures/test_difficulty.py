"""Difficulty against exact arithmetic, brute force and known dimensions."""

from __future__ import annotations

from math import comb, log2, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from heldout.core.errors import InputError
from heldout.measures.difficulty import DETERMINED, EMPTY, bound_bits, control_bits, estimate
from heldout.measures.intrinsic_dimension import intrinsic_dimension, neighbour_log_ratios
from heldout.measures.resolution import ClosestPairs, closest_pairs, resolution, resolution_draws

mpmath = pytest.importorskip("mpmath")


def exact_bits(n, m, radius, delta, classes, eps):
    """The formula as it is written, in 60 digits."""
    with mpmath.workdps(60):
        d, m = classes - 1, mpmath.mpf(m)
        frequency = 2 * mpmath.pi * radius / mpmath.mpf(delta)
        k = (mpmath.sqrt((m - 1) ** 2 + 4 * frequency**2) - (m - 1)) / 2
        e = mpmath.binomial(m + k, m) + mpmath.binomial(m + k - 1, m)
        w = mpmath.log(m / 6) / 2 + mpmath.log(radius) - mpmath.log(n) / m
        ball = mpmath.log(2) + (m + 1) / 2 * mpmath.log(mpmath.pi) + mpmath.log(classes)
        w += (ball - mpmath.loggamma((m + 1) / 2)) / m
        scale = mpmath.sqrt(d * classes) / eps * k * mpmath.sqrt(d) / radius
        return (2 * d * classes * e - n * d) * (mpmath.log(scale, 2) + w / mpmath.log(2))


@pytest.mark.parametrize(
    ("given_", "order"),
    [
        ((60_000, 14, 17.179, 2.3987, 10, 0.001), 16.17),
        ((73_257, 19, 53.869, 1.5767, 10, 0.01), 31.08),
        ((50_000, 27, 54.916, 2.7506, 10, 0.01), 32.54),
        ((1_280_901, 48, 943.592, 65.0, 1000, 0.1), 41.55),
        ((1000, 3.7, 1.0, 0.5, 2, 0.01), None),
        ((100, 1, 1.0, 0.02, 3, 0.3), None),
    ],
)
def test_bits_are_those_of_exact_arithmetic(given_, order):
    found = bound_bits(*given_)
    assert found.log10_bits == pytest.approx(float(mpmath.log10(exact_bits(*given_))), abs=1e-10)
    assert order is None or found.log10_bits == pytest.approx(order, abs=0.01)
    n, m, radius, delta, classes, eps = given_
    places = {"n": 0, "m": 1, "delta": 3, "eps": 5}
    for name, place in places.items():

        def moved(t, place=place):
            changed = list(given_)
            changed[place] = changed[place] * mpmath.exp(t)
            return mpmath.log(exact_bits(*changed))

        wanted = float(mpmath.diff(moved, 0))
        assert found.elasticities[name] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
    more = mpmath.log10(exact_bits(n, m + 1, radius, delta, classes, eps))
    assert found.per_dimension == pytest.approx(float(more) - found.log10_bits, abs=1e-9)


def test_functions_are_counted_as_spherical_harmonics():
    # On S^2 there are (K + 1)^2 of degree at most K; K (K + m - 1) = M^2 fixes the resolution.
    k, m, n = 9, 2, 50
    delta = 2 * pi / np.sqrt(k * (k + m - 1))
    found = bound_bits(n, m, 1.0, delta, 2, 1e-3)
    assert comb(m + k, m) + comb(m + k - 1, m) == (k + 1) ** 2
    free = 4 * (k + 1) ** 2 - n
    w = (1 / 3) ** 0.5 * (2 * pi**1.5 * 2 / (pi**0.5 / 2)) ** 0.5 / n**0.5
    assert found.bits == pytest.approx(free * log2(2**0.5 * k * w / 1e-3), rel=1e-9)


@given(
    st.integers(1, 10**6), st.floats(0.5, 60), st.floats(0.01, 1), st.integers(2, 50),
    st.floats(1e-6, 0.99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_never_negative_and_no_harder_for_a_looser_error(n, m, delta, classes, eps):
    found = bound_bits(n, m, 1.0, delta, classes, eps)
    assert found.bits >= 0 and bool(found.note) == (found.bits == 0)
    looser = bound_bits(n, m, 1.0, delta, classes, (1 + eps) / 2)
    assert looser.log10_bits <= found.log10_bits
    scaled = bound_bits(n, m, 7.0, 7 * delta, classes, eps)  # units of the inputs cancel
    if found.bits:
        assert scaled.log10_bits == pytest.approx(found.log10_bits, abs=1e-8)


def test_where_there_is_no_bound():
    assert bound_bits(10**6, 2, 1.0, 0.5, 2, 0.1).note == DETERMINED
    found = control_bits(25, 1, 1, delta=0.99, eps=0.999)
    assert found.note == EMPTY and found.bits == 0
    assert np.isnan(found.per_dimension) and found.log10_bits == -np.inf
    with pytest.raises(InputError, match="eps"):
        bound_bits(10, 2, 1.0, 0.5, 2, 1.0)
    with pytest.raises(InputError, match="2 classes"):
        bound_bits(10, 2, 1.0, 0.5, 1, 0.1)
    with pytest.raises(InputError, match="twice the radius"):
        bound_bits(10, 2, 1.0, 3.0, 2, 0.1)
    assert bound_bits(1000, 5000, 1.0, 0.001, 2, 0.1).bits == np.inf  # beyond float64


def test_control_tasks_have_the_orders_of_the_authors_code():
    orders = {(6, 2): 25, (15, 4): 58, (17, 6): 66}
    for (m, actions), order in orders.items():
        assert int(control_bits(1_000_000, m, actions).log10_bits) == order
    cartpole = [control_bits(10_000, 2 * t, 1).log10_bits for t in (1, 5)]
    assert [int(c) for c in cartpole] == [9, 40]


def sphere(d, n, seed=0, ambient=50):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d + 1))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ np.linalg.qr(rng.normal(size=(ambient, d + 1)))[0].T


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_dimension_of_spheres(d):
    found = intrinsic_dimension(sphere(d, 1200))
    assert found.value == pytest.approx(d, rel=0.1) and found.low < found.value < found.high


@pytest.mark.parametrize("ambient", [20, 80])  # by distances, and by products of matrices
def test_log_ratios_are_those_of_all_distances(ambient):
    x = 100 + sphere(3, 200, ambient=ambient)
    far = np.sort(cdist(x, x), axis=1)[:, 1:6]
    wanted = np.mean(np.log(far[:, 4:] / far[:, :4]), axis=1)
    twice = np.vstack([x, x[:5]])  # copies count once
    assert np.sort(neighbour_log_ratios(twice)) == pytest.approx(np.sort(wanted), rel=1e-6)


def test_dimension_refuses():
    with pytest.raises(InputError, match="25"):
        intrinsic_dimension(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(InputError, match="NaN"):
        intrinsic_dimension(np.full((30, 2), np.nan))
    with pytest.raises(InputError, match="equally far"):
        intrinsic_dimension(np.eye(40))


def test_closest_pairs_are_those_of_all_distances():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(120, 6)) + 1000, rng.integers(3, size=120)
    found = closest_pairs(x, y)
    far = np.where((y[:, None] == y) | np.tri(120, dtype=bool), np.inf, cdist(x, x))
    assert found.distances == pytest.approx(np.sort(far, axis=None)[: len(found.distances)])
    assert (y[found.rows[:, 0]] != y[found.rows[:, 1]]).all() and found.tail == 20


def test_resolution_of_a_known_tail():
    # Inverse distances of a Pareto tail, P(1/D > t) = t^-a: the smallest of N pairs is N^(-1/a).
    a, pairs, ratios = 4.0, 40_000, []
    for seed in range(20):
        u = np.sort(np.random.default_rng(seed).random(pairs))[:401] ** (1 / a)
        given_ = ClosestPairs(np.zeros((401, 2), int), u, 400, 100, 1000)
        ratios.append(np.log(resolution(given_) * (100 * pairs) ** (1 / a)))
    assert np.mean(ratios) == pytest.approx(0, abs=0.25)  # carried over to 100 times the pairs
    assert resolution(given_) < given_.smallest


def test_resolution_refuses_and_resamples():
    x = np.vstack([np.random.default_rng(0).normal(size=(60, 2))] * 2)
    with pytest.raises(InputError, match="equal and have different labels"):
        closest_pairs(x, np.repeat([0, 1], 60))
    with pytest.raises(InputError, match="1 classes"):
        closest_pairs(x, np.zeros(120))
    with pytest.raises(InputError, match="at least 80"):
        closest_pairs(x[:10], np.arange(10) > 5)
    pairs = closest_pairs(x[:60], np.arange(60) % 2)
    draws = resolution_draws(pairs, 100)
    # The closest pair is in a resample with probability (1 - 1/e)^2 = 0.40.
    seen = np.mean(draws <= pairs.smallest * (1 + 1e-12))
    assert 0.25 < seen < 0.6


def test_estimate_joins_its_parts():
    x = sphere(3, 600, ambient=5)
    y = (x[:, 0] > 0).astype(int)
    x[:, 0] += np.sign(x[:, 0]) * 0.2
    found = estimate(x, y, 0.01)
    again = bound_bits(600, found.m.value, found.radius, found.delta.value, 2, 0.01)
    assert found.log10_bits == again.log10_bits and found.delta.value >= 0.35
    assert found.log10_range.low <= found.log10_bits <= found.log10_range.high + 1
    assert estimate(x, y, 0.01).log10_range == found.log10_range
    more = estimate(x, y, 0.01, total=60_000)  # the same sample of a larger set
    assert more.n == 60_000 and more.delta.value <= found.delta.value
    with pytest.raises(InputError, match="eps"):
        estimate(x, y, 0)
