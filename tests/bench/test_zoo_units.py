"""Planted faults of the zoo: their measured truth against models made by hand."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from heldout.bench.planted_truth import idle_truth, units_truth
from heldout.bench.zoo_units import DEFECTS, planted, simple_part, trainer


def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    x = (x - x[:300].mean(0)) / x[:300].std(0)
    return (x[:300], y[:300]), (x[300:], y[300:])


def test_both_faults_are_truly_there_and_repeat():
    train, test = cancer()
    idle = planted("idle_complement", train, test, seed=3)
    assert idle.truth["present"] == 1 and idle.truth["standard"] == 1
    assert idle.truth["randomized"] < 0.65 < 0.9 < idle.truth["rest_only"]
    assert idle.arguments["train"][0].shape == (300, 31) and idle.cells.tolist() == [30]
    held = planted("memorized_units", train, test, seed=3)
    assert len(held.wrong_rows) == 60 and held.truth["memorized"] > 0.9
    assert (held.arguments["train"][1] != train[1]).nonzero()[0].tolist() == list(held.wrong_rows)
    assert np.array_equal(held.arguments["test"][1], test[1])
    assert planted("idle_complement", train, test, seed=3).truth == idle.truth
    assert sorted(DEFECTS) == list(DEFECTS)


def test_a_model_that_reads_everything_has_no_idle_complement():
    train, test = cancer()
    x, cells = simple_part(train[0], train[1], 2, 1.0)  # as loud as any column
    xt, _ = simple_part(test[0], test[1], 2, 1.0)
    fit = trainer("mlp", 2)
    truth = idle_truth(fit((x, train[1]), 0), fit, (x, train[1]), (xt, test[1]), cells)
    assert truth["present"] == 0 and truth["rest_only"] > 0.9


@pytest.mark.parametrize("apart", [True, False])
def test_units_that_hold_wrong_labels_by_construction(apart):
    rng = np.random.default_rng(0)
    true, wrong = rng.integers(0, 4, 400), np.arange(100)
    given = np.where(np.arange(400) < 100, (true + 1) % 4, true)
    x = np.zeros((400, 80), np.float32)
    x[np.arange(400), true] = 1
    own = rng.integers(1, 10, 100) if apart else 0  # else the same units carry both
    x[wrong, 4 * own + given[wrong]] = 2
    net = nn.Sequential(nn.Identity(), nn.Linear(80, 4))
    with torch.no_grad():
        net[1].weight.copy_(torch.cat([torch.eye(4)] * 20, 1))
        net[1].bias.zero_()
    clean = np.eye(80, dtype=np.float32)[:4].repeat(30, 0), np.arange(4).repeat(30)
    truth = units_truth(net, (x, given), wrong, clean, rng)
    assert truth["memorized"] == 1 and truth["present"] == float(apart)
    if apart:
        assert truth["unlearned"] == 1 and truth["heldout_change"] == 0
        assert truth["random_unlearned"] < 0.8
