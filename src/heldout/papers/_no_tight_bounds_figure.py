"""The figure: how every measure ranks, beside what it does at worst."""

from __future__ import annotations

from typing import Any

from heldout.papers._no_tight_bounds_table import NAMES, measure_table, ordered


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw tau of every measure with its interval, by data set; or the parity odds."""
    rows = measure_table(records)
    if not rows:
        return _parity(records, ax)
    order, shown = ordered(rows), sorted({r["data"] for r in rows})
    for k, data in enumerate(shown):
        found = sorted(
            (r for r in rows if r["data"] == data), key=lambda r: order.index(r["measure"])
        )
        at = [order.index(r["measure"]) + 0.35 * (k - (len(shown) - 1) / 2) for r in found]
        tau, low, high = zip(*(r["tau"] for r in found), strict=True)
        ax.hlines(at, low, high, color=f"C{k}", lw=1)
        ax.plot(tau, at, "o", color=f"C{k}", ms=2.5, label=f"{data}: tau")
        tried = [(r["worst_error"][0], y) for r, y in zip(found, at, strict=True)
                 if r["environments"][0]]  # fmt: skip
        if tried:
            ax.plot(*zip(*tried, strict=True), "x", color=f"C{k}", ms=3,
                    label=f"{data}: worst sign error")  # fmt: skip
    ax.axvline(0, color="0.7", lw=0.8, zorder=0)
    ax.set_yticks(range(len(order)), [NAMES.get(m, m) for m in order], fontsize=5.5)
    ax.set(xlabel="Kendall's tau with the gap, -1 to 1; worst sign error, 0 to 1",
           xlim=(-1.05, 1.05), ylim=(-1, len(order)))  # fmt: skip
    ax.legend(fontsize=6, loc="upper left")
    return ax


def _parity(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    found: dict[str, dict[int, list[float]]] = {}
    for record in records.values():
        for seed in record.get("seeds", []):
            for key, value in seed.get("metrics", {}).items():
                if key.startswith("parity/") and "@" in key:
                    name, n = key.split("@")
                    found.setdefault(name.split("/")[1], {}).setdefault(int(n), []).append(value)
        if found:
            break
    words = {"failure": "best estimate fails", "closed": "closed form", "perfect": "no loss at all"}
    for name, label in words.items():
        points = sorted(found.get(name, {}).items())
        style = "--" if name == "closed" else "o"
        ax.plot([n for n, _ in points], [sum(v) / len(v) for _, v in points], style, label=label)
    ax.set(xlabel="dimension = examples", ylabel="probability", ylim=(0, 1))
    ax.legend(fontsize="small")
    return ax
