"""Calibration measures against closed forms and simulated truth."""

import numpy as np
import pytest

from heldout.core.statistics import softmax
from heldout.measures.calibration import (
    calibrated_reference,
    expected_calibration_error,
    mended,
    reliability,
    root_calibration_error,
    temperature,
)


def test_ece_is_the_closed_form_for_two_confidences():
    confidence = np.repeat([0.6, 0.9], 100)
    correct = np.concatenate([np.arange(100) < 50, np.arange(100) < 80])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.1)


def test_debiased_error_is_unbiased_where_plug_in_is_not():
    rng = np.random.default_rng(0)
    squares, plug_in = [], []
    for _ in range(400):
        confidence = rng.uniform(0.5, 1, 300)
        correct = rng.random(300) < confidence
        mean, accuracy, count = reliability(confidence, correct)
        variance = accuracy * (1 - accuracy) / (count - 1)
        squares.append(np.sum(count * ((accuracy - mean) ** 2 - variance)) / 300)
        plug_in.append(expected_calibration_error(confidence, correct))
    assert abs(np.mean(squares)) < 4 * np.std(squares) / np.sqrt(400)
    assert np.mean(plug_in) > 0.03  # what the null reference is for


def test_debiased_error_finds_a_known_offset():
    rng = np.random.default_rng(1)
    confidence = np.full(20_000, 0.9)
    correct = rng.random(20_000) < 0.7
    assert root_calibration_error(confidence, correct) == pytest.approx(0.2, abs=0.015)


def test_null_reference_brackets_a_calibrated_model_and_not_an_overconfident_one():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.5, 1, 500)
    null = calibrated_reference(confidence, rng)
    good = expected_calibration_error(confidence, rng.random(500) < confidence)
    bad = expected_calibration_error(confidence, rng.random(500) < confidence - 0.2)
    assert good < np.quantile(null, 0.999) < bad


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_recovers_the_scale_of_the_logits(scale):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(20_000, 4)) * 2
    labels = (softmax(logits).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert temperature(scale * logits, labels) == pytest.approx(scale, rel=0.05)


def test_mending_keeps_predictions_and_lowers_the_error():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(4000, 3)) * 2
    labels = (softmax(logits).cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    hot = 4 * logits
    after = mended(hot, labels, rng)
    assert (after.argmax(axis=1) == hot.argmax(axis=1)).all()
    before = softmax(hot)
    correct = before.argmax(axis=1) == labels
    assert root_calibration_error(after.max(axis=1), correct) < 0.03
    assert root_calibration_error(before.max(axis=1), correct) > 0.15
