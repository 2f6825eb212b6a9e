"""The recipe: stacked training against torch's own, its numbers at tiny scale, its table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from heldout.papers import no_tight_bounds as recipe
from heldout.papers._no_tight_bounds_sweep import Data, Runs, _initial, _Stack, load, measure
from heldout.papers._no_tight_bounds_table import COLUMNS, markdown, measure_table
from heldout.papers.verdict import judge


def blobs(n=40, d=5, classes=3):
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[np.arange(n), y] += 3
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    return Data(x, y, x, y, classes)


def test_a_stack_trains_as_torch_trains_one_network():
    data, rates = blobs(), [0.02, 0.05]
    start = _initial([5, 8, 8, 3], 2, 0)
    stack = _Stack(start, data, rates, 16, torch.Generator().manual_seed(3))
    stack._epoch(40)
    generator = torch.Generator().manual_seed(3)
    orders = [torch.randperm(40, generator=generator) for _ in rates]
    for k, rate in enumerate(rates):
        w = [p[k].clone().requires_grad_(True) for p in start]
        optimizer = torch.optim.SGD(w, lr=rate, momentum=0.9)
        for rows in orders[k].split(16):
            h = torch.relu(data.x[rows] @ w[0] + w[1])
            h = torch.relu(h @ w[2] + w[3]) @ w[4] + w[5]
            optimizer.zero_grad()
            nn.functional.cross_entropy(h, data.y[rows]).backward()
            optimizer.step()
        for mine, theirs in zip(stack.net, w, strict=True):
            assert torch.allclose(mine[k], theirs, atol=1e-5)


def test_only_networks_at_the_common_loss_are_kept_and_measured_as_they_are():
    data = blobs()
    start = _initial([5, 16, 3], 3, 0)
    stack = _Stack(start, data, [0.05, 1e-9, 0.05], 8, torch.Generator().manual_seed(0))
    done = stack.train(0.05, 60)
    assert sorted(done) == [0, 2]
    given = {"loss": 0.05, "draws": 2, "steps": 2, "tolerance": 0.5}
    found = Runs([], [], [])
    weights, history = done[0]
    measure(found, [5, 16, 3], [w[0] for w in start], weights, data, history, given)
    values = found.values[0]
    moved = sum(float((weights[i] - start[i][0]).square().sum()) for i in (0, 2))
    assert values["fro_dist"] == pytest.approx(moved, rel=1e-5)
    assert values["steps_to_ce_0.1"] == next(s for s, v in history if v <= 0.1)
    assert found.gaps[0][0] == 0.0  # the same rows on both sides


@pytest.mark.parametrize("name, classes", [("digits", 10), ("photographs", 2)])
def test_data_have_a_tenth_of_wrong_labels_on_both_sides(name, classes):
    data, clean = load(name, 400, 0.1, 0), load(name, 400, 0.0, 0)
    assert data.classes == classes and torch.equal(data.x, clean.x)
    for noisy, true in ((data.y, clean.y), (data.y_test, clean.y_test)):
        assert 0.06 < float((noisy != true).double().mean()) < 0.14
    assert not torch.equal(load(name, 400, 0.1, 1).x, data.x)


@pytest.fixture(scope="module")
def tiny():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {g: recipe.run(c, "tiny", 7) for g, c in
                (("exact", "parity_closed_form"), ("sweep", "flatness_ranks"))}  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def records(tiny):
    return {
        c.id: {"seeds": [{"seed": s, "metrics": tiny[c.group], "wall_s": 1.0} for s in range(3)]}
        for c in recipe.CLAIMS
    }


def test_every_claim_and_control_has_its_number(tiny):
    for claim in recipe.CLAIMS:
        found = tiny[claim.group]
        assert math.isfinite(found[claim.metric])
        assert all(math.isfinite(found[c.metric]) for c in claim.controls)
        assert judge(claim, "tiny", records(tiny)[claim.id]["seeds"]).word == "toy"
    assert tiny["exact"]["parity/apart"] < 0.05
    assert tiny["sweep"]["models"] > 4
    assert recipe.run("parity_closed_form", "tiny", 7) == tiny["exact"]


def test_the_table_has_every_measure_of_both_data_sets(tiny):
    rows = measure_table(records(tiny))
    assert len(rows) == 2 * (40 + 2)  # and the oracle and random numbers
    assert {r["data"] for r in rows} == {"digits", "photographs"}
    for row in rows:
        for column in COLUMNS:
            key = f"{column}/{row['data']}/{row['measure']}"
            assert row[column] == pytest.approx((tiny["sweep"][key],) * 3)
    assert [r["tau"][0] for r in rows[:42]] == sorted(r["tau"][0] for r in rows[:42])[::-1]
    assert len(markdown(rows).splitlines()) == 2 + len(rows)
    assert measure_table({"a": {"seeds": [{"seed": 0, "error": "x"}]}}) == []


def test_the_figure_shows_the_sweep_or_the_odds(tiny):
    every = records(tiny)
    ax = recipe.plot(every, Figure().subplots())
    assert len(ax.get_yticklabels()) == 42
    only = {k: v for k, v in every.items() if k.startswith("parity")}
    lines = recipe.plot(only, Figure().subplots()).lines
    assert float(lines[0].get_ydata()[0]) == tiny["exact"]["parity/failure@6"]
