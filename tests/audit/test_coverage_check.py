"""The coverage check: planted rare classes are found, frequency without effect is not."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import coverage
from heldout.audit.result import NotApplicableError


def artifacts_of(tmp_path, counts, rates, tested=60, groups=None, seed=0, exact=False):
    """Predictions with a given accuracy for each class; wrong ones go to the next class."""
    rng = np.random.default_rng(seed)
    k = len(counts)
    train, test = np.repeat(np.arange(k), counts), np.repeat(np.arange(k), tested)
    right = rng.random(len(test)) < np.asarray(rates)[test]
    if exact:
        right = np.tile(np.arange(tested), k) < np.round(np.asarray(rates)[test] * tested)
    said = np.where(right, test, (test + 1) % k)
    made = Artifacts(
        tmp_path,
        {"version": VERSION, "settings": {"seed": 0}, "class_names": [f"c{i}" for i in range(k)],
         "splits": ["train", "test"], "has_fit": False},
    )  # fmt: skip
    for split, labels, logits in (
        ("train", train, np.eye(k)[train]),
        ("test", test, np.eye(k)[said]),
    ):
        stored = {"logits": 5 * logits, "labels": labels, "index": np.arange(len(labels))}
        if groups is not None:
            stored["group/site"] = groups[split]
        made.keep(f"predictions/{split}", lambda s=stored: s)
    return made


COUNTS = np.array([1000, 800, 600, 500, 400, 300, 30, 20, 12, 8])


def test_rare_classes_that_are_worse_fail_and_name_an_action(tmp_path):
    rates = np.where(COUNTS < 100, 0.5, 0.95)
    found = coverage.run(artifacts_of(tmp_path, COUNTS, rates))
    assert found.status == "failed" and found.evidence > 10
    assert found.numbers["slope_per_decade"].ci_low > 0
    assert found.numbers["slope_per_decade"].value == pytest.approx(0.25, abs=0.08)
    assert {"'c6'", "'c9'"} <= set(found.actions[0].code.split("[")[1].split("]")[0].split(", "))
    assert found.actions[0].gain.value == pytest.approx(40 * 0.45, abs=5)
    assert [row[4] for row in found.tables[0].rows[:4]] == ["rare"] * 4


def test_a_milder_drop_warns(tmp_path):
    rates = np.where(COUNTS < 100, 0.80, 0.93)
    assert coverage.run(artifacts_of(tmp_path, COUNTS, rates, 80, exact=True)).status == "warning"


@pytest.mark.parametrize("seed", range(8))
def test_no_alarm_without_effect_with_the_sign_swapped_or_with_hard_classes_anywhere(
    tmp_path, seed
):
    rng = np.random.default_rng(seed)
    same = artifacts_of(tmp_path / "a", COUNTS, np.full(10, 0.85), seed=seed)
    swapped = artifacts_of(tmp_path / "b", COUNTS, np.where(COUNTS < 100, 0.95, 0.5), seed=seed)
    hard = np.full(10, 0.95)
    hard[rng.choice(6, 2, replace=False)] = 0.6  # hard ones among the frequent
    anywhere = artifacts_of(tmp_path / "c", COUNTS, hard, seed=seed)
    for artifacts in (same, swapped, anywhere):
        found = coverage.run(artifacts)
        assert found.status == "passed" and not found.actions and found.evidence == 0


def test_false_alarms_on_random_hardness_are_rare():
    # Hard classes at random places: the interval over classes has to cover that.
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        rates = np.clip(rng.normal(0.85, 0.1, 10), 0.3, 1)
        seen = coverage.Seen(
            [str(i) for i in range(10)], rng.permutation(COUNTS), np.full(10, 60),
            rng.binomial(60, rates),
        )  # fmt: skip
        artifacts = type("A", (), {"seed": 0})()
        alarms += coverage._judge(artifacts, "class", seen, 0.95).found
    assert alarms <= 0.05 * 200


def test_not_applicable_when_counts_are_alike(tmp_path):
    with pytest.raises(NotApplicableError, match="decades"):
        coverage.run(artifacts_of(tmp_path, [100, 120, 90, 110], [0.9, 0.5, 0.9, 0.5]))


def test_groups_of_the_user_count_too(tmp_path):
    sites = {
        "train": np.array(["big"] * 380 + ["small"] * 20),
        "test": np.where(np.arange(240) % 2, "big", "small"),
    }
    artifacts = artifacts_of(tmp_path, [200, 200], [0.9, 0.9], 120, sites)
    stored = artifacts.read("predictions/test")
    hurt = (stored["group/site"] == "small") & (np.arange(240) % 4 < 2)
    stored["logits"][hurt] = stored["logits"][hurt][:, ::-1]
    (tmp_path / "predictions" / "test.npz").unlink()
    artifacts.keep("predictions/test", lambda: stored)
    fresh = Artifacts(tmp_path, artifacts.manifest)
    found = coverage.run(fresh)
    assert found.status == "failed" and "small" in found.actions[0].title
