"""The figure of the recipe `shortcut_policies`; imports nothing heavy."""

from __future__ import annotations

from typing import Any

_PANELS = {
    "diversity": "width of islands",
    "disparity": "distance of islands",
    "augmentation": "reach of augmentation",
    "bridge": "share of bridging rows",
}
_LINES = {
    "ood": ("success at the other island's view", "-o"),
    "id": ("success at own views", "--"),
    "nmi": ("normalized information", ":"),
}


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw a panel per sweep: mean over seeds as a line, every seed as a dot."""
    record = next(iter(records.values()))
    seeds = [s["metrics"] for s in record["seeds"] if "metrics" in s]
    ax.axis("off")
    grid = ax.get_subplotspec().subgridspec(2, 2)
    for place, (sweep, label) in zip(grid, _PANELS.items(), strict=True):
        panel = ax.figure.add_subplot(place)
        for colour, (what, (name, style)) in enumerate(_LINES.items()):
            _line(seeds, f"{what}/{sweep}", name, style, f"C{colour}", panel)
        panel.set(xlabel=label, ylim=(-0.03, 1.03))
        panel.tick_params(labelsize="x-small")
        panel.xaxis.label.set_size("small")
    ax.figure.axes[-1].legend(fontsize=6, loc="lower right")
    return ax


def _line(
    seeds: list[dict[str, float]], key: str, name: str, style: str, colour: str, panel: Any
) -> None:
    points = sorted({float(k.split("@")[1]) for m in seeds for k in m if k.startswith(f"{key}@")})
    values = [[m[f"{key}@{p:g}"] for m in seeds if f"{key}@{p:g}" in m] for p in points]
    means = [sum(v) / len(v) for v in values]
    panel.plot(points, means, style, color=colour, label=name, markersize=3)
    if "o" in style:
        for p, v in zip(points, values, strict=True):
            panel.plot([p] * len(v), v, ".", color=colour, markersize=2, alpha=0.6)
