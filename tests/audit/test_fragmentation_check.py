"""The fragmentation check: islands that give labels away, and each half of that alone."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.audit.artifacts import VERSION, Artifacts
from heldout.audit.checks import fragmentation
from heldout.audit.result import NotApplicableError, SkippedError


def made(tmp_path, x, y, seed=0, **groups):
    stored = {
        "logits": np.eye(4, dtype=np.float32)[y], "features": x.astype(np.float32), "labels": y,
        "index": np.arange(len(y)),
    }  # fmt: skip
    stored |= {f"group/{k}": np.asarray(v, dtype=np.str_) for k, v in groups.items()}
    names = [f"c{k}" for k in range(4)]
    manifest = {"version": VERSION, "class_names": names, "splits": ["train", "test"]}
    found = Artifacts(tmp_path, manifest | {"settings": {"seed": seed}})
    found.keep("predictions/train", lambda: stored)
    return found


def world(rng, own=0.9, apart=2.0, n=400):
    """Four classes, two sites; `own` of a class is from its site, sites lie `apart`."""
    y = rng.integers(0, 4, n)
    site = np.where(rng.random(n) < own, y // 2, 1 - y // 2)
    x = rng.normal(size=(n, 6)) + 5 * np.eye(6)[y] + apart * site[:, None] * np.eye(6)[5]
    return x, y, np.array(["north", "south"])[site]


def test_islands_that_give_labels_away_warn_with_what_to_do(tmp_path):
    x, y, site = world(np.random.default_rng(0))
    finding = fragmentation.run(made(tmp_path, x, y, site=site))
    assert finding.status == "warning" and "2 sources of site" in finding.reason
    assert finding.numbers["island_score/site"].ci_low > 0.05
    assert finding.numbers["information/site"].ci_low > 0.1
    assert "fill_gap" in finding.actions[0].code and finding.evidence > 0
    assert [r[1] for r in finding.tables[0].rows] == ["north", "south"]


@pytest.mark.parametrize(("own", "apart", "why"), [
    (0.5, 2.0, "labels do not depend"),
    (0.9, 0.0, "they look alike"),
    (0.5, 0.0, "look alike and have the same labels"),
])  # fmt: skip
def test_one_half_alone_does_no_harm(tmp_path, own, apart, why):
    x, y, site = world(np.random.default_rng(1), own, apart)
    finding = fragmentation.run(made(tmp_path, x, y, site=site))
    assert finding.status == "passed" and why in finding.reason
    assert not finding.actions and finding.evidence == 0


def test_random_groups_are_no_islands(tmp_path):
    alarms = 0
    for k in range(20):
        rng = np.random.default_rng(k)
        x, y, _ = world(rng, n=200)
        site = rng.integers(0, 2, 200)
        alarms += fragmentation.run(made(tmp_path / str(k), x, y, k, site=site)).status != "passed"
    assert alarms <= 1


def test_the_same_islands_with_shuffled_labels_pass(tmp_path):
    rng = np.random.default_rng(2)
    x, y, site = world(rng)
    finding = fragmentation.run(made(tmp_path, x, rng.permutation(y), site=site))
    assert finding.status == "passed"


def test_the_guilty_grouping_is_named_among_harmless_ones(tmp_path):
    rng = np.random.default_rng(3)
    x, y, site = world(rng)
    others = {"day": rng.integers(0, 3, 400), "id": np.arange(400)}
    finding = fragmentation.run(made(tmp_path, x, y, site=site, **others))
    assert finding.status == "warning" and [a.id for a in finding.actions] == [
        "fragmentation.bridge.site"
    ]
    assert "id: not judged" in finding.tables[0].note


def test_what_cannot_be_asked(tmp_path):
    x, y, _ = world(np.random.default_rng(4))
    with pytest.raises(NotApplicableError, match="groups"):
        fragmentation.run(made(tmp_path / "a", x, y))
    with pytest.raises(SkippedError, match="share too few labels"):
        fragmentation.run(made(tmp_path / "b", x, y, site=y))
    with pytest.raises(SkippedError, match="fewer than two sources"):
        fragmentation.run(made(tmp_path / "c", x, y, site=np.zeros(400, int)))
