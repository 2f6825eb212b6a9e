"""Reliance on parts equals group reliance on arrays, and reads inputs that are no array."""

from dataclasses import replace

import numpy as np
import pytest

from heldout.core.classifier import classifier
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, from_native
from heldout.core.seeds import stream
from heldout.core.statistics import paired_difference
from heldout.dynamics.feature_reliance import group_reliance
from heldout.dynamics.idle_complement import shortcut_report
from heldout.dynamics.part_reliance import part_reliance
from heldout.dynamics.regions import Region

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = np.arange(400) % 2
X[:, 0] += 4 * (2 * Y - 1)
X[:, 1] += 2 * (2 * Y - 1)


def first(x):
    return np.c_[np.zeros(len(x)), x[:, 0]]


def part(*cells):
    return Region("part", "columns", "input", cells, len(cells) / 4)


@pytest.mark.parametrize("metric", ["auc", "accuracy"])
def test_equals_group_reliance_on_the_same_permutations(metric):
    weak = lambda x: np.c_[0 * x[:, 0], x[:, 0] + 2 * x[:, 1] + x[:, 3]]  # noqa: E731
    wanted = group_reliance(weak, X, Y, {"a": [0, 3]}, metric=metric, n_perm=6, seed=2)["a"]
    found = part_reliance(
        classifier(weak), (from_native(X), Y), part(0, 3), stream(2, "group reliance", "a"),
        metric=metric, n_perm=6,
    )  # fmt: skip
    same = replace(found, complement_randomized=wanted.complement_randomized)
    assert same == wanted
    ours, theirs = found.complement_randomized, wanted.complement_randomized
    assert ours.value == pytest.approx(theirs.value) and (ours == theirs) == (metric == "auc")


def test_idle_is_seen_on_few_examples_by_pairs():
    y = np.where(RNG.random(len(Y)) < 0.1, 1 - Y, Y)  # one answer in ten is wrong anyway
    found = part_reliance(
        classifier(first), (from_native(X), y), part(0), np.random.default_rng(0), n_perm=3
    )
    assert 0.85 < found.standard.value < 0.95
    assert found.complement_randomized.value == found.standard.value
    assert found.standard.value - found.complement_randomized.low < 0.011
    assert found.standard.value - found.standard.low > 0.02
    noisy = lambda x: np.c_[0 * x[:, 0], x[:, 0] + 4 * x[:, 2]]  # noqa: E731
    part_of = part_reliance(
        classifier(noisy), (from_native(X), y), part(0), np.random.default_rng(0), n_perm=3
    ).complement_randomized
    change = paired_difference(
        np.array([1.0, 0.0] * 200), np.array([1.0, 1.0] * 200)
    )  # the width of pairs that differ half of the time is an upper bound here
    assert 0 < part_of.high - part_of.low < change.high - change.low


def said(test, train, region=None):
    found = part_reliance(
        classifier(first), (from_native(test[0]), test[1]), region or part(0),
        np.random.default_rng(0), train=(from_native(train[0]), train[1]),
    )  # fmt: skip
    return shortcut_report({"a": found})[0]


def test_words_with_and_without_something_in_the_rest():
    assert said((X[200:], Y[200:]), (X[:200], Y[:200])).word == "shortcut"
    alone = X.copy()
    alone[:, 1] = RNG.normal(size=400)
    assert said((alone[200:], Y[200:]), (alone[:200], Y[:200])).word == "only source"
    assert said((X[200:], Y[200:]), (X[:200], Y[:200]), part(1)).word == "not needed"
    # probes taught the wrong way round find nothing that predicts
    assert said((X[200:], Y[200:]), (X[:200], 1 - Y[:200])).word == "only source"


def test_text_columns_of_a_frame():
    columns = {"city": np.where(Y == 1, "Oslo", "Rome"), "x": X[:, 1], "noise": X[:, 2]}
    inputs = Inputs(columns, "mapping")
    model = classifier(lambda d: np.c_[d["city"] == "Rome", d["city"] == "Oslo"] * 1.0)
    region = Region("column city", "column", "input", (0,), 1 / 3)
    even, odd = np.arange(0, 400, 4), np.arange(1, 400, 2)
    rows = np.r_[even, odd]
    found = part_reliance(
        model, (inputs.take(rows), Y[rows]), region, np.random.default_rng(0),
        train=(inputs.take(rows[::-1]), Y[rows][::-1]), n_perm=5,
    )  # fmt: skip
    assert found.standard.value == 1 == found.probe_group.value
    assert found.complement_randomized.value == 1 and found.randomized.value < 0.65
    assert found.chance == pytest.approx(2 / 3)


def test_refuses():
    for more in ({"n_perm": 0}, {"test": (from_native(X), Y[:9])}, {"metric": "magic"},
                 {"test": (from_native(X[::2]), Y[::2])}):  # fmt: skip
        given = {"test": (from_native(X), Y), "n_perm": 2} | more
        with pytest.raises(InputError, match="expected"):
            part_reliance(
                classifier(first), region=part(0), rng=np.random.default_rng(0), **given
            )  # fmt: skip
