"""The recipe's numbers at tiny scale, its training, its example and its figure."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from heldout.papers import shortcut_policies as recipe
from heldout.papers._shortcut_policies import answer, sweeps, train

SETTING = recipe.SETTINGS["tiny"]["sweeps"]


@pytest.fixture(scope="module")
def tiny() -> dict[str, float]:
    return recipe.run("diversity_helps", "tiny", 7)


def test_every_number_that_claims_need(tiny: dict[str, float]) -> None:
    for claim in recipe.CLAIMS:
        assert {claim.metric} | {c.metric for c in claim.controls} <= set(tiny), claim.id
    assert all(isinstance(v, float) and np.isfinite(v) for v in tiny.values())
    assert all(s["sweeps"].keys() == SETTING.keys() for s in recipe.SETTINGS.values())


def test_what_needs_no_long_training(tiny: dict[str, float]) -> None:
    assert tiny["nmi_off"] < 0.03 and tiny["nmi_change/disparity"] < 0.02
    assert tiny["nmi/disparity@0"] < 0.05 and abs(tiny["islands/disparity@0"]) < 0.02
    assert tiny["ood/disparity@0.8"] < tiny["ood/disparity@0"]
    assert tiny["ood/bridge@0"] == tiny["ood/augmentation@0"] == tiny["ood/disparity@0.4"]


def test_networks_trained_together_equal_one_trained_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 40, 5)).astype(np.float32)
    y = rng.normal(size=(3, 40, 3))
    given = SETTING | {"steps": 20, "hidden": [8]}
    together, alone = train(x, y, given, 1), train(x[1:2], y[1:2], given, 1)
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[1:2], b, atol=1e-5)
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        for layer, k in ((net[0], 0), (net[2], 2)):
            layer.weight.copy_(alone[k][0].T)
            layer.bias.copy_(alone[k + 1][0, 0])
        assert torch.allclose(net(torch.tensor(x[1])), answer(alone, torch.tensor(x[1:2]))[0])


def test_settings_cover_the_published_ranges() -> None:
    found = {s.key: s for s in sweeps(SETTING)}
    assert found["inward@0.45"].ranges[0] == pytest.approx((0.2, 0.65))
    assert found["inward@0.45"].ranges[1] == pytest.approx((0.35, 0.8))
    assert found["disparity@0.6"].other == pytest.approx((0.2, 0.8))


def test_example_runs() -> None:
    names: dict[str, Any] = {}
    exec(recipe.EXAMPLE, names)
    assert names["answer"] == "islands 0.92, follows 100%"


def test_figure(tiny: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    seeds = [{"seed": 0, "metrics": tiny}, {"seed": 1, "error": "stopped"}]
    ax = Figure().subplots()
    assert recipe.plot({"diversity_helps": {"seeds": seeds}}, ax) is ax
    panels = [a for a in ax.figure.axes if a.axison]
    assert len(panels) == 4
    legends = [a.get_legend() for a in ax.figure.axes if a.get_legend()]
    assert len(legends) == 1 and legends[0].axes not in panels  # above, where no line runs
    drawn = np.asarray(panels[1].lines[0].get_ydata())
    assert drawn[-1] == tiny["ood/disparity@0.8"] and len(drawn) == 7


def test_recipe_imports_no_numpy() -> None:
    code = "import sys, heldout.papers.shortcut_policies; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
