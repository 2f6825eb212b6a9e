"""Information, gaps, island score, report: closed forms, peers, brute force, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import energy_distance, wasserstein_distance
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from heldout.core.errors import InputError
from heldout.data.diversity.dependence import (
    disjoint_islands_information,
    normalized_information,
)
from heldout.data.diversity.factors import Binning, binned
from heldout.data.diversity.gaps import mmd_gap, neighbour_overlap, wasserstein_gap
from heldout.data.diversity.islands import island_scores
from heldout.data.diversity.report import dataset_report
from heldout.data.diversity.within_class import islands_within_class


def islands(rng, apart=1.0, width=0.1, n=1000, tasks=5):
    part = np.repeat([0, 1], n // 2)
    view = 1.0 + apart * part + width * rng.random(n)
    return view, tasks * part + rng.integers(0, tasks, n), part


def test_information_equals_sklearn_and_its_shuffled_form_the_adjusted_one():
    rng = np.random.default_rng(0)
    u = rng.integers(0, 4, 300)
    v = np.where(rng.random(300) < 0.5, u, rng.integers(0, 6, 300))
    found = normalized_information(u, v, correction="shuffled", shuffles=400)
    assert found.plugin == pytest.approx(normalized_mutual_info_score(u, v))
    assert found.nmi.value == pytest.approx(adjusted_mutual_info_score(u, v), abs=2e-3)
    plain = normalized_information(u, v, correction="none", shuffles=0)
    assert plain.nmi.value == pytest.approx(found.plugin)


def test_the_jackknife_equals_leaving_rows_out_one_by_one():
    rng = np.random.default_rng(1)
    u, v = rng.integers(0, 3, 40), rng.integers(0, 4, 40)
    v[:25] = u[:25]
    found = normalized_information(u, v, shuffles=0)
    # Each fold's own value, by the function itself on the other 39 rows.
    rest = [
        normalized_information(np.delete(u, i), np.delete(v, i), shuffles=0).nmi.value
        for i in range(40)
    ]
    error = np.sqrt(39 / 40 * np.sum((np.array(rest) - np.mean(rest)) ** 2))
    assert found.nmi.high - found.nmi.value == pytest.approx(1.959964 * error)


def test_correction_takes_off_what_chance_adds():
    rng = np.random.default_rng(2)
    data = [(rng.integers(0, 10, 400), rng.integers(0, 10, 400)) for _ in range(20)]
    mean = {}
    for rule in ("none", "miller-madow", "shuffled"):
        found = [normalized_information(*d, correction=rule, shuffles=40) for d in data]
        mean[rule] = np.mean([v.nmi.value for v in found])
        assert np.mean([v.p for v in found]) > 0.3
    assert mean["none"] > 0.035
    assert mean["miller-madow"] < 0.3 * mean["none"] and mean["shuffled"] < 0.012


@pytest.mark.parametrize("bins", [1, 2, 4])
def test_disjoint_islands_have_their_closed_form_at_any_distance(bins):
    rng = np.random.default_rng(3)
    closed = disjoint_islands_information([np.log(5)] * 2, [np.log(bins)] * 2)
    found, scores, gaps = [], [], []
    for apart in (0.25, 0.5, 1.0, 4.0):
        view, task, part = islands(rng, apart, 0.05 * bins, n=800)
        report = dataset_report(view, task, part, binning=Binning("width", 0.05), draws=8)
        found.append(report.nmi.nmi.value)
        scores.append(report.island_score.value)
        gaps.append(report.pairs[0].gap.value)
    assert found == pytest.approx([closed] * 4, abs=0.02)  # information cannot see distance
    assert gaps == pytest.approx([0.25, 0.5, 1.0, 4.0], rel=0.03)
    assert sorted(scores) == scores and scores[-1] > scores[0] + 0.03


def test_variety_inside_lowers_information_and_island_score():
    rng = np.random.default_rng(4)
    reports = [
        dataset_report(*islands(rng, 1.0, w), binning=Binning("width", 0.05), draws=8)
        for w in (0.05, 0.4, 0.8)
    ]
    for read in (lambda r: r.nmi.nmi.value, lambda r: r.island_score.value):
        assert read(reports[0]) > read(reports[1]) > read(reports[2])
    assert reports[2].parts[0].diversity.value == pytest.approx(0.8 / 3, rel=0.1)
    assert reports[1].nmi_by_size[0.025] < reports[1].nmi_by_size[0.1]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 999))
def test_wasserstein_equals_scipy(n, m, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.exponential(size=m)
    assert wasserstein_gap(a, b) == pytest.approx(wasserstein_distance(a, b))


def test_sliced_wasserstein_of_a_shift_and_mmd_by_its_sums():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(60, 3))
    shift = np.array([3.0, 0.0, 4.0])
    found = wasserstein_gap(a, a + shift, directions=4000)
    assert found == pytest.approx(2.5, rel=0.03)  # mean |cos| in three dimensions is one half
    b, h = rng.normal(size=(50, 3)) + 1, 1.3

    def kernel(x, y):
        return np.exp(-((x[:, None] - y[None]) ** 2).sum(2) / (2 * h * h))

    inside = [(kernel(z, z).sum() - len(z)) / (len(z) * (len(z) - 1)) for z in (a, b)]
    assert mmd_gap(a, b, h) ** 2 == pytest.approx(sum(inside) - 2 * kernel(a, b).mean())


def test_neighbours_by_brute_force_and_copies():
    rng = np.random.default_rng(6)
    a, b, k = rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) + 1, 5
    pool, own = np.concatenate([a, b]), np.repeat([0, 1], [30, 20])
    expected = []
    for i in range(50):
        distance = np.linalg.norm(pool - pool[i], axis=1)
        distance[i] = np.inf
        near = own[np.argsort(distance)[:k]]
        expected.append(np.mean(near != own[i]) / ((20, 30)[own[i]] / 49))
    assert neighbour_overlap(a, b, k) == pytest.approx(np.array(expected))
    assert neighbour_overlap(np.zeros(50), np.ones(50)).max() == 0


def test_island_score_is_the_energy_coefficient_and_its_null_is_at_zero():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=400), rng.normal(size=400) + 2
    found = island_scores(np.r_[x, y][:, None], np.repeat([0, 1], 400), draws=2)
    between = np.abs(x[:, None] - y).mean()
    by_scipy = energy_distance(x, y) ** 2 / (2 * between)
    assert found.score.value == pytest.approx(by_scipy, abs=0.005)  # scipy counts i = j
    values = [
        island_scores(rng.normal(size=(120, 3)), np.arange(120) % 3, draws=2).score.value
        for _ in range(30)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(30) + 1e-3


def test_distance_intervals_cover_and_scale_changes_no_score():
    rng = np.random.default_rng(8)
    hit = 0
    for _ in range(30):
        x = rng.random((100, 1))
        found = island_scores(x, np.arange(100) % 2, draws=100)
        again = island_scores(1000 * x, np.arange(100) % 2, draws=2)
        assert again.score.value == pytest.approx(found.score.value)
        hit += 1 / 3 in found.spread[0]
    assert hit >= 25


def test_within_a_class_other_label_shares_are_no_island_and_a_shift_is():
    rng = np.random.default_rng(9)
    y = np.r_[np.repeat([0, 1], [160, 40]), np.repeat([0, 1], [40, 160])]
    source = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 4)) + 8 * y[:, None]
    plain = islands_within_class(x, y, source, draws=60)
    moved = islands_within_class(x + 2 * source[:, None], y, source, draws=60)
    assert plain.p > 0.02 and plain.score.value < 0.03
    assert moved.p < 0.02 and moved.score.low > 0.2 and moved.gaps[0, 1] > 1
    assert island_scores(x, source, draws=2).score.value > 0.1  # classes taken for sources
    assert islands_within_class(x, source, source) is None


def test_rows_that_have_no_distances_are_refused():
    rng = np.random.default_rng(11)
    x, y, part = rng.normal(size=(20, 2)), np.arange(20) % 2, np.repeat([0, 1], 10)
    named = island_scores(x, np.array(["a", "b"])[part], draws=5)
    assert named.score == island_scores(x, part, draws=5).score
    broken = np.where(np.arange(20)[:, None] == 3, np.nan, x)
    for features, said in ((broken, "2 non-finite"), (x[:, 0], "d.*x\\[:, None"), (x[:9], "20, d")):
        with pytest.raises(InputError, match=f"(?s){said}"):
            island_scores(features, part)
        with pytest.raises(InputError, match=f"(?s){said}"):
            islands_within_class(features, y, part)
    for parts, said in (
        (part * 0, "two parts"),
        (np.arange(20) // 19, "two rows"),
        (x[:, 0], "bin"),
    ):
        with pytest.raises(InputError, match=said):
            island_scores(x, parts)
    for labels, sources in ((y, part - 1), (y, part / 2), (y[:9], part), (y, ["a"] * 20)):
        with pytest.raises(InputError, match="counted from 0"):
            islands_within_class(x, labels, sources)


VIEW, TASK, PART = islands(np.random.default_rng(10), n=200)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((VIEW, TASK, np.zeros(200, int)), "one part"),
        ((None, PART, np.array(["a", "b"])[PART]), "one-to-one"),
        ((VIEW, TASK, np.r_[PART[:180], np.full(20, 2)]), "fewer than 50"),
        ((VIEW, TASK, PART), "binning=None"),
        ((np.c_[VIEW, VIEW], TASK, PART, Binning("width", 0.1)), "clusters"),
        ((VIEW[:-1], TASK, PART), "199 features"),
        ((np.where(VIEW > 2.05, np.nan, VIEW), TASK, PART), "non-finite"),
        ((VIEW, VIEW, PART), "discrete"),
        ((VIEW, np.zeros(200, int), PART), "one task"),
        ((VIEW, TASK[:-1], PART), "199 labels"),
    ],
)
def test_refused(arguments, said):
    *first, rule = arguments if len(arguments) == 4 else (*arguments, None)
    with pytest.raises(InputError) as error:
        dataset_report(*first, binning=rule, draws=5)
    assert said in str(error.value)


def test_without_a_factor_information_between_task_and_part_is_left():
    report = dataset_report(None, TASK, PART, draws=20)
    assert report.nmi is report.source_nmi and report.nmi.nmi.value > 0.4
    assert np.isnan(report.island_score.value) and not report.pairs


def test_names_as_a_factor_need_no_bins_and_order_of_rows_does_not_matter():
    colour = np.where(PART == 0, "red", "blue")
    report = dataset_report(colour, TASK, PART, draws=20)
    assert report.island_score.value == 1 and report.nmi_by_size == {}
    rows = np.random.default_rng(0).permutation(200)
    mixed = dataset_report(colour[rows], TASK[rows], PART[rows], draws=20)
    assert mixed.nmi.nmi.value == pytest.approx(report.nmi.nmi.value)
    assert binned([3, 3, 5], None)[1] == 2
    assert binned(VIEW, Binning("quantile", 4))[1] == 4
    assert binned(np.c_[VIEW, VIEW], Binning("clusters", 2))[1] == 2
