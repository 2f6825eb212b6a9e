"""Word order: contrasts against hand counts, shuffles, and a control that takes the effect away."""

import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.data.influence.texts import Fact, Query, read_facts
from heldout.data.influence.word_order import (
    FactScores,
    against,
    contrast,
    fact_contrasts,
    shared_pairs,
    shuffled_facts,
    summary,
)


def facts_of(gaps, rng):
    """Facts whose flipped sequences rank exp(gap) times lower, among 1,000."""
    made = []
    for i, gap in enumerate(gaps):
        corpus = -np.arange(1000.0)
        same = np.array([-10.5 - i])
        depth = (12 + i) * np.exp(gap) - 1
        scores = FactScores(corpus, same, np.array([-depth - 0.5]), (corpus, same, same))
        made.append({"completion": str(i), **fact_contrasts(scores)})
    return made


def test_shuffling_keeps_words_and_the_completion_together():
    facts = read_facts("default")
    made = shuffled_facts(facts, 0, 3)
    assert made == shuffled_facts(facts, 0, 3) != shuffled_facts(facts, 1, 3)
    for fact, other in zip(facts, made, strict=True):
        assert len(other.same) == 3 * len(fact.same)
        for k, text in enumerate(other.same + other.flipped):
            source = (fact.same + fact.flipped)[k // 3]
            assert sorted(text.split(" ")) == sorted(source.split(" "))
            assert fact.query.completion.strip() in text
    moved = [
        a != b
        for f, o in zip(facts, made, strict=True)
        for a, b in zip(f.same, o.same[::3], strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_a_completion_that_is_not_in_the_text_is_no_error():
    fact = Fact(Query("a", " zebra"), ("b c d",), ("d c",))
    assert sorted(shuffled_facts([fact], 0, 1)[0].same[0].split()) == ["b", "c", "d"]


def test_shared_pairs_against_a_loop():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, (20, 9))
    query = ([1, 2], [3, 1, 3])
    ids = [1, 2, 3, 1, 3]
    pairs = {(ids[i], ids[i + 1]) for i in range(1, 4)}  # (2, 3), (3, 1), (1, 3): not (1, 2)
    found = shared_pairs(tokens, query)
    for n in range(20):
        for t in range(9):
            expected = t < 8 and (tokens[n, t], tokens[n, t + 1]) in pairs
            assert found[n, t] == expected


def test_ranks_by_hand():
    corpus = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    kept = (corpus, np.array([4.5]), np.array([4.5]))
    fact = FactScores(
        corpus, np.array([5.5, 3.5]), np.array([0.5]), kept, np.array([2.5]), np.array([0.5])
    )
    found = fact_contrasts(fact)
    same = (np.log(1) + np.log(3)) / 2
    assert found["order"] == pytest.approx(np.log(6) - same)
    assert found["order_pairs"] == 0
    assert found["same_shuffled"] == pytest.approx(np.log(4) - same)
    assert found["flipped_shuffled"] == 0
    assert (found["same"], found["flipped"]) == (4.5, 0.5)


def test_exact_p_of_flipped_signs():
    gaps = np.array([3.0, 1.0, -0.5, 2.0])
    every = [
        np.mean(gaps * [(-1) ** (k >> j & 1) for j in range(4)]) >= gaps.mean() for k in range(16)
    ]
    assert contrast(gaps)["p"] == np.mean(every)
    assert contrast(np.ones(20))["p"] < 1e-3  # drawn at random beyond twelve
    assert contrast(-gaps)["p"] > 0.5


def test_an_effect_of_architecture_is_taken_away():
    rng = np.random.default_rng(0)
    common = rng.uniform(0.5, 2.0, 12)  # the same facts are easy for both
    trained = facts_of(common, rng)
    alone = summary(trained, rng)["order"]
    assert alone["value"] > 1 and alone["p"] < 0.001  # by itself it looks learned
    control = facts_of(common + rng.normal(0, 0.1, 12), rng)
    same = against(trained, control, rng)["order"]
    assert same["low"] < 0 < same["high"] and same["p"] > 0.05
    learned = facts_of(common + 1.0, rng)
    found = against(learned, control, rng)["order"]
    assert found["low"] > 0.5 and found["value"] == pytest.approx(1.0, abs=0.15)
    # pairing by fact is what makes it narrow
    spread = np.std([f["order"] for f in learned])
    assert found["high"] - found["low"] < spread


def test_strength_is_a_ratio_with_one_meaning_no_effect():
    each = [
        {"completion": str(i), "same": 2.0 + i, "flipped": 0.5 * (2.0 + i), "order": 1.0,
         "order_pairs": 1.0, "same_shuffled": None, "flipped_shuffled": None}
        for i in range(5)
    ]  # fmt: skip
    found = summary(each, np.random.default_rng(0))
    assert found["strength"]["value"] == pytest.approx(0.5)
    assert found["strength"]["low"] == pytest.approx(0.5)
    assert "same_shuffled" not in found and "order_pairs" in found


def test_other_facts_are_refused():
    rng = np.random.default_rng(0)
    a = facts_of([1.0, 1.0], rng)
    with pytest.raises(InputError, match="other facts"):
        against(a, a[::-1], rng)
