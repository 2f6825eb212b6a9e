"""Both recipes on bits: tiny runs, oracles of their parts, figures and examples."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from heldout.papers import exact_inductive_bias, generalization_difficulty
from heldout.papers._generalization_difficulty import _sphere

RECIPES = (generalization_difficulty, exact_inductive_bias)


@pytest.fixture(scope="module")
def tiny():
    found = {}
    for recipe in RECIPES:
        groups = {c.group: c.id for c in recipe.CLAIMS}
        found[recipe.PAPER.slug] = {g: recipe.run(c, "tiny", 7) for g, c in groups.items()}
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_number_that_claims_need(tiny, recipe):
    assert len({c.id for c in recipe.CLAIMS}) == len(recipe.CLAIMS)
    for claim in recipe.CLAIMS:
        numbers = tiny[recipe.PAPER.slug][claim.group]
        assert {claim.metric} | {c.metric for c in claim.controls} <= set(numbers), claim.id
        assert all(np.isfinite(v) for v in numbers.values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_same_seed_same_numbers(tiny, recipe):
    group = {"generalization_difficulty": "pairs", "exact_inductive_bias": "networks"}
    name = group[recipe.PAPER.slug]
    claim = next(c.id for c in recipe.CLAIMS if c.group == name)
    assert recipe.run(claim, "tiny", 7) == tiny[recipe.PAPER.slug][name]
    assert recipe.run(claim, "tiny", 8) != tiny[recipe.PAPER.slug][name]


def test_published_orders(tiny):
    found = tiny["generalization_difficulty"]["constants"]
    names = ("mnist", "svhn", "cifar10", "imagenet")
    assert [round(found[f"log10/{n}"], 1) for n in names] == [16.2, 31.1, 32.5, 41.6]
    # one more dimension doubles; a fifth finer is a factor of 30,000
    assert 10 ** found["log10/dimension"] == pytest.approx(2.0, abs=0.02)
    assert 10 ** found["log10/finer"] == pytest.approx(3e4, rel=0.05)


def test_samples_are_averaged_and_the_first_is_that_of_one(tiny):
    from heldout.papers._generalization_difficulty import spheres

    given = generalization_difficulty.SETTINGS["tiny"]["spheres"] | {"points": 150}
    one, many = (spheres(given | {"samples": {"gap": 1, "touching": n}}, 7) for n in (1, 3))
    assert one["gap@5"] == many["gap@5"] and one["touching@5"] != many["touching@5"]
    tracked = [abs(many[f"m/touching@{d}"] / d - 1) for d in range(5, 9)]
    assert many["m/worst_touching"] == pytest.approx(max(tracked))
    slope = (many["touching@8"] - many["touching@5"]) / 3
    assert many["touching/per_dimension"] == pytest.approx(slope)


def test_spheres_keep_their_gap():
    x, y = _sphere(4, 300, 0.15, np.random.default_rng(0))
    assert x.shape == (300, 50) and np.linalg.norm(x, axis=1) == pytest.approx(np.ones(300))
    far = np.linalg.norm(x[y == 0][:, None] - x[y == 1][None], axis=2)
    assert far.min() >= 0.3 and np.linalg.matrix_rank(x, tol=1e-8) == 5


@pytest.mark.parametrize("recipe", RECIPES)
def test_figure_and_example(tiny, recipe):
    from matplotlib.figure import Figure

    ids = {c.group: c.id for c in recipe.CLAIMS}
    runs = tiny[recipe.PAPER.slug]
    records = {ids[g]: {"seeds": [{"seed": 0, "metrics": m}]} for g, m in runs.items()}
    ax = Figure().subplots()
    assert recipe.plot(records, ax) is ax
    panels = ax.figure.axes[1:]
    drawn = [line for panel in panels for line in panel.lines]
    assert len(drawn) >= 3 and all(len(line.get_xdata()) for line in drawn)
    assert_nothing_overlaps(ax.figure)
    names = {name.rsplit(".", 1)[1]: name.rsplit(".", 1)[0] for name in recipe.PAPER.uses}
    scope = {k: getattr(__import__(m, fromlist=[k]), k) for k, m in names.items()}
    exec(compile(recipe.EXAMPLE, "example", "exec"), scope)


def assert_nothing_overlaps(figure):
    """Labels of axes and ticks lie apart, within the figure, and in no panel beside theirs."""
    from matplotlib.axes import Axes

    figure.set_size_inches(6.4, 4.2)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    panels = [a for a in figure.findobj(Axes) if a.axison]
    boxes = []
    for panel in panels:
        texts = []
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            texts += [axis.label, *(t.label1 for t in ticks if low <= t.get_loc() <= high)]
        boxes += [(panel, t.get_text(), t.get_window_extent()) for t in texts if t.get_text()]
    for i, (panel, text, box) in enumerate(boxes):
        assert figure.bbox.padded(1).contains(*box.p0) and figure.bbox.padded(1).contains(*box.p1)
        assert not [other for _, other, b in boxes[:i] if box.overlaps(b)], text
        beside = (p for p in panels if p is not panel)
        assert not any(box.overlaps(p.get_window_extent()) for p in beside), text


def test_recipes_import_no_torch():
    code = (
        "import sys, heldout.papers.exact_inductive_bias, heldout.papers.generalization_difficulty"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
