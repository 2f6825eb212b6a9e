"""Worlds of islands: where views come from, what changes with them, and planted sites."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.bench.islands import island_world
from heldout.bench.zoo_islands import DEFECTS, pooled
from heldout.core.errors import InputError

WORLD = island_world(3)
RANGES = ((0.1, 0.2), (0.7, 0.9))


def test_islands_see_their_own_range_and_bridges_everything_between():
    data = WORLD.sample(2000, RANGES)
    for k, (low, high) in enumerate(RANGES):
        view = data.view[WORLD.island[data.task] == k]
        assert low <= view.min() < low + 0.01 and high - 0.01 < view.max() <= high
    assert (np.sign(WORLD.actions[:, 0]) == 2 * WORLD.island - 1).all()
    bridged = WORLD.sample(2000, RANGES, bridge=0.4).view
    between = (bridged > 0.2) & (bridged < 0.7)
    assert between.mean() == pytest.approx(0.4 * 0.5 / 0.8, abs=0.03)


def test_another_view_moves_only_the_views_channels_and_can_be_undone():
    data = WORLD.sample(50, RANGES)
    moved = WORLD.seen_from(data.x, 1 - data.view, data.view)
    assert (moved[:, :-2] == data.x[:, :-2]).all() and (moved[:, -2:] != data.x[:, -2:]).any()
    assert np.allclose(WORLD.seen_from(moved, data.view, 1 - data.view), data.x, atol=1e-5)
    assert np.allclose(np.linalg.norm(data.x[:, -2:], axis=1), WORLD.amplitude, rtol=1e-5)


def test_refused():
    with pytest.raises(InputError, match="low <= high"):
        WORLD.sample(10, ((0.5, 0.2), (0.6, 0.7)))
    with pytest.raises(InputError, match="even number"):
        island_world(tasks=5)


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_sites_are_followed_only_where_they_are_islands_with_labels(defect):
    rng = np.random.default_rng(0)
    y, yt = rng.integers(0, 4, 400), rng.integers(0, 4, 200)
    centres = 1.5 * np.eye(4, 6)
    x, xt = (centres[k] + rng.normal(size=(len(k), 6)) for k in (y, yt))
    made = pooled(defect, (x.astype("f4"), y), (xt.astype("f4"), yt), seed=1)
    assert made.truth["present"] == float(defect == "islands")
    site = made.arguments["groups"]["train"]["site"]
    tied = abs(np.corrcoef(site == "south", y >= 2)[0, 1])
    # 90 % of a class from its own site: correlation 0.9 - 0.1, give or take four deviations
    assert abs(tied - (0.0 if defect == "balanced_islands" else 0.8)) < 0.2
