"""Copies against brute force; silence on data without copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris, make_moons

from heldout.core.errors import InputError
from heldout.data.design import image_versions
from heldout.data.duplicates import (
    column_hashes,
    exact_matches,
    expected_pairs,
    repeat_rate,
    row_hashes,
)
from heldout.data.near_duplicates import near_duplicates, spacing, tail_probability


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_exact_matches_equal_brute_force(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, (15, width)), rng.integers(0, 3, (9, width))
    found = exact_matches(row_hashes(a), row_hashes(b))
    same = (b[:, None] == a[None]).all(-1)
    assert found.rows.tolist() == np.flatnonzero(same.any(axis=1)).tolist()
    assert found.partners.tolist() == same[found.rows].argmax(axis=1).tolist()
    assert found.copies.tolist() == same[found.rows].sum(axis=1).tolist()


def test_hashes_know_value_not_memory() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(row_hashes(x), row_hashes(np.asfortranarray(x)))
    np.testing.assert_array_equal(row_hashes(np.array([[0.0]])), row_hashes(np.array([[-0.0]])))
    assert row_hashes(x)[0] != row_hashes(x[:, ::-1])[0]
    text = np.array([["a", "b"], ["b", "a"], ["a", "b"]])
    assert repeat_rate(row_hashes(text)) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="complex"):
        column_hashes(x + 1j)


def test_coarse_tables_repeat_by_chance_and_copies_do_not() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 4, (400, 4))
    chance, found = expected_pairs(coarse)
    assert found > 100 and 0.7 < chance / found < 1.5
    fine = rng.normal(size=(400, 4))
    chance, found = expected_pairs(np.vstack([fine, fine[:40]]))
    assert found == 40 and chance == 0
    iris = load_iris().data
    chance, found = expected_pairs(iris)
    assert found == 1 and chance > 0.2


def test_spacing_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 3)).astype(np.float32)
    versions = [rng.normal(size=(20, 3)).astype(np.float32) for _ in range(2)]
    found = spacing(a, versions)
    distance = np.min([np.linalg.norm(v[:, None] - a[None], axis=-1) for v in versions], axis=0)
    near = np.sort(distance, axis=1)
    np.testing.assert_allclose(found.distance, near[:, 0], rtol=1e-4)
    np.testing.assert_allclose(found.ratio, near[:, 0] / near[:, 3], rtol=1e-4)
    np.testing.assert_array_equal(found.partner, distance.argmin(axis=1))
    own = spacing(a)
    other = np.linalg.norm(a[:, None] - a[None], axis=-1) + np.diag(np.full(50, np.inf))
    np.testing.assert_array_equal(own.partner, other.argmin(axis=1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_ratios_have_no_unit(scale: float) -> None:
    a = np.random.default_rng(0).normal(size=(60, 3))
    plain, scaled = spacing(a.astype("f4")), spacing((a * scale + 5 * scale).astype("f4"))
    np.testing.assert_allclose(plain.ratio, scaled.ratio, rtol=2e-2)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_ratio_to_the_dimension_is_beta(dimension: int) -> None:
    # The law behind the null: uniform density, fourth neighbour, (d1/d4)^m ~ Beta(1, 3).
    cube = np.random.default_rng(0).uniform(size=(5000, dimension))
    inner = ((cube > 0.1) & (cube < 0.9)).all(axis=1)  # away from the edges
    powered = spacing(cube.astype("f4")).ratio[inner] ** dimension
    assert powered.mean() == pytest.approx(0.25, abs=0.02)
    assert (powered < 0.1).mean() == pytest.approx(1 - 0.9**3, abs=0.03)


def worlds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "line": rng.normal(size=(600, 1)),
        "plane": make_moons(600, noise=0.1, random_state=0)[0],
        "grid": rng.integers(0, 12, (600, 3)).astype(float),
        "wide": rng.normal(size=(600, 30)) @ rng.normal(size=(30, 30)),
        "clusters": rng.normal(size=(600, 8)) * np.repeat([[0.01], [1.0], [50.0]], 200, axis=0),
        "iris": load_iris().data,
    }


@pytest.mark.parametrize("name", list(worlds()))
def test_data_without_copies_are_left_alone(name: str) -> None:
    x = np.unique(worlds()[name], axis=0).astype("f4")
    alarms = 0
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(x))
        train, test = x[order[: len(x) * 2 // 3]], x[order[len(x) * 2 // 3 :]]
        alarms += len(near_duplicates([(spacing(train, [test]), spacing(train))]).rows)
    assert alarms <= 2


def test_digits_with_noise_brightness_and_moves_are_found() -> None:
    images = load_digits().images[:900, None].astype("f4")
    big = images.repeat(2, axis=2).repeat(2, axis=3)  # 16 x 16: a pixel is half a stroke
    train, test = big[:600], big[600:].copy()
    rng = np.random.default_rng(0)
    noisy, bright = test[:10].shape, np.arange(10)
    test[:10] = train[bright] + 0.5 * rng.normal(size=noisy)
    test[10:20] = 0.6 * train[10:20] + 3
    test[20:30] = np.roll(train[20:30], 1, axis=3)
    reference = image_versions(train)[0]
    null = spacing(reference, image_versions(train), np.arange(600))
    views = [(spacing(reference, image_versions(test)), null)]
    found = near_duplicates(views)
    assert set(range(30)) <= set(found.rows.tolist())
    assert len(found.rows) <= 32
    hits = dict(zip(found.rows.tolist(), found.partners.tolist(), strict=True))
    assert [hits[i] for i in range(30)] == list(range(30))


def test_natural_near_copies_in_train_are_the_null() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    twins = np.vstack([x, x + 1e-3 * rng.normal(size=x.shape)]).astype("f4")
    order = rng.permutation(600)
    train, test = twins[order[:400]], twins[order[400:]]
    assert len(near_duplicates([(spacing(train, [test]), spacing(train))]).rows) == 0


def test_tail_probability_is_monotone_and_needs_a_null() -> None:
    null = np.random.default_rng(0).beta(1, 3, 500) ** 0.2
    p = tail_probability(np.linspace(0.01, 1, 50), null)
    assert (np.diff(p) >= -1e-12).all() and p[0] < 1e-5 and p[-1] == 1
    assert (tail_probability(np.array([0.0]), null[:5]) == 1).all()
