"""The law against numpy and scipy by hand, the control that binned r proves nothing, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heldout.core.errors import InputError
from heldout.data.frequency.law import binned_means, corrected_accuracy, frequency_law
from heldout.data.frequency.misalignment import misalignment
from heldout.data.frequency.tail import tail_report


def world(n: int = 400, slope: float = 8.0, noise: float = 20.0, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    counts = np.floor(10 ** rng.uniform(-0.5, 5, n))
    scores = 20 + slope * np.log10(np.maximum(counts, 1)) + noise * rng.normal(size=n)
    return counts, scores, rng.integers(4, size=n)


def test_every_number_by_hand() -> None:
    counts, scores, groups = world()
    law = frequency_law(counts, scores, groups, draws=50)
    seen = counts > 0
    x, y = np.log10(counts[seen]), scores[seen]
    fit = stats.linregress(x, y)
    assert law.slope_per_decade.value == pytest.approx(fit.slope)
    assert law.raw_r.value == pytest.approx(stats.pearsonr(x, y).statistic)
    a, b = x.copy(), y.copy()
    for g in range(4):
        rows = groups[seen] == g
        a[rows] -= a[rows].mean()
        b[rows] -= b[rows].mean()
    assert law.within_group_r is not None
    assert law.within_group_r.value == pytest.approx(stats.pearsonr(a, b).statistic)
    z = np.log(np.where(counts > 0, counts, 1))
    edges = np.linspace(z.min(), z.max(), num=12)
    place = np.digitize(z, edges, right=True)
    means = [scores[place == k].mean() for k in range(12)]
    assert law.binned_r.value == pytest.approx(stats.pearsonr(edges[1:-1], means[1:-1]).statistic)
    assert law.zero_bin_mean.value == pytest.approx(scores[~seen].mean())
    two = frequency_law(counts, scores, drop=(2, 1), draws=0)
    assert two.binned_r.value == pytest.approx(stats.pearsonr(edges[2:-1], means[2:-1]).statistic)
    assert law.slope_per_decade.low < 8 < law.slope_per_decade.high


def test_binned_r_is_high_where_frequency_explains_little() -> None:
    counts, scores, _ = world(n=4000, slope=3.0, noise=25.0)
    law = frequency_law(counts, scores, draws=50)
    assert law.binned_r.value > 0.9 and law.explained < 0.05


def test_shuffled_scores_have_no_slope_and_swapped_ones_the_opposite() -> None:
    counts, scores, _ = world()
    law = frequency_law(counts, np.random.default_rng(1).permutation(scores), draws=300)
    assert 0 in law.slope_per_decade and 0 in law.raw_r
    assert frequency_law(counts, -scores, draws=100).slope_per_decade.high < 0


def test_within_groups_undoes_an_easy_data_set_with_frequent_classes() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 300)
    counts = 10 ** (rng.uniform(0, 2, 600) + 2 * groups)
    scores = 20 + 50 * groups + rng.normal(size=600)
    law = frequency_law(counts, scores, groups, draws=200)
    assert law.raw_r.low > 0.6
    assert law.within_group_r is not None and 0 in law.within_group_r


def test_where_the_rise_ends() -> None:
    counts = 10 ** np.linspace(0, 5, 500)
    noise = np.random.default_rng(0).normal(size=500)
    level = 10 * np.minimum(np.log10(counts), 3) + noise
    found = frequency_law(counts, level, draws=0).saturation_point
    assert found is not None and 500 < found < 2000
    assert frequency_law(counts, 10 * np.log10(counts) + noise, draws=0).saturation_point is None


def test_an_empty_bin_is_no_zero() -> None:
    counts = np.concatenate([np.geomspace(low, 9 * low, 40) for low in (1, 1e3, 1e6)])
    scores = np.log10(counts)
    _, means, sizes = binned_means(counts, scores)
    assert (sizes == 0).any() and np.isnan(means[sizes == 0]).all()
    assert frequency_law(counts, scores, draws=0).binned_r.value > 0.99


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-50, 50))
def test_order_and_scale(seed: int, times: float, plus: float) -> None:
    counts, scores, groups = world(80, seed=seed)
    a = frequency_law(counts, scores, groups, draws=0)
    order = np.random.default_rng(seed).permutation(80)
    b = frequency_law(counts[order], times * scores[order] + plus, groups[order], draws=0)
    assert b.slope_per_decade.value == pytest.approx(times * a.slope_per_decade.value, abs=1e-6)
    assert b.raw_r.value == pytest.approx(a.raw_r.value, abs=1e-9)
    assert b.binned_r.value == pytest.approx(a.binned_r.value, abs=1e-9)


def test_names_are_matched_not_positions() -> None:
    counts, scores, _ = world(60)
    names = [f"c{i}" for i in range(60)]
    by_name = frequency_law(
        dict(zip(names, counts, strict=True)),
        dict(reversed(list(zip(names, scores, strict=True)))),
        draws=0,
    )
    assert by_name.raw_r.value == frequency_law(counts, scores, draws=0).raw_r.value


def test_note_when_concepts_never_seen_score_well() -> None:
    counts = np.concatenate([np.zeros(50), 10 ** np.linspace(0, 4, 50)])
    scores = np.concatenate([np.full(50, 55.0) + np.arange(50) / 50, np.linspace(50, 90, 50)])
    assert "counter misses" in frequency_law(counts, scores, chance=1.0, draws=50).notes[0]
    assert frequency_law(counts, scores, chance=50.0, draws=50).notes == ()


GOOD = 10 ** np.linspace(0, 3, 40)


@pytest.mark.parametrize(
    ("counts", "scores", "options", "said"),
    [
        (GOOD[:20], GOOD[:20], {}, "20 concepts"),
        (np.zeros(40), GOOD, {}, "all 0"),
        (np.linspace(10, 50, 40), GOOD, {}, "decade"),
        (-GOOD, GOOD, {}, "negative"),
        (GOOD, GOOD * np.nan, {}, "non-finite"),
        (GOOD, np.ones(40), {}, "all equal"),
        (GOOD, GOOD[:39], {}, "shape"),
        (GOOD, GOOD, {"groups": [1]}, "1 groups"),
        (GOOD, GOOD, {"bins": 4, "drop": (1, 1)}, "4 bins"),
        ({"a": 1.0}, {"b": 1.0}, {}, "on one side only"),
        ({"a": 1.0}, [1.0], {}, "by name"),
    ],
)
def test_refusals(counts: Any, scores: Any, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        frequency_law(counts, scores, **options)


def test_prior_is_taken_off() -> None:
    rng = np.random.default_rng(0)
    prior, labels = np.array([0.9, 0.09, 0.01]), np.repeat(np.arange(3), 300)
    evidence = 2.0 * np.eye(3)[labels] + rng.normal(size=(900, 3))
    skewed = evidence + np.log(prior)
    plain = [(skewed.argmax(1) == labels)[labels == c].mean() for c in range(3)]
    right = [(evidence.argmax(1) == labels)[labels == c].mean() for c in range(3)]
    assert corrected_accuracy(skewed, labels, prior).tolist() == pytest.approx(right)
    assert np.ptp(corrected_accuracy(skewed, labels)) < np.ptp(plain) / 2


def test_tail_by_hand_and_refusals() -> None:
    counts, scores, _ = world(200)
    report = tail_report(counts, scores, 0.2)
    rare = counts <= np.sort(counts)[39]
    assert report.rare_mean.value == pytest.approx(scores[rare].mean())
    assert report.difference.value == pytest.approx(scores[rare].mean() - scores[~rare].mean())
    assert report.difference.high < 0 < tail_report(counts, -scores, 0.2).difference.low
    assert scores[report.rare[0]] == scores[rare].min()
    for bad in ({"share": 1.0}, {"counts": np.ones(200)}, {"counts": -counts}):
        with pytest.raises(InputError):
            tail_report(**{"counts": counts, "scores": scores, **bad})


def test_misalignment_refuses_strings_and_lengths() -> None:
    for captions, images in (([], []), ([{"a"}], []), (["a"], [{"a"}])):
        with pytest.raises(InputError):
            misalignment(captions, images)
