"""What the page shows of one check: in words, cut to a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from heldout.audit.report.png import data_uri
from heldout.audit.report.svg import draw
from heldout.audit.report.text import STATUS_WORDS, clean, number_words, seconds_words

_SHARED = ("unit", "worse", "level", "method", "null", "guide", "n")
_RECORD_WORDS = {
    "hit_rate": "finds the defect when it is there",
    "false_alarm_rate": "false alarms on healthy models",
    "precision": "precision of the ranking",
    "mean_absolute_error": "mean absolute error",
    "coverage": "intervals that cover the truth",
}


@dataclass(frozen=True)
class Budget:
    """How much of a report the page shows; the JSON holds the rest."""

    examples: int = 12
    """Examples of each check."""
    side: int = 32
    """Pixels of a thumbnail's longer side; 0 for none."""
    rows: int = 40
    """Rows of a table, numbers of a check, thumbnails of a figure."""
    points: int = 400
    """Points of a curve, rows of a figure; 0 for no figures."""
    text: int = 2000
    """Characters of a string."""


BUDGETS = (
    Budget(),
    Budget(examples=8, side=24, rows=30, points=200, text=800),
    Budget(examples=6, side=16, rows=20, points=60, text=400),
    Budget(examples=3, side=0, rows=10, points=0, text=160),
    Budget(examples=1, side=0, rows=5, points=0, text=60),
)
"""Tried in turn until the page is small enough."""


def check_view(name: str, check: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Return what the page shows of one check."""
    key = anchor(name)
    examples = check.get("examples") or []
    figures = [
        figure_view(f, f"{key}-{i}", budget) for i, f in enumerate(check.get("figures") or [])
    ]
    record = check.get("track_record") or {}
    return {
        "id": clean(name, 80),
        "key": key,
        **{k: clean(check.get(k) or "", budget.text) for k in _TEXTS},
        "word": STATUS_WORDS.get(check["status"], check["status"]),
        "evidence": float(check.get("evidence") or 0.0),
        "numbers": numbers_view(check.get("numbers") or {}, budget.rows),
        "examples": [_example(e, budget) for e in examples[: budget.examples]],
        "examples_more": max(0, len(examples) - budget.examples),
        "tables": [_table(t, budget) for t in check.get("tables") or []],
        "figures": [f for f in figures if f["svg"] or f["thumbnails"]],
        "record": _record(record),
        "zoo": clean(record.get("zoo", ""), 300),
        "seconds": seconds_words(check.get("seconds")),
        "actions": [action_key(a) for a in check.get("actions") or []],
    }


_TEXTS = ("part", "status", "title", "question", "rule", "reason", "paper", "cost", "guide")


def numbers_view(numbers: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
    """Return rows of a table of numbers, and apart from them what all rows have in common.

    What is equal in every row is said once, in `shared`, which keeps a table quiet without
    leaving out a number's unit, direction, reference or guide.
    """
    if not numbers:
        return None
    rows = [{"name": clean(k, 120), **number_words(v)} for k, v in numbers.items()]
    first = rows[0]
    same = {k: first[k] for k in _SHARED if len(rows) > 1 and all(r[k] == first[k] for r in rows)}
    return {
        "rows": rows[:limit],
        "more": max(0, len(rows) - limit),
        "shared": {k: same.get(k, "") for k in _SHARED} if any(same.values()) else None,
        "own": [k for k in _SHARED if k not in same],
    }


def _record(record: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for key, number in record.items():
        if isinstance(number, Mapping) and number.get("value") is not None:
            unit = "points" if number["value"] > 1.0 else "rate (0-1)"
            words = number_words({"unit": unit, "worse": "", **number})
            rows.append({"name": _RECORD_WORDS.get(key, clean(key, 60).replace("_", " ")), **words})
    return rows


def _example(example: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    preview = example.get("preview") or {}
    row = preview.get("row") or {}
    values = [(clean(k, 40), cell(v, 40)) for k, v in list(row.items())[:8]]
    score = example.get("score")
    return {
        "where": f"{clean(example.get('split', ''), 80)} {example.get('index')}",
        "score": "" if score is None else f"{score:.3g}",
        "why": clean(example.get("why", ""), min(budget.text, 300)),
        "image": data_uri(preview.get("image"), budget.side) if budget.side else "",
        "row": values,
        "row_more": max(0, len(row) - 8),
    }


def _table(table: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    rows = table.get("rows") or []
    columns = table.get("columns") or []
    places = [_places([r[i] for r in rows if i < len(r)]) for i in range(len(columns))]
    places += [None] * (max(map(len, rows), default=0) - len(columns))
    limit = min(budget.text, 200)
    return {
        "title": clean(table.get("title", ""), 200),
        "columns": [clean(c, 80) for c in columns],
        "rows": [
            [cell(v, limit, p) for v, p in zip(r, places, strict=False)]
            for r in rows[: budget.rows]
        ],
        "numeric": [
            all(isinstance(r[i], int | float) or r[i] is None for r in rows if i < len(r))
            for i in range(len(columns))
        ],
        "more": max(0, len(rows) - budget.rows),
        "note": clean(table.get("note", ""), budget.text),
    }


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


def figure_view(chart: Mapping[str, Any], key: str, budget: Budget) -> dict[str, Any]:
    """Return what the page shows of one figure."""
    items = (chart.get("data") or {}).get("items") or []
    images = []
    if chart.get("kind") == "thumbnails" and budget.side:
        images = [
            {
                "image": data_uri(i.get("image"), budget.side),
                "caption": clean(i.get("caption", ""), 160),
            }
            for i in items[: budget.rows]
        ]
    return {
        "title": clean(chart.get("title", ""), 200),
        "alt": clean(chart.get("alt", ""), 1000),
        "svg": draw(chart, f"figure-{key}", budget.points) if budget.points else Markup(""),
        "thumbnails": [i for i in images if i["image"]],
        "more": max(0, len(items) - budget.rows) if images else 0,
    }


def action_key(action: Any) -> tuple[str, str]:
    """Return the id of an action (or of a dict of one), and the name of its place in the page."""
    name = clean(action.get("id", "") if isinstance(action, Mapping) else action, 120)
    return name, "action-" + anchor(name)


def anchor(name: str) -> str:
    """Return a string that may stand in an `id` and in a link.

    >>> anchor("label_noise.drop")
    'label-noise-drop'
    """
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
