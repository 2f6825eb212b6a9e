"""Tail, share and word order against closed forms."""

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.data.influence_stats import order_effect, tail_exponent, top_share
from heldout.data.tfidf import tfidf_top


@pytest.mark.parametrize("alpha", [2.0, 3.0])
def test_tail_exponent_of_drawn_power_laws(alpha):
    rng = np.random.default_rng(0)
    x = rng.pareto(alpha - 1, 3000) + 1
    found = tail_exponent(x, rng, draws=20)
    assert found.alpha.low < alpha < found.alpha.high
    assert found.alpha.value == pytest.approx(alpha, abs=0.25)


def test_scale_does_not_change_the_exponent():
    x = np.random.default_rng(0).pareto(1.5, 500) + 1
    one, other = (tail_exponent(k * x, np.random.default_rng(1), draws=3) for k in (1, 1e-6))
    assert one.alpha.value == pytest.approx(other.alpha.value, rel=1e-6)


def test_top_share_of_equal_and_of_concentrated_values():
    rng = np.random.default_rng(0)
    assert top_share(np.ones(1000), rng, 0.01, 50).value == pytest.approx(0.01)
    x = np.full(1000, -1.0)
    x[3] = 5.0
    assert top_share(x, rng, 0.01, 50).value == pytest.approx(1.0)


def test_order_effect_finds_a_planted_one_and_none_in_noise():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, 300))
    same = [[2 * f, 2 * f + 1] for f in range(12)]
    flipped = [[100 + 2 * f, 101 + 2 * f] for f in range(12)]
    assert order_effect(scores, same, flipped, rng).p > 0.05
    for f in range(12):
        scores[f, same[f]] += 5
    found = order_effect(scores, same, flipped, rng)
    assert found.same < 5 < found.flipped and found.wins.value == 1.0 and found.p < 0.001
    assert found.chance > 50


def test_refusals():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError):
        tail_exponent(-np.ones(100), rng)
    with pytest.raises(InputError):
        top_share(np.zeros(5), rng)
    with pytest.raises(InputError):
        order_effect(np.zeros((2, 4)), [[0], []], [[1], [2]], rng)
    with pytest.raises(InputError):
        tfidf_top(["a"], [], 3)


def test_tfidf_prefers_rare_shared_words():
    texts = ["the cat and the dog", "the zygote", "the cat", "nothing else here"]
    assert tfidf_top(["zygote the"], texts, 1)[0, 0] == 1
