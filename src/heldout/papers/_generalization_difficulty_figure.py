"""Bits by benchmark, by dimension and by noise, in three panels."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

_BARS = {
    "mnist": "MNIST", "svhn": "SVHN", "cifar10": "CIFAR-10", "imagenet": "ImageNet",
    "cartpole@1": "Cartpole", "reacher": "Reacher", "hopper": "Hopper", "cheetah": "Half-Cheetah",
}  # fmt: skip
_LINES = {
    "touching": ("spheres", "classes touch", "C1-s"),
    "gap": ("spheres", "classes a gap apart", "C0-o"),
    "bits/noise": ("noise", "digits", "C0-o"),
}
_FONT = 9.0


def means(records: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the mean over seeds of every number in the records."""
    found = defaultdict(list)
    for record in records.values():
        for seed in record["seeds"]:
            for name, value in seed.get("metrics", {}).items():
                found[name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def curve(found: dict[str, float], name: str) -> tuple[list[float], list[float]]:
    """Return the points of "name@step", by step."""
    steps = sorted(float(k.split("@")[1]) for k in found if k.split("@")[0] == name and "@" in k)
    values = {float(k.split("@")[1]): v for k, v in found.items() if k.startswith(f"{name}@")}
    return steps, [values[s] for s in steps]


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw the panels in place of `ax`: bars on the left, the two curves on the right."""
    found = means(records)
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(2, 2, width_ratios=(1, 1.2))
    bars = ax.figure.add_subplot(grid[:, 0])
    panels = {
        "spheres": ax.figure.add_subplot(grid[0, 1]),
        "noise": ax.figure.add_subplot(grid[1, 1]),
    }
    values = {label: found[f"log10/{k}"] for k, label in _BARS.items() if f"log10/{k}" in found}
    bars.barh(range(len(values)), list(values.values()), color="C0", height=0.6)
    bars.set_yticks(range(len(values)), list(values))
    bars.invert_yaxis()
    for name, (panel, label, style) in _LINES.items():
        steps, curved = curve(found, name)
        if steps:
            panels[panel].plot(steps, curved, style, label=label, markersize=4)
    panels["spheres"].legend(fontsize=_FONT, frameon=False)
    said = {
        "spheres": ("dimension of a sphere", "log10 bits"),
        "noise": ("noise on digits' pixels (0 to 1)", "log10 bits"),
    }
    for name, panel in {**panels, "bars": bars}.items():
        x, y = said.get(name, ("log10 bits, stated constants", ""))
        panel.set_xlabel(x, fontsize=_FONT)
        panel.set_ylabel(y, fontsize=_FONT)
        panel.tick_params(labelsize=_FONT)
    return ax
