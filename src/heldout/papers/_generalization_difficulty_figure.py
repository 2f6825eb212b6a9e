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
    "gap": ("spheres", "classes a gap apart"),
    "touching": ("spheres", "classes touch"),
    "bits/noise": ("noise", "digits"),
}


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
    """Draw the three panels in place of `ax`."""
    found = means(records)
    ax.set_axis_off()
    boxes = ((0.0, "benchmarks"), (0.4, "spheres"), (0.73, "noise"))
    panels = {name: ax.inset_axes((left, 0.12, 0.26, 0.8)) for left, name in boxes}
    bars = {label: found[f"log10/{k}"] for k, label in _BARS.items() if f"log10/{k}" in found}
    rows = range(len(bars))
    panels["benchmarks"].barh(rows, list(bars.values()), color="C0")
    panels["benchmarks"].set_yticks(rows, list(bars), fontsize="x-small")
    panels["benchmarks"].invert_yaxis()
    for name, (panel, label) in _LINES.items():
        steps, values = curve(found, name)
        if steps:
            panels[panel].plot(steps, values, marker="o", label=label)
    panels["spheres"].set(xlabel="dimension of the sphere", ylabel="log10 bits")
    panels["noise"].set(xlabel="noise on pixels in 0..1", ylabel="log10 bits")
    panels["benchmarks"].set(xlabel="log10 bits")
    for name in ("spheres", "noise"):
        if panels[name].lines:
            panels[name].legend(fontsize="x-small")
    for name, title in {"benchmarks": "stated constants", "noise": "digits, noisier"}.items():
        panels[name].set_title(title, fontsize="small")
    panels["spheres"].set_title("measured on spheres", fontsize="small")
    return ax
