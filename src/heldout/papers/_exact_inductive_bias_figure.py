"""Bits by dimension and by number of training examples, in two panels."""

from __future__ import annotations

from typing import Any

from heldout.papers._generalization_difficulty_figure import curve, means

_LINES = {
    "bits/d": ("dimension", "exact", "-o"),
    "chernoff/d": ("dimension", "Chernoff bound", "--"),
    "fit/d": ("dimension", "chi-square fit", ":s"),
    "bits/n": ("data", "exact, S^6", "-o"),
}


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw both panels in place of `ax`."""
    found = means(records)
    ax.set_axis_off()
    panels = {
        "dimension": ax.inset_axes((0.0, 0.12, 0.44, 0.85)),
        "data": ax.inset_axes((0.56, 0.12, 0.44, 0.85)),
    }
    for name, (panel, label, style) in _LINES.items():
        steps, values = curve(found, name)
        if steps:
            panels[panel].plot(steps, values, style, label=label)
    panels["dimension"].set(xlabel="dimension of the sphere", ylabel="bits")
    panels["data"].set(xlabel="training examples", ylabel="bits", xscale="log")
    for panel in panels.values():
        if panel.lines:
            panel.legend(fontsize="small")
    return ax
