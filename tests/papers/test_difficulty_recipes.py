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
    drawn = [line for panel in ax.child_axes for line in panel.lines]
    assert len(drawn) >= 3 and all(len(line.get_xdata()) for line in drawn)
    names = {name.rsplit(".", 1)[1]: name.rsplit(".", 1)[0] for name in recipe.PAPER.uses}
    scope = {k: getattr(__import__(m, fromlist=[k]), k) for k, m in names.items()}
    exec(compile(recipe.EXAMPLE, "example", "exec"), scope)


def test_recipes_import_no_torch():
    code = (
        "import sys, heldout.papers.exact_inductive_bias, heldout.papers.generalization_difficulty"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + "; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
