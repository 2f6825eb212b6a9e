"""The exact examples: every matrix counted, worlds simulated, stability on known learners."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.measures.estimability import (
    corank_distribution,
    linear_failure,
    linear_perfect,
    memorizer_margin,
    simulate_memorizer,
    simulate_parity,
)
from heldout.measures.loss_stability import estimation_error, loss_stability, stability_of


def corank(matrix, q):
    """Columns without a pivot, by elimination over F_q with q prime."""
    m, rank = [list(row) for row in matrix], 0
    n = len(m)
    for column in range(n):
        pivot = next((r for r in range(rank, n) if m[r][column] % q), None)
        if pivot is None:
            continue
        m[rank], m[pivot] = m[pivot], m[rank]
        inverse = pow(m[rank][column], -1, q)
        m[rank] = [v * inverse % q for v in m[rank]]
        for r in range(n):
            if r != rank:
                m[r] = [(a - m[r][column] * b) % q for a, b in zip(m[r], m[rank], strict=True)]
        rank += 1
    return n - rank


@pytest.mark.parametrize("n, q", [(1, 2), (2, 2), (3, 2), (2, 3), (2, 5)])
def test_every_matrix_counted(n, q):
    counts = np.zeros(n + 1)
    for flat in itertools.product(range(q), repeat=n * n):
        counts[corank(np.reshape(flat, (n, n)).tolist(), q)] += 1
    assert corank_distribution(n, q) == pytest.approx(counts / counts.sum())


def test_the_published_odds():
    for n in range(6, 40):
        assert 0.32 < linear_failure(n) < 0.3216 and 0.61 < linear_perfect(n) < 0.62
    assert linear_failure(5) < 0.32
    assert corank_distribution(30).sum() == pytest.approx(1)
    assert linear_failure(12, 3) < 0.15  # larger fields leave less open


@pytest.mark.parametrize("n", [2, 6, 9])
def test_simulated_worlds_agree_with_the_closed_form(n):
    odds = simulate_parity(n, 60_000, np.random.default_rng(n))
    error = 4 * math.sqrt(0.25 / 60_000)
    assert abs(odds.failure - linear_failure(n)) < error
    assert abs(odds.perfect - linear_perfect(n)) < error
    wrong = corank_distribution(n) @ np.minimum(1.0, 2.0 ** -np.arange(n + 1.0))
    assert abs(odds.failure - wrong) > error  # without the other side of the minimum


def test_the_memorizer_cannot_be_told_from_a_lucky_one():
    assert memorizer_margin(1000, 100) == pytest.approx(0.226, abs=5e-4)
    assert memorizer_margin(1000, 2000) == pytest.approx(0.034, abs=5e-4)
    rng = np.random.default_rng(0)
    few = simulate_memorizer(1000, 100, 1500, rng, 0.2)
    assert 0.44 < few.failure < 0.53 and 0.45 < few.perfect < 0.55
    assert simulate_memorizer(1000, 2000, 300, rng, 0.2).failure == 0


@pytest.mark.parametrize("call", [
    lambda: corank_distribution(0),
    lambda: corank_distribution(3, 1),
    lambda: simulate_parity(63, 10, np.random.default_rng(0)),
    lambda: memorizer_margin(1, 5),
    lambda: estimation_error(0.1, 0.0, 0, 0.1),
    lambda: estimation_error(0.1, 0.0, 10, 1.5),
])  # fmt: skip
def test_what_is_refused(call):
    with pytest.raises(InputError):
        call()


def nearest(x, y, seed):
    return lambda z: y[np.abs(z[:, None] - x[None]).argmin(1)]


def test_a_stable_learner_and_its_estimate():
    rng = np.random.default_rng(0)
    x, xt = rng.normal(size=400), rng.normal(size=2000)
    y, yt = (x > 0).astype(int), (xt > 0).astype(int)
    found = loss_stability(nearest, x, y, xt, yt, k=80, repeats=20)
    assert found.alpha < 0.02 and found.alpha <= found.alpha_high < 0.05
    assert found.beta == pytest.approx(1 - 0.05 ** (1 / 20))
    eps = found.eps_at_delta(0.3)
    truth = found.alpha + math.sqrt(math.log(2 / (0.3 - found.beta)) / 160)
    assert eps == pytest.approx(truth) and abs(found.estimate - found.loss) < eps
    assert found.eps_at_delta(0.1) == math.inf  # twenty repeats cannot show that much


def test_a_learner_that_hangs_on_the_number_of_examples():
    def parity_of_n(x, y, seed):
        return (lambda z: (z > 0).astype(int)) if len(x) % 2 else (lambda z: (z <= 0).astype(int))

    x = np.random.default_rng(1).normal(size=101)
    y = (x > 0).astype(int)
    jumpy = loss_stability(parity_of_n, x, y, x, y, k=11, repeats=4)
    assert jumpy.alpha == 1.0 and set(jumpy.changes) == {1.0}
    assert loss_stability(parity_of_n, x, y, x, y, k=10, repeats=4).alpha == 0.0


def test_the_seed_decides_everything_and_k_is_checked():
    seen = []

    def fit(x, y, seed):
        seen.append((len(x), seed))
        return lambda z: np.zeros(len(z))

    x, y = np.zeros(20), np.zeros(20)
    loss_stability(fit, x, y, x, y, k=4, repeats=3, seed=5)
    first, seen[:] = list(seen), []
    loss_stability(fit, x, y, x, y, k=4, repeats=3, seed=5)
    assert seen == first and [n for n, _ in seen] == [20, 16] * 3
    assert all(a[1] == b[1] for a, b in zip(first[::2], first[1::2], strict=True))
    for k in (0, 20):
        with pytest.raises(InputError, match="k="):
            loss_stability(fit, x, y, x, y, k=k)


def test_coverage_of_the_theorem():
    """Of learners whose change is known, the estimate is within eps as often as it says."""
    rng = np.random.default_rng(0)
    k, alpha, delta, inside = 60, 0.03, 0.2, 0
    eps = estimation_error(alpha, 0.0, k, delta)
    for _ in range(2000):
        loss = rng.uniform(0.1, 0.5)
        moved = loss + rng.uniform(-alpha, alpha)
        inside += abs(rng.binomial(k, moved) / k - loss) <= eps
    assert inside / 2000 >= 1 - delta
    assert stability_of(np.zeros((2, 9)), np.ones((2, 9)), np.ones((2, 3))).estimate == 1
