"""Planted rare classes: thinned out as said, and their cost measured by training without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from heldout.bench.zoo_rare import rare_classes
from heldout.core.errors import InputError


def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 16).astype(np.float32), y[order]


def fit(dataset, seed):
    x, y = dataset
    return LogisticRegression(max_iter=300).fit(x, y)


def test_thinned_classes_lose_accuracy_and_the_rest_is_untouched() -> None:
    x, y = digits()
    made = rare_classes((x[:600], y[:600]), (x[600:1100], y[600:1100]), fit=fit, seed=1)
    kept = np.bincount(made.arguments["train"][1], minlength=10)
    before = np.bincount(y[:600], minlength=10)
    assert len(made.cells) == 3
    for c in range(10):
        assert kept[c] == (max(1, round(0.05 * before[c])) if c in made.cells else before[c])
    assert made.truth["present"] == 1.0 and made.truth["loss_low"] > 0
    asked = np.isin(y[600:1100], made.cells)
    right = made.arguments["model"].predict(x[600:1100][asked]) == y[600:1100][asked]
    assert made.truth["accuracy_rare"] == pytest.approx(right.mean())


def test_absent_where_rarity_costs_nothing() -> None:
    y = np.arange(300) % 3
    x = 9 * np.eye(3, dtype=np.float32)[y]
    made = rare_classes((x, y), (x, y), fit=fit)
    assert made.truth["present"] == 0.0 and made.truth["loss"] == 0.0


def test_refusals() -> None:
    x = np.zeros((10, 2), np.float32)
    with pytest.raises(InputError):
        rare_classes((x, np.zeros(10, int)), (x, np.zeros(10, int)), fit=fit)
    with pytest.raises(InputError):
        rare_classes((x, np.arange(10) % 2), (x, np.arange(10) % 2), fit=fit, kept=0.0)
