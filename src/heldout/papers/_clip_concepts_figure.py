"""The figure of clip_concepts."""

from __future__ import annotations

from typing import Any

# Colours that color-blind readers tell apart, by corpus; within one, models differ by marker.
_COLOURS = {"cc3m": "#0072B2", "cc12m": "#D55E00", "yfcc15m": "#000000", "laion400m": "#009E73"}
_MARKERS = ("o-", "s--", "^:")
_FONT = 9.0

Metrics = dict[str, float]


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw mean accuracy by frequency, a line for each model, or for each seed of the toy."""
    every = [[s["metrics"] for s in r["seeds"] if "metrics" in s] for r in records.values()]
    real = next((m[0] for m in every if m and "least_binned_r" in m[0]), None)
    if real is not None:
        _released(real, ax)
    else:
        _toy(next((m for m in every if m and "accuracy/skewed" in m[0]), []), ax)
    ax.set_xscale("log")
    ax.set_xlabel("pairs with the concept", fontsize=_FONT)
    ax.yaxis.label.set_size(_FONT)
    ax.tick_params(labelsize=_FONT)
    return ax


def _released(metrics: Metrics, ax: Any) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for key, value in metrics.items():
        name, _, at = key.removeprefix("accuracy/").partition("@")
        if at:
            lines.setdefault(name, []).append((float(at), value))
    drawn: dict[str, int] = {}
    for name, points in lines.items():
        model, _, corpus = name.partition("/")
        marker = _MARKERS[drawn.get(corpus, 0) % len(_MARKERS)]
        drawn[corpus] = drawn.get(corpus, 0) + 1
        label = f"{corpus}, {model} ({metrics[f'raw_r/{name}']:.2f})"
        x, y = zip(*sorted(points), strict=True)
        ax.plot(x, y, marker, color=_COLOURS.get(corpus), label=label, markersize=4, linewidth=1.2)
    ax.set_ylabel("zero-shot accuracy (%), mean of bin")
    # Below the axes: inside them ten names hide the lines.
    ax.legend(
        title="corpus, model (correlation over classes, not bins)", title_fontsize=_FONT,
        fontsize=_FONT, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False,
        labelspacing=0.2,
    )  # fmt: skip


def _toy(seeds: list[Metrics], ax: Any) -> None:
    start = "accuracy/bin@"
    for i, metrics in enumerate(seeds):
        points = [
            (float(k.removeprefix(start)), v) for k, v in metrics.items() if k.startswith(start)
        ]
        x, y = zip(*sorted(points), strict=True)
        label = None if i else "toy, by seed"
        ax.plot(x, y, color=_COLOURS["cc3m"], alpha=0.6, marker=".", label=label)
    ax.set_ylabel("accuracy (0-1), mean of bin")
    if seeds:
        ax.legend(fontsize=_FONT, frameon=False)
