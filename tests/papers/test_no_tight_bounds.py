"""The recipe: stacked training against torch's own, its numbers at tiny scale, its table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from heldout.papers import _no_tight_bounds_sweep as sweeping
from heldout.papers import no_tight_bounds as recipe
from heldout.papers._no_tight_bounds import _environments, _scores
from heldout.papers._no_tight_bounds_data import Data, load
from heldout.papers._no_tight_bounds_sweep import AXES, Runs, _initial, _Stack, measure, sweep
from heldout.papers._no_tight_bounds_table import COLUMNS, measure_table
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
    start = _initial([5, 8, 8, 3], [1.0, 1.0], 0)
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
    start = _initial([5, 16, 3], [1.0] * 3, 0)
    stack = _Stack(start, data, [0.05, 1e-9, 0.05], 8, torch.Generator().manual_seed(0))
    done = stack.train(0.05, 60)
    assert sorted(done) == [0, 2]
    given = {"loss": 0.05, "draws": 2, "steps": 2, "tolerance": 0.5}
    found = Runs([], [], [])
    weights, history = done[0]
    measure(found, [5, 16, 3], [w[0] for w in start], weights, data, history, given)
    values = found.values[0]
    moved = sum(float((weights[i] - start[i][0]).square().sum()) for i in (0, 2))
    # Divided by the number of examples, as in bounds.
    assert values["fro_dist"] == pytest.approx((moved / 40) ** 0.5, rel=1e-5)
    assert values["steps_to_ce_0.1"] == next(s for s, v in history if v <= 0.1)
    assert found.gaps[0][0] == 0.0  # the same rows on both sides


def test_the_spread_multiplies_initial_weights():
    once, thrice = (_initial([5, 16, 3], [k], 0) for k in (1.0, 3.0))
    assert torch.allclose(thrice[0], 3 * once[0]) and torch.allclose(thrice[2], 3 * once[2])
    assert float(once[2].std()) == pytest.approx((2 / 16) ** 0.5, rel=0.3)  # He's


def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    given = {"examples": (20, 40), "width": (8,), "depth": (1,), "batch": (8,), "rate": (0.05,),
             "spread": (1.0, 2.0), "repeats": 1, "loss": 0.1, "updates": 240, "draws": 2,
             "steps": 2, "tolerance": 0.5}  # fmt: skip
    whole = sweep(given, blobs(), 3, "blobs")
    assert len(whole.values) == whole.trained == 4
    assert [dict(zip(AXES, a, strict=True))["examples"] for a in whole.axes] == [20, 20, 40, 40]
    train, calls = sweeping._Stack.train, []

    def killed(self, loss, epochs):
        calls.append(len(self.data.y))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(self, loss, epochs)

    monkeypatch.setattr(sweeping._Stack, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(given, blobs(), 3, "blobs", tmp_path)
    assert sweep(given, blobs(), 3, "blobs", tmp_path) == whole
    assert calls == [20, 40, 40]  # what was finished is not trained again
    sweep(given | {"loss": 0.09}, blobs(), 3, "blobs", tmp_path)
    assert calls == [20, 40, 40, 20, 40]  # and is of no use to other settings


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
    assert 0 <= tiny["sweep"]["axes"] <= 2
    assert recipe.run("parity_closed_form", "tiny", 7) == tiny["exact"]


def test_the_table_has_every_measure_of_both_data_sets(tiny):
    rows = measure_table(records(tiny))
    assert len(rows) == 2 * (32 + 2)  # and the oracle and random numbers
    assert {r["data"] for r in rows} == {"digits", "photographs"}
    for row in rows:
        for column in COLUMNS:
            key = f"{column}/{row['data']}/{row['measure']}"
            assert row[column] == pytest.approx((tiny["sweep"][key],) * 3)
    assert measure_table({"a": {"seeds": [{"seed": 0, "error": "x"}]}}) == []


def made_up():
    """Two measures and the oracle on two data sets; three seeds around known means."""
    tau = {"digits/good": 0.6, "digits/bad": -0.5, "photographs/good": 0.2, "photographs/bad": 0.1,
           "digits/oracle": 0.9, "photographs/oracle": 0.9}  # fmt: skip
    seeds = []
    for off in (-0.1, 0.0, 0.1):
        metrics = {"models": 200.0}
        for key, value in tau.items():
            metrics |= {f"tau/{key}": value + off, f"psi/{key}": value / 2, f"worst_psi/{key}": -1,
                        f"worst_error/{key}": 1.0 if "bad" in key else 0.25,
                        f"environments/{key}": 0.0 if "photo" in key else 7.0}  # fmt: skip
        seeds.append({"seed": len(seeds), "metrics": metrics, "wall_s": 1.0})
    exact = {"seeds": [{"seed": 0, "metrics": {"parity/failure@6": 0.3}, "wall_s": 1.0}]}
    return {"parity_closed_form": exact, "flatness_ranks": {"seeds": seeds}}


def test_the_pages_table_by_hand():
    header, rows = recipe.table(made_up())
    assert header == ["measure", "tau, digits", "tau, photographs", "granulated psi, digits",
                      "granulated psi, photographs", "worst sign error, digits",
                      "worst sign error, photographs"]  # fmt: skip
    assert [r[0] for r in rows] == ["(the gap on half of the test set)", "good", "bad"]
    # Student t of three seeds 0.1 apart: 4.303 * 0.1 / sqrt(3) = 0.248.
    assert rows[1] == ["good", "0.60 [0.35, 0.85]", "0.20 [-0.05, 0.45]", "0.30 [0.30, 0.30]",
                       "0.10 [0.10, 0.10]", "0.25 [0.25, 0.25]", "none"]  # fmt: skip
    assert recipe.table({"parity_closed_form": made_up()["parity_closed_form"]})[1] == []


def test_the_figure_shows_the_sweep_or_the_odds(tiny):
    ax = recipe.plot(made_up(), Figure().subplots())
    ticks = [t.get_text() for t in ax.get_yticklabels()]
    assert ticks == ["bad", "good", "(the gap on half of the test set)"]
    dots = {line.get_label(): line for line in ax.lines}
    assert dots["digits: tau"].get_xdata() == pytest.approx([-0.5, 0.6, 0.9])
    assert dots["digits: worst sign error"].get_xdata() == pytest.approx([1.0, 0.25, 0.25])
    assert "photographs: worst sign error" not in dots  # there was no environment
    only = {k: v for k, v in records(tiny).items() if k.startswith("parity")}
    lines = recipe.plot(only, Figure().subplots()).lines
    assert float(lines[0].get_ydata()[0]) == tiny["exact"]["parity/failure@6"]


def test_scores_of_the_gap_itself_of_its_opposite_and_of_noise():
    rng = np.random.default_rng(0)
    axes = {"width": np.repeat([1, 2, 3, 4], 8), "rate": np.tile(np.repeat([1, 2], 4), 4)}
    gap = 0.2 * axes["width"] + 0.01 * rng.normal(size=32)
    given = {"fewest_pairs": 12.0}
    same, other = (_scores("d/m", k * gap, gap, axes, 1000, given) for k in (1, -1))
    assert same["tau/d/m"] == 1 and same["worst_error/d/m"] == 0 and same["psi/d/m"] == 1
    assert other["tau/d/m"] == -1 and other["worst_error/d/m"] == 1
    assert same["environments/d/m"] == 12  # six pairs of widths at two rates, none of rates
    noise = _scores("d/m", rng.normal(size=32), gap, axes, 1000, given)
    assert abs(noise["tau/d/m"]) < 0.2 and noise["worst_error/d/m"] > 0.5
    assert _environments("d", gap, axes, 1000, given) == {
        "environments_by/d/width": 12, "environments_by/d/rate": 0}  # fmt: skip
    # Gaps that only the number of examples explains leave no rank correlation at all.
    more = _scores(
        "d/m", gap, np.zeros(32), axes | {"examples": np.repeat([1, 2], 16)}, 1000, given
    )
    assert more["tau/d/m"] == 0 and more["environments/d/m"] == 0


def test_rank_correlation_is_among_networks_of_one_training_set():
    axes = {"examples": np.repeat([60, 400], 4), "width": np.tile([1, 2, 3, 4], 2)}
    gap = np.array([5.0, 6, 7, 8, 1, 2, 3, 4]) / 10
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8])  # right in each half, wrong between them
    assert _scores("d/m", values, gap, axes, 1000, {"fewest_pairs": 1.0})["tau/d/m"] == 1


@pytest.mark.parametrize("broken", ["models", "environments", "axes", "worst/oracle"])
def test_a_control_that_is_not_met_leaves_the_verdict_open(broken):
    claim = next(c for c in recipe.CLAIMS if c.id == "every_measure_fails_somewhere")
    good = {"worst/least": 0.95, "models": 150, "environments": 40, "axes": 4, "worst/oracle": 0.3}
    bad = good | {broken: {"models": 90, "environments": 0, "axes": 1, "worst/oracle": 0.8}[broken]}
    words = [
        judge(claim, "small", [{"seed": s, "metrics": m, "wall_s": 1.0} for s in range(3)]).word
        for m in (good, bad)
    ]
    assert words == ["holds", "inconclusive"]
