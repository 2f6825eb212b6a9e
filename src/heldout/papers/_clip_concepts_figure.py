"""The figure of clip_concepts."""

from __future__ import annotations

from typing import Any


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw mean accuracy by frequency, a line for each model, or for each seed of the toy."""
    every = [[s["metrics"] for s in r["seeds"] if "metrics" in s] for r in records.values()]
    real = next((m[0] for m in every if m and "least_binned_r" in m[0]), None)
    toys = next((m for m in every if m and "accuracy/skewed" in m[0]), [])
    if real is not None:
        lines: dict[str, list[tuple[float, float]]] = {}
        for key, value in real.items():
            name, _, at = key.removeprefix("accuracy/").partition("@")
            if at:
                lines.setdefault(name, []).append((float(at), value))
        for name, points in lines.items():
            x, y = zip(*sorted(points), strict=True)
            label = f"{name.replace('/', ', ')}: r {real[f'raw_r/{name}']:.2f} of classes"
            ax.plot(x, y, marker=".", label=label)
        ax.set_ylabel("zero-shot accuracy (%), mean of bin")
    else:
        for i, metrics in enumerate(toys):
            points = [
                (float(k.rpartition("@")[2]), v)
                for k, v in metrics.items()
                if k.startswith("accuracy/bin@")
            ]
            x, y = zip(*sorted(points), strict=True)
            ax.plot(x, y, color="C0", alpha=0.6, marker=".", label=None if i else "toy, by seed")
        ax.set_ylabel("accuracy (0-1), mean of bin")
    ax.set_xscale("log")
    ax.set_xlabel("pairs with the concept")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="x-small")
    return ax
