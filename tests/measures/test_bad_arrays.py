"""Arrays and settings that measures refuse, rather than answer with NaN or a wrong number."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from heldout.core.errors import InputError
from heldout.measures.difficulty import estimate
from heldout.measures.inductive_bias import bits
from heldout.measures.loss_stability import loss_stability, stability_of
from heldout.measures.ranking import conditional_information, granulated_tau, kendall_tau, rank
from heldout.measures.resolution import closest_pairs
from heldout.measures.robust_ranking import environment_errors, hoeffding_weight

RNG = np.random.default_rng(0)
M, G = RNG.normal(size=(2, 8))
AXES = {"width": np.arange(8) // 2}
X, Y = RNG.normal(size=(60, 3)), np.arange(60) % 3
LOSSES = RNG.normal(size=200) ** 2
NAN = np.where(np.arange(8) == 3, np.nan, M)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, g: kendall_tau(m, g),
        lambda m, g: granulated_tau(m, g, AXES),
        lambda m, g: conditional_information(m, g, AXES),
        lambda m, g: rank(m, g, AXES, 100, draws=1),
        lambda m, g: environment_errors(m, g, AXES, 100),
    ],
)
@pytest.mark.parametrize(("m", "g"), [(NAN, G), (M, NAN), (M[:5], G), (M[:, None], G), (3.0, 1.0)])
def test_runs_without_a_measure_and_a_gap(call, m, g):
    with pytest.raises(InputError, match="one finite number of each for every run"):
        call(m, g)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: conditional_information(M, G, AXES, given=-1), "given=-1"),
        (lambda: rank(M, G, AXES, 0), "test size 0"),
        (lambda: rank(M, G, AXES, 100, level=95), "level=95"),
        (lambda: hoeffding_weight(np.array([0.1]), -3), "test size -3"),
        (lambda: estimate(X, Y, draws=0), "0 draws"),
        (lambda: estimate(X, Y, total=5), "total=5"),
        (lambda: closest_pairs(X, Y, most=1), "most=1"),
        (lambda: bits(LOSSES, 0.1, family="normal"), "'normal'.*'ncx2' or 'empirical'"),
        (lambda: bits(LOSSES, 0.1, points=0), "points=0"),
        (lambda: stability_of(np.zeros((3, 4)), np.zeros((1, 4)), np.zeros((3, 2))), "1, 4"),
        (lambda: stability_of(*np.full((3, 2, 2), np.nan)), "finite or not"),
        (lambda: stability_of(*np.zeros((3, 2, 2)), level=2), "level=2"),
    ],
)
def test_settings_out_of_range(call, said):
    with pytest.raises(InputError, match=re.compile(said, re.S)):
        call()


@pytest.mark.parametrize(
    ("predict", "said"),
    [
        (lambda x: np.zeros((len(x), 1)), r"\(60, 1\).*predictions\[:, 0\]"),  # would broadcast
        (lambda x: np.zeros((len(x), 3)), r"\(60, 3\).*argmax"),
        (lambda x: 0, r"int64 \(\)"),
        (lambda x: np.full(len(x), np.nan), "float64"),
        (lambda x: np.full(len(x), "a"), "<U1.*same kind"),
        (lambda x: np.zeros(3), r"\(3,\)"),
    ],
)
def test_predictions_that_are_no_label_for_each_input(predict, said):
    with pytest.raises(InputError, match=re.compile(said, re.S)):
        loss_stability(lambda x, y, seed: predict, X, Y, X, Y, k=6, repeats=1)


def test_predictions_of_any_array_and_what_is_no_fit():
    def fit(kind):
        return lambda x, y, seed: lambda z: kind([0] * len(z))

    found = [
        loss_stability(fit(kind), X, Y.tolist(), X, Y, k=6, repeats=2)
        for kind in (list, np.array, torch.tensor)
    ]
    assert {f.loss for f in found} == {float((Y != 0).mean())}
    with pytest.raises(InputError, match="a fit that returns NoneType"):
        loss_stability(lambda x, y, seed: None, X, Y, X, Y, k=6, repeats=1)
    with pytest.raises(InputError, match=r"\(60, 1\)"):
        loss_stability(fit(np.array), X, Y[:, None], X, Y, k=6, repeats=1)
