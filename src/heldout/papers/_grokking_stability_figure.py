"""The figure of the recipe `grokking_stability`; imports nothing heavy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

_DECAY = ("plain", "perpendicular", "weight_decay")
_PANELS = (
    ("weight_decay_groks", "pairs", _DECAY),
    ("transformer_perpendicular", "pairs, one-layer transformer", _DECAY),
    (
        "collapse_stops_generalization",
        "pairs, by precision of softmax",
        ("float16", "float32", "float64"),
    ),
    ("parity_stablemax", "parity of 3 of 43 bits", ("softmax", "stablemax", "perpendicular")),
)
_STALLED = "collapse_stops_generalization"
_HALF = 0.5


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw a panel for each network and task that is there; `ax` itself where it is one."""
    found = [panel for panel in _PANELS if panel[0] in records]
    if len(found) < 2:
        return delay(records, ax)
    ax.axis("off")
    grid = ax.get_subplotspec().subgridspec(2, -(-len(found) // 2))
    for place, (claim, title, arms) in zip(grid, found, strict=False):
        panel = ax.figure.add_subplot(place)
        seeds = _seeds(records[claim])
        _accuracies(seeds, arms, panel)
        if claim == _STALLED:
            _half_collapsed(seeds, arms, panel)
        panel.set_title(title, fontsize="small")
        panel.tick_params(labelsize="x-small")
        panel.set(xscale="log", xlabel="", ylabel="accuracy", ylim=(-0.02, 1.02))
        if claim == _STALLED:  # far from 1, and so are the differences
            panel.set_ylim(0, 0.25)
        where = "lower right" if claim.startswith("parity") else "center left"
        panel.legend(fontsize=6, loc=where)
    ax.figure.supxlabel("full-batch steps; dashed: training", fontsize="small")
    return ax


def delay(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw accuracy by step of the network on pairs: held-out pairs solid, training dashed."""
    _accuracies(_seeds(records["weight_decay_groks"]), _DECAY, ax, ", test")
    ax.set(xscale="log", xlabel="full-batch steps", ylabel="accuracy", ylim=(-0.02, 1.02))
    ax.legend(fontsize="small")
    return ax


def _seeds(record: dict[str, Any]) -> list[dict[str, float]]:
    return [s["metrics"] for s in record["seeds"] if "metrics" in s]


def _accuracies(
    seeds: list[dict[str, float]], arms: Iterable[str], ax: Any, tested: str = ""
) -> None:
    # means over seeds by step; training is named in the legend where testing is
    for color, arm in enumerate(arms):
        for kind, style in (("test", "-"), ("train", "--")):
            means = _means(seeds, f"{kind}/{arm}")
            words = {"test": tested, "train": ", train" if tested else None}[kind]
            label = None if words is None else f"{arm.replace('_', ' ')}{words}"
            ax.plot(list(means), list(means.values()), style, color=f"C{color}", label=label)


def _half_collapsed(seeds: list[dict[str, float]], arms: Iterable[str], ax: Any) -> None:
    # as in the paper's figure 2, a dotted line where half of the training pairs have collapsed
    for color, arm in enumerate(arms):
        shares = _means(seeds, f"collapsed/{arm}")
        reached = [step for step, share in shares.items() if share >= _HALF]
        if reached:
            ax.axvline(min(reached), color=f"C{color}", linestyle=":")


def _means(seeds: list[dict[str, float]], metric: str) -> dict[int, float]:
    # from step 1 on, for the axis is logarithmic
    found = defaultdict(list)
    for metrics in seeds:
        for key, value in metrics.items():
            name, _, step = key.partition("@")
            if name == metric and step and int(step) > 0:
                found[int(step)].append(value)
    return {step: sum(found[step]) / len(found[step]) for step in sorted(found)}
