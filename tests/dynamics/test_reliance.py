"""Reliance: interventions against brute force, and cues told from parts of an object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.classifier import classifier
from heldout.core.errors import InputError
from heldout.core.inputs import from_native
from heldout.core.interval import Interval
from heldout.dynamics.regions import Region, coordinates, information, regions, transplant
from heldout.dynamics.reliance import (
    bound_within_classes,
    conflicting,
    feature_reliance,
    region_probe,
)
from heldout.dynamics.shortcut_evidence import Evidence, Thresholds, is_cue


def column(j, d):
    return Region(f"column {j}", "column", "input", (j,), 1 / d)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(6, 8), (1, 5, 7), (3, 8, 8), (8, 8, 3)]))
def test_a_transplant_takes_exactly_the_region(seed, shape):
    rng = np.random.default_rng(seed)
    a, b = (from_native(rng.normal(size=(4, *shape)).astype(np.float32)) for _ in range(2))
    size = int(np.prod(shape))
    cells = np.flatnonzero(rng.random(size) < 0.3)
    mixed = transplant(a, b, Region("", "patch", "input", tuple(cells.tolist()), 0.3)).array
    expected = a.array.copy().reshape(4, -1)
    expected[:, cells] = b.array.reshape(4, -1)[:, cells]
    assert np.array_equal(mixed.reshape(4, -1), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1, 8, 8), (3, 9, 7)]))
def test_a_band_and_its_complement_add_up_to_the_two_images(seed, shape):
    rng = np.random.default_rng(seed)
    a, b = (from_native(rng.normal(size=(3, *shape)).astype(np.float32)) for _ in range(2))
    bands = [r for r in regions(a, np.arange(3) % 2) if r.kind == "band"]
    total = sum(transplant(a, b, r).array - a.array for r in bands)
    assert np.allclose(total, b.array - a.array, atol=1e-4)
    swapped = transplant(a, b, bands[0]).array + transplant(b, a, bands[0]).array
    assert np.allclose(swapped, a.array + b.array, atol=1e-4)


def test_the_bands_and_patches_cover_an_image_once():
    x = from_native(np.random.default_rng(0).normal(size=(20, 3, 12, 10)).astype(np.float32))
    found = regions(x, np.arange(20) % 2)
    patches = np.concatenate([r.cells for r in found if r.kind == "patch"])
    assert sorted(patches.tolist()) == list(range(360))
    bands = np.concatenate([r.cells for r in found if r.kind == "band"])
    assert sorted(bands.tolist()) == list(range(3 * 12 * 6))


def test_reliance_on_a_linear_model_is_what_counting_says():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, size=(3000, 3)).astype(float)
    y = x[:, 0].astype(int)
    model = classifier(lambda z: np.c_[1 - z[:, 0], z[:, 0]] * 4)  # column 0 decides
    found = feature_reliance(model, from_native(x), y, column(0, 3), rng)
    assert found.randomized.mean() == pytest.approx(0.5, abs=0.03)  # two equal classes
    assert found.alone.all() and np.array_equal(found.swapped, found.donors)
    idle = feature_reliance(model, from_native(x), y, column(2, 3), rng)
    assert idle.randomized.all() and (idle.swapped == y).all()


def test_columns_of_a_group_stay_together_when_shuffled():
    rng = np.random.default_rng(2)
    z = rng.integers(0, 2, 2000).astype(float)
    x = np.c_[z, z, rng.normal(size=2000)]  # the model sees only whether both agree
    model = classifier(lambda a: np.c_[a[:, 0] != a[:, 1], a[:, 0] == a[:, 1]] * 4.0)
    y = np.r_[1, 0, np.ones(1998, int)]
    both = Region("", "columns", "input", (0, 1), 2 / 3)
    kept = feature_reliance(model, from_native(x), y, both, rng).randomized.mean()
    one = feature_reliance(model, from_native(x), y, column(0, 3), rng).randomized.mean()
    assert kept > 0.99 and one < 0.55


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=50), st.integers(0, 99))
def test_conflicting_donors_are_of_another_class(labels, seed):
    y = np.array([0, 1, *labels])
    assert (y[conflicting(y, np.random.default_rng(seed))] != y).all()


def test_one_class_is_refused():
    x, rng = from_native(np.zeros((5, 2))), np.random.default_rng(0)
    with pytest.raises(InputError, match="one class"):
        feature_reliance(classifier(lambda z: z), x, np.zeros(5, int), column(0, 2), rng)
    with pytest.raises(InputError, match="token"):
        import torch

        regions(from_native(torch.zeros(4, 3, dtype=torch.int64)), np.arange(4) % 2)


def test_information_is_eta_squared():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(90, 2, 1)), np.arange(90) % 3
    x[:, 1, 0] += y
    ratio = information(x, y)
    for j in range(2):
        means = np.array([x[y == k, j].mean() for k in range(3)])
        assert ratio[j] == pytest.approx(means.var() / x[:, j].var())


def test_a_mark_is_unbound_and_a_measurement_is_bound():
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, 600)
    size = rng.normal(size=600) + y
    rest = np.c_[size + 0.3 * rng.normal(size=600), rng.normal(size=600)]
    mark = np.where(rng.random(600) < 0.8, y, rng.integers(0, 3, 600))[:, None].astype(float)
    assert bound_within_classes(mark, rest, y, 0) < 0.1
    assert bound_within_classes(size[:, None], rest, y, 0) > 0.4
    assert bound_within_classes(np.eye(3)[y], rest, y, 0) == 0.0  # says the class and no more


def test_a_probe_reads_codes_in_any_order():
    rng = np.random.default_rng(5)
    y = rng.integers(0, 5, 500)
    code = np.array([3.0, 0.0, 4.0, 1.0, 2.0])[y][:, None]
    probe = region_probe(code[:400], y[:400], {"test": code[400:]}, 0)
    assert (probe.answers["test"] == y[400:]).all()
    assert probe.out_of_bag[np.arange(400), y[:400]].mean() > 0.95


def test_text_columns_become_codes_and_named_inputs_regions():
    pd = pytest.importorskip("pandas")
    frame = from_native(pd.DataFrame({"age": [1.0, 2, 3, 4], "sex": ["f", "m", "f", "m"]}))
    assert coordinates(frame, "input")[:, 1, 0].tolist() == [0, 1, 0, 1]
    names = [r.name for r in regions(frame, np.array([0, 1, 0, 1]))]
    assert names[0] == "column sex"  # the one that tells the class comes first
    donor = frame.take(np.array([1, 0, 3, 2]))
    mixed = transplant(frame, donor, regions(frame, np.array([0, 1, 0, 1]))[0])
    assert mixed.native()["sex"].tolist() == ["m", "f", "m", "f"]
    assert mixed.native()["age"].tolist() == [1, 2, 3, 4]


def seen(swap=0.2, alone=0.9, rest=0.9, bound=0.0, broken=()):
    i = Interval(swap, swap - 0.03, swap + 0.03, 300)
    return Evidence(i, i, i, i, alone, rest, bound, broken)


def test_the_rule_needs_every_part_of_the_evidence():
    tied = [seen(alone=0.6, bound=0.5) for _ in range(3)]

    def verdict(one, others=tied, kind="column", share=0.05):
        return is_cue(one, others, kind, share, Thresholds())

    assert verdict(seen())
    assert not verdict(seen(swap=0.01))  # not used
    assert not verdict(seen(alone=0.4)) and verdict(seen(alone=0.4, broken=("shifted/a",)))
    assert not verdict(seen(rest=0.1))  # a column that nothing replaces is the task itself
    assert verdict(seen(rest=0.1), kind="patch")  # a corner of an image is not
    assert not verdict(seen(bound=0.5))  # hangs together with the rest
    assert not verdict(seen(), share=0.6)
    loose = [seen(alone=0.8, bound=0.0) for _ in range(3)]
    assert not verdict(seen(), loose)  # nothing hangs together: cannot be told
