"""Weak groups: the verdict on planted and healthy groups."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import groups


def made(tmp_path, y, predicted, classes=3, **metadata):
    """Artifacts with one-hot logits."""
    logits = 4.0 * np.eye(classes, dtype=np.float32)[predicted]
    stored = {"logits": logits, "labels": y, "index": np.arange(len(y)) + 100}
    stored |= {f"group/{k}": np.asarray(v, dtype=np.str_) for k, v in metadata.items()}
    names = [f"c{k}" for k in range(classes)]
    found = Artifacts(
        tmp_path, {"version": VERSION, "class_names": names, "splits": ["train", "test"]}
    )
    found.keep("predictions/test", lambda: stored)
    found.keep("predictions/train", lambda: stored)
    return found


def noisy(y, error, rng, classes=3, to=None):
    wrong = rng.random(len(y)) < error
    other = (y + rng.integers(1, classes, len(y))) % classes if to is None else np.full(len(y), to)
    return np.where(wrong, other, y)


def test_a_weak_class_is_named_with_what_it_is_mistaken_for(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    predicted = np.where(y == 1, noisy(y, 0.5, rng, to=2), noisy(y, 0.03, rng))
    finding = groups.run(made(tmp_path, y, predicted))
    assert finding.status == "failed"
    assert "class c1" in finding.reason and "mostly mistaken for c2" in finding.reason
    assert finding.numbers["class/c1"].value == pytest.approx((predicted == y)[y == 1].mean())
    assert {e.index for e in finding.examples} == set(
        (np.flatnonzero((y == 1) & (predicted != 1)) + 100).tolist()
    )
    assert finding.actions[0].gain is not None and "y_train == 1" in finding.actions[0].code


def test_a_weak_intersection_is_found_where_neither_side_alone_says_why(tmp_path):
    rng = np.random.default_rng(1)
    y, site = rng.integers(0, 3, 2000), rng.integers(0, 4, 2000)
    bad = (y == 0) & (site == 3)
    predicted = np.where(bad, noisy(y, 0.6, rng), noisy(y, 0.05, rng))
    finding = groups.run(made(tmp_path, y, predicted, site=site))
    worst = finding.tables[0].rows[0][0]
    assert worst == "class x site c0 & 3" and finding.status == "failed"


def test_a_tiny_group_that_is_all_wrong_does_not_warn(tmp_path):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 400)
    site = np.where(np.arange(400) < 4, "rare", "common")
    predicted = np.where(site == "rare", (y + 1) % 3, y)
    finding = groups.run(made(tmp_path, y, predicted, site=site))
    assert finding.status == "passed" and "too small to judge" in finding.reason


def test_numeric_metadata_are_cut_into_quartiles_and_identifiers_are_left_alone(tmp_path):
    rng = np.random.default_rng(5)
    y, age = rng.integers(0, 3, 800), rng.uniform(20, 80, 800)
    predicted = np.where(age > 65, noisy(y, 0.4, rng), y)
    names = [f"patient-{i}" for i in range(800)]
    finding = groups.run(made(tmp_path, y, predicted, age=age, patient=names))
    assert finding.status in ("warning", "failed")
    assert finding.tables[0].rows[0][0].startswith(("age", "class x age"))
    assert not any("patient" in name for name in finding.numbers)
