"""The figure of the recipe `influence_llm`; imports nothing heavy."""

from __future__ import annotations

from typing import Any

PANELS = {
    "retraining: LDS": {
        "lds/dense": "dense GGN", "lds/blocks": "dense by layer",
        "lds/refined": "EK-FAC, 4 CG steps", "lds/core": "EK-FAC, exact core",
        "lds/ekfac": "EK-FAC", "lds/kfac": "K-FAC",
        "lds/ekfac_empirical": "empirical Fisher", "lds/diagonal": "diagonal",
        "lds/dot": "gradient dot", "lds/shuffled": "rows shuffled",
    },
    "word order: median rank": {
        "rank/same/ekfac": "same, EK-FAC", "rank/flipped/ekfac": "flipped, EK-FAC",
        "rank/chance/ekfac": "other facts, EK-FAC", "rank/same/dot": "same, dot",
        "rank/flipped/dot": "flipped, dot", "rank/same/untrained": "same, untrained",
        "rank/flipped/untrained": "flipped, untrained",
        "rank/flipped/matched": "flipped, answer in place",
    },
    "wrong labels: AP": {
        "ap/el2n": "EL2N", "ap/self": "self-influence", "ap/self_dot": "gradient norm",
        "ap/heldout": "on clean rows", "ap/heldout_dot": "dot with clean rows",
        "ap/shuffled": "shuffled",
    },
    "sparsity: top 1 %": {
        "top_share": "influence", "top_share/normal": "normal scores",
    },
}  # fmt: skip
"""Metric and its name, by panel; all lie between 0 and 1."""


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw a panel per experiment: a dot per seed, a line at their mean."""
    metrics: list[dict[str, float]] = []
    for record in records.values():
        metrics += [s["metrics"] for s in record["seeds"] if "metrics" in s]
    ax.axis("off")
    grid = ax.get_subplotspec().subgridspec(2, 2)
    for place, (title, names) in zip(grid, PANELS.items(), strict=True):
        panel = ax.figure.add_subplot(place)
        for row, key in enumerate(names):
            values = sorted({m[key] for m in metrics if key in m})
            if values:
                mean = sum(values) / len(values)
                panel.plot([mean] * 2, [row - 0.3, row + 0.3], color="C0")
                panel.plot(values, [row] * len(values), ".", color="C0", markersize=3)
        panel.set_yticks(range(len(names)), list(names.values()))
        panel.set(xlim=(-0.12, 1.02))
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(title, fontsize="small")
        panel.tick_params(labelsize="x-small")
    return ax
