"""The recipe: the toy at tiny scale, and the released files' reader on files made up here."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from heldout.core.errors import InputError
from heldout.data.frequency.law import frequency_law
from heldout.papers import clip_concepts as recipe
from heldout.papers._clip_concepts_released import classes, released
from heldout.papers.planning import plan
from heldout.papers.runner import reproduce


@pytest.fixture(scope="module")
def tiny() -> dict[str, float]:
    return recipe.run("toy_trend", "tiny", 7)


def made_up(root: Path) -> Path:
    """Files as the authors release them: 30 classes in each of 18 sets, slope 8 a decade."""
    rng = np.random.default_rng(0)
    for part in ("search_counts", "zero_shot_evaluations"):
        (root / part).mkdir()
    settings = recipe.SETTINGS["full"]
    for name in settings["sets"]:
        labels = [f"{name}_{i}" for i in range(29)] + ["airplane"]
        accuracies = {}
        for model, corpus in settings["models"]:
            counts = np.floor(10 ** rng.uniform(-1, 5, 30))
            y = 20 + 8 * np.log10(np.maximum(counts, 1)) + 15 * rng.normal(size=30)
            path = (
                root
                / "search_counts"
                / (f"{name}_{corpus}_integrated_tlemmatized_i0.7_search_counts.json")
            )
            if path.exists():
                counts = np.array(list(json.loads(path.read_text()).values()))
                y = 20 + 8 * np.log10(np.maximum(counts, 1)) + 15 * rng.normal(size=30)
            path.write_text(json.dumps(dict(zip(labels, counts.astype(int).tolist(), strict=True))))
            own = ["plane" if n == "airplane" and name == "cifar10" else n for n in labels]
            found = dict(reversed(list(zip(own, y.tolist(), strict=True))))
            accuracies[f"backbone{model}_pretrained{corpus}"] = {"full": 0.0, "classwise": found}
        path = root / "zero_shot_evaluations" / f"{name}_ensemble_results.json"
        path.write_text(json.dumps(accuracies))
    return root


def test_toy_has_what_its_claims_need_and_is_deterministic(tiny: dict[str, float]) -> None:
    for claim in recipe.CLAIMS:
        if claim.group == "toy":
            assert {claim.metric, *(c.metric for c in claim.controls)} <= set(tiny), claim.id
    assert all(np.isfinite(v) for v in tiny.values())
    assert recipe.run("toy_trend", "tiny", 7) == tiny


def test_released_files_are_joined_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made_up(tmp_path)
    monkeypatch.setenv("HELDOUT_DATA", str(root))
    settings = recipe.SETTINGS["full"] | {"draws": 20}
    found = released(settings, 0)
    for claim in recipe.CLAIMS:
        if claim.group == "released":
            assert {claim.metric, *(c.metric for c in claim.controls)} <= set(found), claim.id
    assert found["classes/RN50/cc3m"] == 18 * 30
    assert found["slope/RN50/cc3m"] == pytest.approx(8, abs=2)
    counts, scores, groups, chance = classes(root, settings["sets"], "RN50", "cc3m")
    law = frequency_law(counts, scores, groups, draws=0)
    assert found["binned_r/RN50/cc3m"] == law.binned_r.value and chance == pytest.approx(100 / 30)
    axes = plt.figure().subplots()
    record = {"seeds": [{"seed": 0, "metrics": found}]}
    lines = recipe.plot({"released_trend": record}, axes).get_lines()
    assert len(lines) == 10
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 10 and len({line.get_color() for line in lines}) == 4
    plt.close("all")


def test_bad_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe.SETTINGS["full"]
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    with pytest.raises(InputError, match="--data"):
        released(settings, 0)
    monkeypatch.setenv("HELDOUT_DATA", str(tmp_path))
    with pytest.raises(InputError, match="search_counts"):
        released(settings, 0)
    root = made_up(tmp_path)
    path = next((root / "search_counts").glob("dtd_cc3m_*"))
    content = json.loads(path.read_text())
    content.pop("airplane")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="dtd, cc3m.*airplane"):
        released(settings, 0)
    path.write_text("{")
    with pytest.raises(InputError, match="dtd_cc3m"):
        released(settings, 0)


def test_each_scale_has_its_own_runs_and_data_reaches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = plan(["clip_concepts"], scale="small", out=tmp_path / "out")
    assert [w.group.name for w in small.works] == ["toy"] and "only full" in small.notes[0]
    monkeypatch.delenv("HELDOUT_DATA", raising=False)
    root = tmp_path / "data"
    root.mkdir()
    made_up(root)
    made = reproduce(
        ["clip_concepts"], scale="full", seeds=3, out=tmp_path / "out", data=root,
        claims=["released_slope"],
    )  # fmt: skip
    assert all("metrics" in s for s in made[0]["seeds"])
    assert str(tmp_path) not in json.dumps(made)
    with pytest.raises(InputError, match="no folder"):
        plan(["clip_concepts"], scale="full", out=tmp_path / "out", data=tmp_path / "none")


def test_figure_of_the_toy(tiny: dict[str, float]) -> None:
    axes = plt.figure().subplots()
    seeds = [{"seed": 0, "metrics": tiny}, {"seed": 1, "error": "stopped"}]
    lines = recipe.plot({"toy_trend": {"seeds": seeds}}, axes).get_lines()
    assert len(lines) == 1 and len(lines[0].get_xdata()) >= 5
    plt.close("all")
