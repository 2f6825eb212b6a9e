"""The figure: how every measure ranks, beside what it does at worst."""

from __future__ import annotations

from typing import Any


def draw(records: dict[str, dict[str, Any]], ax: Any) -> Any:
    """Draw tau of every measure with its interval, mean over data sets; or the parity odds."""
    from heldout.papers._no_tight_bounds_table import measure_table

    rows = measure_table(records)
    if not rows:
        return _parity(records, ax)
    names = sorted({r["measure"] for r in rows})
    shown = {d: i for i, d in enumerate(sorted({r["data"] for r in rows}))}
    order = sorted(names, key=lambda n: sum(r["tau"][0] for r in rows if r["measure"] == n))
    for row in rows:
        value, low, high = row["tau"]
        at = order.index(row["measure"]) + 0.3 * shown[row["data"]]
        color = f"C{shown[row['data']]}"
        first = row["measure"] == order[0]
        ax.plot(value, at, "o", color=color, ms=3, label=row["data"] if first else None)
        ax.plot([low, high], [at, at], color=color, lw=1)
        error = row["worst_error"][0]
        ax.plot(error, at, "x", color=color, ms=3,
                label=f"{row['data']}: worst sign error" if first else None)  # fmt: skip
    ax.axvline(0, color="0.7", lw=0.8)
    ax.set_yticks(range(len(order)), order, fontsize=4)
    ax.set(xlabel="rank correlation with the gap (dots), worst sign error (crosses)")
    ax.legend(fontsize="x-small", loc="lower right")
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
