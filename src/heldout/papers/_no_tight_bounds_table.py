"""The table of every measure, from records: rank correlation, granulated, and at worst."""

from __future__ import annotations

from typing import Any

COLUMNS = ("tau", "psi", "worst_psi", "worst_error")
"""Kendall's tau, mean granulated tau, its least over hyperparameters, largest sign error."""


def measure_table(records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per data set and measure, best tau first: mean and 95 % interval over seeds.

    Args:
        records: claim id -> record, as `plot` gets them; one of the sweep's claims is enough.

    Returns:
        Rows of {"data", "measure", column: (value, low, high), "seeds"}.

    >>> seeds = [{"metrics": {f"{c}/d/m": 0.5 for c in COLUMNS}}] * 3
    >>> measure_table({"a": {"seeds": seeds}})[0]["tau"]
    (0.5, 0.5, 0.5)
    """
    found = next((s for r in records.values() if (s := _seeds(r))), [])
    names = [k.split("/")[1:] for k in (found[0] if found else {}) if k.startswith("tau/")]
    rows = []
    for data, measure in [n for n in names if len(n) == 2]:
        cells = {c: _interval([m[f"{c}/{data}/{measure}"] for m in found]) for c in COLUMNS}
        rows.append({"data": data, "measure": measure, "seeds": len(found), **cells})
    return sorted(rows, key=lambda r: (r["data"], -r["tau"][0]))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table.

    >>> cells = {c: (0.5, 0.4, 0.6) for c in COLUMNS}
    >>> markdown([{"data": "d", "measure": "m", "seeds": 5, **cells}]).splitlines()[-1]
    '| d | m | 0.50 (0.40 to 0.60) | 0.50 (0.40 to 0.60) | 0.50 (0.40 to 0.60) | 0.50 (0.40 to 0.60) |'
    """  # noqa: E501 - a row is a line
    heads = ("data", "measure", "tau", "Psi", "least psi", "worst sign error")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [f"{v:.2f} ({low:.2f} to {high:.2f})" for v, low, high in (row[c] for c in COLUMNS)]
        lines.append("| " + " | ".join([row["data"], row["measure"], *cells]) + " |")
    return "\n".join(lines)


def _seeds(record: dict[str, Any]) -> list[dict[str, float]]:
    made = [s["metrics"] for s in record.get("seeds", []) if "metrics" in s]
    return made if any(len(k.split("/")) == 3 for m in made[:1] for k in m) else []


def _interval(values: list[float]) -> tuple[float, float, float]:
    import numpy as np

    from heldout.core.statistics import mean

    found = mean(np.array(values))
    return found.value, found.low, found.high
