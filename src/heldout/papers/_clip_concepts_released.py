"""The authors' released counts and accuracies, read from a folder that is not shipped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.data.frequency.law import frequency_law

VARIABLE = "HELDOUT_DATA"
CODE = "bethgelab/frequency_determines_performance"


def released(settings: dict[str, Any], seed: int) -> dict[str, float]:
    """Relate counts to accuracies for every model and the data it was trained on."""
    root = folder()
    found: dict[str, float] = {}
    for model, corpus in settings["models"]:
        counts, scores, groups, chance = classes(root, settings["sets"], model, corpus)
        laion = corpus.startswith("laion")
        law = frequency_law(
            counts, scores, groups, drop=(2, 1) if laion else (1, 1), chance=chance,
            draws=settings["draws"], seed=seed,
        )  # fmt: skip
        name = f"{model}/{corpus}"
        assert law.within_group_r is not None
        found |= {
            f"binned_r/{name}": law.binned_r.value,
            f"raw_r/{name}": law.raw_r.value,
            f"explained/{name}": law.explained,
            f"within_r/{name}": law.within_group_r.value,
            f"within_r_low/{name}": law.within_group_r.low,
            f"slope/{name}": law.slope_per_decade.value,
            f"slope_low/{name}": law.slope_per_decade.low,
            f"zero_mean/{name}": law.zero_bin_mean.value,
            f"zero_share/{name}": law.zero_share,
            f"excess_r/{name}": law.binned_r.value - law.raw_r.value,
            f"classes/{name}": float(len(counts)),
            f"zero_over_chance/{name}": law.zero_bin_mean.value / chance,
        }
        for x, y in zip(law.bin_counts, law.bin_means, strict=True):
            if np.isfinite(y):
                found[f"accuracy/{name}@{x:.6g}"] = float(y)
    return found | _summary(found)


def _summary(found: dict[str, float]) -> dict[str, float]:
    def over(name: str) -> list[float]:
        return [v for k, v in found.items() if k.startswith(f"{name}/") and "@" not in k]

    return {
        "least_binned_r": min(over("binned_r")),
        "least_slope_low": min(over("slope_low")),
        "least_within_r_low": min(over("within_r_low")),
        "most_explained": max(over("explained")),
        "least_excess_r": min(over("excess_r")),
        "most_zero_over_chance": max(over("zero_over_chance")),
        "least_classes": min(over("classes")),
    }


def folder() -> Path:
    """Return the folder of the released files.

    Raises:
        InputError: none is named, or it lacks the two folders.
    """
    named = os.environ.get(VARIABLE)
    hint = "heldout reproduce clip_concepts --scale full --data FOLDER"
    if not named:
        raise InputError("no folder of data", f"the files of github.com/{CODE}", hint)
    root = Path(named)
    missing = [n for n in ("search_counts", "zero_shot_evaluations") if not (root / n).is_dir()]
    if missing:
        raise InputError(
            f"a folder without {' and '.join(missing)}", f"the files of github.com/{CODE}", hint
        )
    return root


def classes(
    root: Path, sets: list[str], model: str, corpus: str
) -> tuple[list[float], list[float], list[str], float]:
    """Return count, accuracy (0-100) and data set of every class, and the mean of chance.

    Counts are of pairs found by caption and by image tag (threshold 0.7), accuracies of zero-shot
    classification with ensembled prompts.

    Raises:
        InputError: a file or model is missing, or its classes are not those of the counts.
    """
    counts: list[float] = []
    scores: list[float] = []
    groups: list[str] = []
    chance: list[float] = []
    for name in sets:
        seen = _read(
            root
            / "search_counts"
            / f"{name}_{corpus}_integrated_tlemmatized_i0.7_search_counts.json"
        )
        every = _read(root / "zero_shot_evaluations" / f"{name}_ensemble_results.json")
        key = f"backbone{model}_pretrained{corpus}"
        if key not in every:
            raise InputError(f"{name}: no model {key}", "accuracies of it", "fetch the files again")
        found = dict(every[key]["classwise"])
        if name == "cifar10" and "plane" in found:
            found["airplane"] = found.pop("plane")  # the two files name this class differently
        if found.keys() != seen.keys():
            apart = sorted(found.keys() ^ seen.keys())
            raise InputError(
                f"{name}, {corpus}: classes on one side only, such as {apart[0]}",
                "counts and accuracies of the same classes", "fetch the files again",
            )  # fmt: skip
        for label in sorted(seen):
            counts.append(float(seen[label]))
            scores.append(float(found[label]))
            groups.append(name)
            chance.append(100 / len(seen))
    return counts, scores, groups, float(np.mean(chance))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.name}: {type(error).__name__}", "a file of the release", "fetch it again"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name}: no object", "a file of the release", "fetch it again")
    return found
