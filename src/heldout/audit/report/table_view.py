"""What the page shows of numbers and tables: in words, folded when long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from heldout.audit.report.budget import Budget
from heldout.audit.report.text import clean, number_words

_SHARED = ("unit", "worse", "level", "method", "null", "guide", "n")
_FOLD = 8  # numbers of a check, or rows of a table, that are shown at once
_NUMERIC = re.compile(r"[-+\u2212]?[\d,.]*%?")


def numbers_view(numbers: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
    """Return rows of a table of numbers, and apart from them what most rows have in common.

    What at least three of five rows say is said once, in `shared`; a row keeps in `own` only
    what it says differently. This keeps a table quiet without leaving out the unit, direction,
    reference or guide of any number.
    """
    if not numbers:
        return None
    rows = [{"name": clean(k, 120), **number_words(v)} for k, v in numbers.items()]
    for row in rows:
        row["guide"] = _general(row["guide"], row["name"], len(rows))
    shared = {k: _common([r[k] for r in rows]) for k in _SHARED}
    for key in ("n", "null"):  # have a column of their own when any row differs
        if any(r[key] != shared[key] for r in rows):
            shared[key] = ""
    shown: list[dict[str, Any]] = [
        {**r, "own": {k: "" if r[k] == shared[k] else r[k] for k in _SHARED}} for r in rows
    ]
    odd = any(v for r in shown for k, v in r["own"].items() if shared[k])
    first = len(rows) if len(rows) <= _FOLD + 2 else _FOLD
    return {
        "rows": shown[:first],
        "folded": shown[first:limit],
        "more": max(0, len(rows) - limit),
        "shared": shared if any(shared.values()) else None,
        "unless": odd,
        "columns": [k for k in ("n", "null") if not shared[k] and any(r[k] for r in rows)],
    }


def _common(values: list[str]) -> str:
    """The value that at least three of five rows share, else an empty string."""
    value, count = Counter(values).most_common(1)[0]
    # A row that says nothing must not seem to say what the others say.
    return value if all(values) and count >= max(2, 0.6 * len(values)) else ""


def _general(guide: str, name: str, rows: int) -> str:
    """A guide that names its own row, in a form that other rows can share."""
    short = name.removeprefix("shifted/")
    if rows < 3 or len(short) < 3:
        return guide
    return guide.replace(name, "[name]").replace(short, "[name]")


def table_view(table: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Return what the page shows of a table of a check; long ones are folded."""
    rows = table.get("rows") or []
    columns = table.get("columns") or []
    places = [_places([r[i] for r in rows if i < len(r)]) for i in range(len(columns))]
    places += [None] * (max(map(len, rows), default=0) - len(columns))
    limit = min(budget.text, 200)
    shown = [
        [cell(v, limit, p) for v, p in zip(r, places, strict=False)] for r in rows[: budget.rows]
    ]
    return {
        "title": clean(table.get("title", ""), 200),
        "columns": [clean(c, 80) for c in columns],
        "rows": shown if len(shown) <= _FOLD + 4 else shown[:_FOLD],
        "folded": [] if len(shown) <= _FOLD + 4 else shown[_FOLD:],
        "numeric": [
            all(_looks_numeric(r[i]) for r in rows if i < len(r)) for i in range(len(columns))
        ],
        "more": max(0, len(rows) - budget.rows),
        "note": clean(table.get("note", ""), budget.text),
    }


def _looks_numeric(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_NUMERIC.fullmatch(value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _places(column: list[Any]) -> int | None:
    """Digits after the point that all numbers of a column share, None for other columns."""
    floats = [v for v in column if isinstance(v, float)]
    sizes = [abs(v) for v in floats if v]
    if not sizes or max(sizes) >= 1e6 or min(sizes) < 1e-4:
        return None
    return max(len(f"{v:.4g}".partition(".")[2]) for v in floats)


def cell(value: Any, limit: int = 200, places: int | None = None) -> str:
    """Write a value of a table, with a fixed number of digits after the point if given.

    >>> cell(0.123456), cell(None), cell(1200), cell(True), cell("a"), cell(0.9, places=2)
    ('0.1235', 'not known', '1,200', 'yes', 'a', '0.90')
    """
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\u2212")
    if isinstance(value, float):
        shown = f"{value:.4g}" if places is None else f"{value:,.{places}f}"
        return shown.replace("-", "\u2212")
    return clean(value, limit)
