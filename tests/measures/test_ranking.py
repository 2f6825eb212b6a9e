"""Rankings against loops written out, scipy, and measures whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heldout.core.errors import InputError
from heldout.measures.ranking import conditional_information, granulated_tau, kendall_tau, rank
from heldout.measures.robust_ranking import environment_errors, hoeffding_weight


def grid(repeats=1):
    runs = list(itertools.product((1, 2, 3), (10, 20), range(repeats)))
    return {"width": np.array([r[0] for r in runs]), "rate": np.array([r[1] for r in runs])}


def test_tau_is_scipys_without_ties_and_counts_ties_as_nothing():
    rng = np.random.default_rng(0)
    m, g = rng.normal(size=(2, 40))
    assert kendall_tau(m, g) == pytest.approx(stats.kendalltau(m, g).statistic)
    assert kendall_tau(m, g) == pytest.approx(-kendall_tau(-m, g))
    assert kendall_tau(np.zeros(40), g) == 0
    assert math.isnan(kendall_tau(m[:1], g[:1]))


def test_granulated_tau_by_loops():
    rng = np.random.default_rng(1)
    axes = grid(2)
    m, g = rng.normal(size=(2, 12))
    found = granulated_tau(m, g, axes)
    for name in axes:
        other = next(k for k in axes if k != name)
        per_group = []
        for value in np.unique(axes[other]):
            rows = np.flatnonzero(axes[other] == value)
            signs = [np.sign(m[a] - m[b]) * np.sign(g[a] - g[b])
                     for a in rows for b in rows if axes[name][a] != axes[name][b]]  # fmt: skip
            per_group.append(np.mean(signs))
        assert found[name] == pytest.approx(np.mean(per_group))


def test_one_axis_can_hide_behind_another():
    """A measure of the width alone is right in tau and says nothing along the rate."""
    axes = grid()
    gap = axes["width"] + 0.01 * axes["rate"]
    found = granulated_tau(axes["width"].astype(float), gap, axes)
    assert found == {"width": 1.0, "rate": 0.0}


def test_information_by_a_table_written_out():
    rng = np.random.default_rng(2)
    axes = grid(3)
    m, g = rng.normal(size=(2, 18))
    g = g + m
    subsets = [(), ("width",), ("rate",), ("width", "rate")]
    values = []
    for subset in subsets:
        tables = {}
        for a, b in itertools.permutations(range(18), 2):
            key = tuple((axes[s][a], axes[s][b]) for s in subset)
            table = tables.setdefault(key, np.zeros((2, 2)))
            table[int(m[a] > m[b]), int(g[a] > g[b])] += 1
        top = below = 0.0
        for table in tables.values():
            p = table / table.sum()
            for i, j in itertools.product((0, 1), (0, 1)):
                if p[i, j]:
                    top += p[i, j] * math.log(p[i, j] / (p[i].sum() * p[:, j].sum()))
            for share in p.sum(0):
                below -= share * math.log(share) if share else 0
        values.append(top / below)
    assert conditional_information(m, g, axes) == pytest.approx(min(values))
    assert conditional_information(-m, g, axes) == pytest.approx(min(values))
    assert conditional_information(m, g, axes, given=0) == pytest.approx(values[0])


def test_the_weight_is_the_published_one():
    for d, n in ((0.03, 5000), (0.1, 200), (0.2, 1000)):
        truth = max(0.0, 1 - 2 * math.exp(-2 * n * (d / 2) ** 2)) ** 2
        assert hoeffding_weight(np.array(d), n) == pytest.approx(truth)
        assert hoeffding_weight(np.array(-d), n) == pytest.approx(truth)
    assert hoeffding_weight(np.array(0.03), 100) == 0


def brute_environments(m, g, axes, n, fewest):
    """Every pair of configurations, every pair of their runs, one at a time."""
    keys = list(zip(*axes.values(), strict=True))
    found = {}
    for one, two in itertools.combinations(sorted(set(keys)), 2):
        if sum(a != b for a, b in zip(one, two, strict=True)) != 1:
            continue
        total = squares = errors = 0.0
        for a, b in itertools.product(range(len(m)), repeat=2):
            if keys[a] != one or keys[b] != two:
                continue
            w = max(0.0, 1 - 2 * math.exp(-n * (g[a] - g[b]) ** 2 / 2)) ** 2
            w = w - 0.5 if w > 0.5 else 0.0
            total, squares = total + w, squares + w * w
            errors += w * 0.5 * (1 - np.sign(m[a] - m[b]) * np.sign(g[a] - g[b]))
        if squares and total**2 / squares >= fewest:
            found[one, two] = errors / total
    return found


@pytest.mark.parametrize("fewest", [1.0, 5.0])
def test_environments_by_brute_force(fewest):
    rng = np.random.default_rng(3)
    axes = grid(3)
    m, g = rng.normal(size=18), rng.uniform(0, 0.3, size=18)
    truth = brute_environments(m, g, axes, 800, fewest)
    found = environment_errors(m, g, axes, 800, fewest_pairs=fewest)
    assert sorted(found.loss) == pytest.approx(sorted(truth.values()))
    assert found.worst() == pytest.approx(max(truth.values()))
    assert set(found.axis) <= set(axes)
    assert environment_errors(g, g, axes, 800, fewest_pairs=fewest).worst() == 0
    assert environment_errors(-g, g, axes, 800, fewest_pairs=fewest).worst() == 1
    tied = environment_errors(np.zeros(18), g, axes, 800, fewest_pairs=fewest)
    assert set(tied.loss) == {0.5}


def test_a_measure_good_on_average_is_found_out():
    axes = grid(4)
    gap = 0.1 * axes["width"] + 0.01 * axes["rate"]
    good_but = 0.1 * axes["width"] - 0.001 * axes["rate"]  # the wrong way along the rate only
    found = rank(good_but, gap, axes, 5000, draws=50)
    assert found.tau.value == pytest.approx(7 / 15) and found.worst_sign_error.value == 1.0
    assert found.by_axis["width"].value == 1 and found.by_axis["rate"].value == -1
    assert found.psi.value == pytest.approx(0.0) and found.environments == 9
    assert rank(gap, gap, axes, 5000, draws=20).worst_sign_error.value == 0.0
    few = rank(gap, gap, axes, 50, draws=20)
    assert few.worst_sign_error is None and few.environments == 0


def test_the_interval_knows_that_repeats_are_not_new_configurations():
    rng = np.random.default_rng(4)
    width = np.arange(24)
    m, g = rng.normal(size=(2, 24))
    one = rank(m, g, {"width": width}, 1000, draws=200)
    again = rank(np.repeat(m, 5), np.repeat(g, 5), {"width": np.repeat(width, 5)}, 1000, draws=200)
    assert again.tau.value == pytest.approx(one.tau.value)
    assert again.tau.low == pytest.approx(one.tau.low) and again.tau.n == 24
    assert one.tau.low < one.tau.value < one.tau.high


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 99))
def test_order_of_runs_and_monotone_changes_do_not_matter(order, seed):
    rng = np.random.default_rng(seed)
    axes = grid(2)
    m, g = rng.normal(size=(2, 12)) / 5
    order = np.array(order)
    moved = {k: v[order] for k, v in axes.items()}
    for score in (
        lambda a, b, c: granulated_tau(a, b, c)["width"],
        conditional_information,
        lambda a, b, c: environment_errors(a, b, c, 5000, fewest_pairs=1).worst(),
    ):
        truth = score(m, g, axes)
        assert score(m[order], g[order], moved) == pytest.approx(truth, nan_ok=True)
        assert score(np.exp(m), g, axes) == pytest.approx(truth, nan_ok=True)


@pytest.mark.parametrize("change, word", [
    ({"gap": np.array([0.1, np.nan, 0.2, 0.3])}, "finite"),
    ({"axes": {"a": np.zeros(3)}}, "lengths"),
    ({"axes": {"a": np.array([1, 1, 2, 2])}}, "three or more"),
    ({"axes": {"a": np.arange(4), "b": np.zeros(4)}}, "never vary"),
    ({"test_size": 0}, "test size"),
])  # fmt: skip
def test_what_is_refused(change, word):
    given = {"measure": np.arange(4.0), "gap": np.arange(4) / 10, "axes": {"a": np.arange(4)},
             "test_size": 100} | change  # fmt: skip
    with pytest.raises(InputError, match=word):
        rank(**given, draws=5)
