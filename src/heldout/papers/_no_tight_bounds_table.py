"""The table of every measure, from records: rank correlation, granulated, and at worst."""

from __future__ import annotations

from typing import Any

COLUMNS = ("tau", "psi", "worst_psi", "worst_error")
"""Kendall's tau, mean granulated tau, its least over hyperparameters, largest sign error."""

SHOWN = {"tau": "tau", "psi": "granulated psi", "worst_error": "worst sign error"}
"""Columns of the page's table, in words."""
NAMES = {"oracle": "(the gap on half of the test set)", "random": "(random numbers)"}
"""What is no measure."""


def measure_table(records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per data set and measure, best tau first: mean and 95 % interval over seeds.

    Args:
        records: claim id -> record, as `plot` gets them; one of the sweep's claims is enough.

    Returns:
        Rows of {"data", "measure", column: (value, low, high), "seeds"}, the columns with
        "environments": how many the worst sign error was sought in.

    >>> seeds = [{"metrics": {f"{c}/d/m": 0.5 for c in (*COLUMNS, "environments")}}] * 3
    >>> measure_table({"a": {"seeds": seeds}})[0]["tau"]
    (0.5, 0.5, 0.5)
    """
    found = next((s for r in records.values() if (s := _seeds(r))), [])
    names = [k.split("/")[1:] for k in (found[0] if found else {}) if k.startswith("tau/")]
    rows = []
    for data, measure in [n for n in names if len(n) == 2]:
        row: dict[str, Any] = {"data": data, "measure": measure, "seeds": len(found)}
        for column in (*COLUMNS, "environments"):
            row[column] = _interval([m[f"{column}/{data}/{measure}"] for m in found])
        rows.append(row)
    return sorted(rows, key=lambda r: (r["data"], -r["tau"][0]))


def cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one table, a row per measure, by its mean tau over data sets.

    Where no environment's gaps differ by more than noise there is no worst sign error.

    >>> found = {c: (0.5, 0.4, 0.6) for c in COLUMNS} | {"environments": (0.0, 0.0, 0.0)}
    >>> cells([{"data": "d", "measure": "m", "seeds": 5, **found}])[1]
    [['m', '0.50 [0.40, 0.60]', '0.50 [0.40, 0.60]', 'none']]
    """
    data, names = sorted({r["data"] for r in rows}), ordered(rows)[::-1]
    by = {(r["measure"], r["data"]): r for r in rows}
    header = ["measure", *(f"{words}, {d}" for words in SHOWN.values() for d in data)]
    return header, [
        [NAMES.get(m, m), *(_cell(by[m, d], c) for c in SHOWN for d in data)] for m in names
    ]


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    """Return the measures, least mean tau over data sets first.

    >>> ordered([{"measure": m, "tau": (t, t, t)} for m, t in (("a", 0.5), ("b", -0.5))])
    ['b', 'a']
    """
    names = sorted({r["measure"] for r in rows})
    return sorted(names, key=lambda m: sum(r["tau"][0] for r in rows if r["measure"] == m))


def _cell(row: dict[str, Any], column: str) -> str:
    if column == "worst_error" and row["environments"][0] == 0:
        return "none"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*row[column])


def _seeds(record: dict[str, Any]) -> list[dict[str, float]]:
    made = [s["metrics"] for s in record.get("seeds", []) if "metrics" in s]
    return made if any(len(k.split("/")) == 3 for m in made[:1] for k in m) else []


def _interval(values: list[float]) -> tuple[float, float, float]:
    import numpy as np

    from heldout.core.statistics import mean

    found = mean(np.array(values, dtype=float))
    return found.value, found.low, found.high
