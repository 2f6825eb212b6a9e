"""Retraining as the judge of influence: oracles for the judge, and the judgement on digits."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from heldout.bench.digits import digits
from heldout.core.errors import InputError
from heldout.data.influence import EKFAC, Classification, Regression, dense_ggn_influence
from heldout.data.influence_eval import (
    Perceptrons,
    agreement,
    lds,
    loo,
    one_by_one,
    perceptron,
    perceptron_logits,
    perceptron_retrain,
    random_subsets,
    train_perceptrons,
)


def test_agreement_is_spearman_by_column():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, (30, 4)), rng.normal(size=(30, 4))
    found = agreement(a, b)
    wanted = [spearmanr(a[:, k], b[:, k])[0] for k in range(4)]
    np.testing.assert_allclose(found.per_query, wanted)
    assert found.mean.value == pytest.approx(np.mean(wanted))
    flat = agreement(np.ones((30, 4)), b)
    assert np.isnan(flat.per_query).all() and flat.mean.n == 0


def _ridge(x, y, queries, decay):
    """Exact retraining of ridge regression: the measure is minus half the squared error."""

    def retrain(rows, seed):
        a, b = x[rows], y[rows]
        w = np.linalg.solve(a.T @ a / len(rows) + decay * np.eye(x.shape[1]), a.T @ b / len(rows))
        return -0.5 * ((queries[0] @ w - queries[1]) ** 2).sum(1)

    return one_by_one(retrain)


def test_influence_predicts_exact_retraining_of_a_linear_model():
    # Ridge regression has a closed form, and its Gauss-Newton matrix is the Hessian: leaving one
    # example out of many changes the measure by what influence says, up to second order.
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(200, 5)), rng.normal(size=(200, 1))
    y = x @ rng.normal(size=(5, 1)) + noise
    queries, decay = (rng.normal(size=(4, 5)), rng.normal(size=(4, 1))), 0.1
    w = np.linalg.solve(x.T @ x / 200 + decay * np.eye(5), x.T @ y / 200)
    model = nn.Linear(5, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(w.T))
    data = tuple(torch.tensor(v) for v in (x, y))
    asked = tuple(torch.tensor(v) for v in queries)
    dense = dense_ggn_influence(model, Regression(), asked, data, damping=decay)
    scores = EKFAC(model, Regression(), damping=decay, fisher="exact").fit(data).scores(asked, data)
    np.testing.assert_allclose(scores, dense, rtol=1e-6)
    retrain = _ridge(x, y, queries, decay)
    everyone = np.ones((1, 200), dtype=bool)
    for i in (0, 7, 50):
        without = everyone.copy()
        without[0, i] = False
        effect = retrain(everyone, 0) - retrain(without, 0)
        # leaving out also shrinks the mean loss' other terms: - (1/n)(score_i - mean of scores)
        predicted = (scores[:, i] - scores.mean(1)) / 199
        assert np.linalg.norm(effect[0] - predicted) < 0.05 * np.linalg.norm(effect[0])
    rows = np.arange(60)
    assert loo(scores, retrain, rows, [0]).mean.value > 0.98
    assert lds(scores, retrain, random_subsets(200, 30, 0), [0]).mean.value > 0.9
    assert loo(-scores, retrain, rows, [0]).mean.value < -0.98  # a sign turned fails
    shuffled = scores[:, rng.permutation(200)]
    assert abs(loo(shuffled, retrain, rows, [0]).mean.value) < 0.3


def test_networks_trained_at_once_are_those_trained_alone():
    (x, y), _ = digits(0, 60)
    x, y, how = torch.tensor(x).flatten(1).double(), torch.tensor(y), Perceptrons(steps=20)
    subsets = random_subsets(60, 3, seed=1)
    together = train_perceptrons(x, y, subsets, 5, how)
    for k in range(3):
        alone = train_perceptrons(x, y, subsets[k : k + 1], 5, how)
        assert all(torch.allclose(a[k], b[0]) for a, b in zip(together, alone, strict=True))
        net = perceptron(together, k)
        assert torch.allclose(net(x), perceptron_logits(together, x)[k])
    # examples outside the subset leave no trace
    other = torch.where(torch.tensor(subsets[0])[:, None], x, torch.randn_like(x))
    again = train_perceptrons(other, y, subsets[:1], 5, how)
    assert torch.allclose(again[0][0], together[0][0])


def test_refusals():
    scores = np.zeros((2, 20))
    with pytest.raises(InputError, match="ten subsets"):
        lds(scores, None, random_subsets(20, 5, 0), [0])
    with pytest.raises(InputError, match="seed"):
        lds(scores, None, random_subsets(20, 20, 0), [])
    with pytest.raises(InputError, match="proper subsets"):
        random_subsets(10, 3, 0, share=1.0)
    with pytest.raises(InputError, match="ten rows"):
        loo(scores, None, np.arange(3), [0])
    with pytest.raises(InputError, match="one finite outcome"):
        lds(scores, lambda s, seed: np.zeros((len(s), 3)), random_subsets(20, 12, 0), [0])


@pytest.mark.slow
def test_ekfac_predicts_retraining_better_than_gradient_dot_products():
    (x, y), (xt, yt) = digits(0, 200)
    x, y = torch.tensor(x).flatten(1), torch.tensor(y)
    queries = torch.tensor(xt).flatten(1)[:15], torch.tensor(yt)[:15]
    how = Perceptrons(steps=120, decay=1e-2)
    model = perceptron(train_perceptrons(x, y, np.ones((1, 200), dtype=bool), 0, how))
    task, retrain = Classification(), perceptron_retrain(x, y, queries, how)
    subsets = random_subsets(200, 40, 0)
    outcomes = retrain(subsets, 1)

    def score(**options):
        scores = EKFAC(model, task, **options).fit((x, y)).scores(queries, (x, y))
        return lds(scores, lambda *_: outcomes, subsets, [1]).mean.value

    assert score(fisher="exact") > score(kind="identity") + 0.1
