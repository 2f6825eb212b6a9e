"""Bits by dimension, training examples, test points and kernel width, in four panels."""

from __future__ import annotations

from typing import Any

from heldout.papers._generalization_difficulty_figure import curve, means

_PANELS = {
    "d": "dimension of the sphere",
    "n": "training examples, 6 dimensions",
    "points": "test points, 8 dimensions",
    "width": "width of the kernel, 8 dimensions",
}
# Blue, orange and black, told apart by marker and dash as well.
_STYLES = {
    "bits": ("exact", {"color": "C0", "marker": "o", "markersize": 4}),
    "fit": ("chi-square fit", {"color": "C1", "marker": "s", "linestyle": ":", "markersize": 5}),
    "chernoff": ("Chernoff bound", {"color": "black", "linestyle": "--", "linewidth": 1}),
}
_FONT = 9.0


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw the panels in place of `ax`."""
    found = means(records)
    ax.set_axis_off()
    grid = ax.get_subplotspec().subgridspec(2, 2)
    for place, (of, label) in zip(grid, _PANELS.items(), strict=True):
        panel = ax.figure.add_subplot(place)
        for name, (said, style) in _STYLES.items():
            steps, values = curve(found, f"{name}/{of}")
            if steps:
                panel.plot(steps, values, label=said, **style)
        panel.set_xlabel(label, fontsize=_FONT)
        panel.set_ylabel("bits", fontsize=_FONT)
        panel.set_ylim(bottom=min(0.0, *panel.get_ylim()))
        panel.tick_params(labelsize=_FONT)
        steps, _ = curve(found, f"bits/{of}")
        # What was measured, and nothing else: a logarithmic axis names its ticks too closely.
        panel.set_xticks(steps, [f"{s:g}" for s in steps])
        if len(panel.lines) > 1:
            panel.legend(fontsize=_FONT, frameon=False)
    return ax
