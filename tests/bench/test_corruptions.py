"""Corruptions against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from heldout.bench.corruptions import (
    EXAMPLE_KINDS,
    LEVELS,
    RESAMPLE_KINDS,
    corrupt,
    corruption_kinds,
    example_shifts,
    resample,
)
from heldout.bench.image_corruptions import _affine, _sample
from heldout.core.errors import InputError


def smooth_images(n: int = 20, size: int = 12) -> np.ndarray:
    raw = np.random.default_rng(0).random((n, 1, size, size))
    out = ndimage.gaussian_filter(raw, (0, 0, 1.5, 1.5))
    return (out - out.min()) / (out.max() - out.min())


def inputs(ndim: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((60, 7)) if ndim == 2 else smooth_images()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([2, 4]), st.data(), st.floats(0.02, 1.0))
def test_every_kind_keeps_shape_input_and_repeats_with_its_seed(ndim, data, severity):
    kind = data.draw(st.sampled_from(corruption_kinds(ndim)))
    x = inputs(ndim)
    before = x.copy()
    first = corrupt(x, kind, severity, np.random.default_rng(3))
    second = corrupt(x, kind, severity, np.random.default_rng(3))
    assert first.shape == x.shape and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("ndim", [2, 4])
def test_more_severity_moves_the_data_further(ndim):
    x = inputs(ndim)
    for kind in corruption_kinds(ndim):
        moved = [
            np.mean(
                [
                    np.square(corrupt(x, kind, s, np.random.default_rng(r)) - x).mean()
                    for r in range(8)
                ]
            )
            for s in (0.1, 1.0)
        ]
        assert moved[1] > 1.5 * moved[0], kind


def test_noise_has_the_stated_standard_deviation():
    x = np.zeros((20000, 3))
    out = corrupt(x, "noise", 0.4, np.random.default_rng(0))
    np.testing.assert_allclose(out.std(axis=0), 0.6, rtol=0.02)


def test_column_shuffle_keeps_every_marginal():
    x = inputs(2)
    out = corrupt(x, "column_shuffle", 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(out, axis=0), np.sort(x, axis=0))
    assert not np.array_equal(out, x)


def test_affine_equals_scipy_per_image():
    x = smooth_images(3)
    angle = 0.4
    m = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([0.7, -1.2])
    ours = _affine(x, np.broadcast_to(m, (3, 2, 2)), np.broadcast_to(shift, (3, 2)))
    centre = np.array([5.5, 5.5])
    for image, expected in zip(ours[:, 0], x[:, 0], strict=True):
        reference = ndimage.affine_transform(
            np.pad(expected, 3),
            m,
            offset=centre + 3 + shift - m @ (centre + 3),
            order=1,
        )[3:-3, 3:-3]
        np.testing.assert_allclose(image, reference, atol=1e-9)


def test_sampling_at_the_grid_returns_the_image():
    x = smooth_images(2)
    rows, cols = np.meshgrid(np.arange(12.0), np.arange(12.0), indexing="ij")
    np.testing.assert_allclose(_sample(x, np.stack([rows] * 2), np.stack([cols] * 2)), x, atol=1e-5)


def test_pixelate_is_the_block_mean():
    x = smooth_images(2)
    out = corrupt(x, "pixelate", 0.5, np.random.default_rng(0), value_range=(0, 1))
    block = int(np.ceil(1 + 0.4 * 0.5 * 12))  # rows 0..3 share the first block
    np.testing.assert_allclose(out[0, 0, 0, 0], x[0, 0, :block, :block].mean())


@pytest.mark.parametrize("kind", ["blur", "rotation", "contrast", "occlusion"])
def test_value_range_only_rescales(kind):
    x = smooth_images()
    a = corrupt(x, kind, 0.6, np.random.default_rng(2), value_range=(0, 1))
    b = corrupt(16 * x - 3, kind, 0.6, np.random.default_rng(2), value_range=(-3, 13))
    np.testing.assert_allclose(16 * a - 3, b, atol=1e-8)


def test_example_shifts_are_fifteen_and_independent_of_each_other():
    x = smooth_images()
    shifts = example_shifts(x, seed=4)
    assert len(shifts) == len(EXAMPLE_KINDS) * len(LEVELS) == 15
    alone = corrupt(x, "blur", LEVELS[2], np.random.default_rng([4, 1, 2]))
    np.testing.assert_array_equal(shifts["blur-2"], alone)
    other = example_shifts(x, seed=5)
    assert not np.array_equal(shifts["noise-1"], other["noise-1"])


def test_resampling_draws_distinct_rows_and_shifts_what_it_names():
    rng = np.random.default_rng(0)
    x, y, hard = rng.standard_normal((400, 5)), rng.integers(0, 3, 400), rng.random(400)
    for kind in RESAMPLE_KINDS:
        rows = resample(x, y, kind, 0.5, np.random.default_rng(1), 150, hard)
        assert len(set(rows.tolist())) == 150
    rows = resample(x, y, "hard", 1.0, np.random.default_rng(1), 100, hard)
    assert abs(hard[rows].mean() - hard.mean()) > 0.25
    rows = resample(x, y, "hard", 1e-9, np.random.default_rng(1), 100, hard)
    assert abs(hard[rows].mean() - hard.mean()) < 0.1


def test_bad_requests_say_what_was_expected():
    x = inputs(2)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="one of"):
        corrupt(x, "rotation", 0.5, rng)
    for severity in (0.0, 1.5, -1.0):
        with pytest.raises(InputError, match="severity"):
            corrupt(x, "noise", severity, rng)
    with pytest.raises(InputError, match="dimensions"):
        corrupt(np.zeros(5), "noise", 0.5, rng)
    with pytest.raises(InputError, match="hard"):
        resample(x, np.zeros(60), "hard", 0.5, rng)
