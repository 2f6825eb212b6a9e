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
    "ood": ("success, other island's view", "C0-o"),
    "id": ("success, own views", "C1--"),
    "nmi": ("normalized information", "k:"),
}
_FONT = 9.0


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw a panel per sweep: mean over seeds as a line, every seed as a dot."""
    record = next(iter(records.values()))
    seeds = [s["metrics"] for s in record["seeds"] if "metrics" in s]
    ax.axis("off")
    outer = ax.get_subplotspec().subgridspec(2, 1, height_ratios=(1, 16))
    grid, panel = outer[1].subgridspec(2, 2), None
    for place, (sweep, label) in zip(grid, _PANELS.items(), strict=True):
        panel = ax.figure.add_subplot(place)
        for what, (name, style) in _LINES.items():
            _line(seeds, f"{what}/{sweep}", name, style, panel)
        panel.set(ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
        panel.set_xlabel(label, fontsize=_FONT)
        panel.tick_params(labelsize=_FONT)
    top = ax.figure.add_subplot(outer[0])
    top.axis("off")
    assert panel is not None
    top.legend(
        *panel.get_legend_handles_labels(), loc="center", ncols=3, fontsize=_FONT, frameon=False,
        handlelength=1.6, columnspacing=1.0,
    )  # fmt: skip
    return ax


def _line(seeds: list[dict[str, float]], key: str, name: str, style: str, panel: Any) -> None:
    points = sorted({float(k.split("@")[1]) for m in seeds for k in m if k.startswith(f"{key}@")})
    values = [[m[f"{key}@{p:g}"] for m in seeds if f"{key}@{p:g}" in m] for p in points]
    means = [sum(v) / len(v) for v in values]
    panel.plot(points, means, style, label=name, markersize=4)
    if "o" in style:
        for p, v in zip(points, values, strict=True):
            panel.plot([p] * len(v), v, ".", color="C0", markersize=3, alpha=0.6)
