"""What the page shows of a report: sorted into parts, put into words, cut to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from heldout.audit.report.png import data_uri
from heldout.audit.report.svg import draw
from heldout.audit.report.text import (
    STATUS_WORDS,
    clean,
    gain_words,
    number_words,
    seconds_words,
)

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


def view(report: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Return what the template needs; strings are cleaned here and escaped by the template."""
    checks = {i: check_view(i, c, budget) for i, c in report["checks"].items()}
    every = list(checks.values())
    ran = [c for c in every if c["status"] in ("failed", "warning", "passed")]
    why = [c for c in ran if c["part"] != "how_well" and c["status"] != "passed"]
    shown = budget.rows * 2
    return {
        "title": clean(report.get("title", ""), 200),
        "version": clean(report.get("heldout_version", ""), 60),
        "created": clean(report.get("created", ""), 40)[:16].replace("T", " "),
        "head": _headline(report, checks, budget),
        "data": _data(report.get("data") or {}),
        "tally": {s: sum(c["status"] == s for c in every) for s in STATUS_WORDS},
        "words": STATUS_WORDS,
        "overview": {
            "How well": [c for c in every if c["part"] == "how_well"],
            "Why": [c for c in every if c["part"] != "how_well"],
        },
        "how_well": [c for c in ran if c["part"] == "how_well"],
        "why": sorted(why, key=lambda c: -c["evidence"]),
        "actions": [_action(a, budget) for a in report.get("actions", [])[:shown]],
        "actions_more": max(0, len(report.get("actions", [])) - shown),
        "gains": _gains(report.get("actions", []), budget),
        "passed": [c for c in ran if c["part"] != "how_well" and c["status"] == "passed"],
        "passed_above": [c for c in ran if c["part"] == "how_well" and c["status"] == "passed"],
        "not_applicable": [c for c in every if c["status"] == "not_applicable"],
        "could_not_run": [c for c in every if c["status"] == "could_not_run"],
        "settings": _pairs(report.get("settings") or {}, budget),
        "environment": _pairs(report.get("environment") or {}, budget),
        "timings": [
            (clean(k, 80), seconds_words(v)) for k, v in (report.get("timings") or {}).items()
        ],
        "redo": _redo(report.get("settings") or {}),
    }


def _headline(
    report: Mapping[str, Any], checks: Mapping[str, Any], budget: Budget
) -> dict[str, Any]:
    head = report["headline"]
    numbers = [
        (label, number_words(head[key]))
        for key, label in (
            ("shifted_accuracy", "Expected accuracy on shifted data"),
            ("test_accuracy", "Test accuracy"),
            ("gap", "Gap, train minus test"),
        )
        if head.get(key)
    ]
    word = clean(head["word"], 40)
    level = {"ready": "passed", "caution": "warning", "not ready": "failed"}
    return {
        "word": word,
        "status": level.get(word, "warning"),
        "sentence": clean(head["sentence"], budget.text),
        "rule": clean(head["rule"], budget.text),
        "because": [checks[i] for i in head.get("because", []) if i in checks],
        "numbers": numbers,
    }


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    splits = []
    for name, split in (data.get("splits") or {}).items():
        n, total = split.get("n"), split.get("total")
        sampled = n is not None and total is not None and n < total
        count = f"{n:,} of {total:,}" if sampled else f"{n or total or 0:,}"
        splits.append((clean(name, 120), count, "yes" if split.get("labelled") else "no"))
    names = [clean(c, 60) for c in data.get("class_names") or []]
    classes = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    parameters = data.get("parameters")
    facts = [
        ("Model", clean(data.get("model", "not known"), 120)),
        ("Parameters", "not known" if parameters is None else f"{parameters:,}"),
        ("Inputs", clean(data.get("inputs", "not known"), 40)),
        ("Classes", f"{len(names)}: {classes}"),
        ("Retraining", "yes, fit was given" if data.get("has_fit") else "no, fit was not given"),
    ]
    return {"splits": splits, "facts": facts}


def check_view(name: str, check: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Return what the page shows of one check."""
    key = "".join(c if c.isalnum() else "-" for c in name)
    examples = check.get("examples") or []
    figures = [_figure(f, f"{key}-{i}", budget) for i, f in enumerate(check.get("figures") or [])]
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
        "actions": [_action_id(a) for a in check.get("actions") or []],
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
    return {
        "title": clean(table.get("title", ""), 200),
        "columns": [clean(c, 80) for c in table.get("columns") or []],
        "rows": [[cell(v, min(budget.text, 200)) for v in r] for r in rows[: budget.rows]],
        "numeric": [
            all(isinstance(r[i], int | float) or r[i] is None for r in rows if i < len(r))
            for i in range(len(table.get("columns") or []))
        ],
        "more": max(0, len(rows) - budget.rows),
        "note": clean(table.get("note", ""), budget.text),
    }


def cell(value: Any, limit: int = 200) -> str:
    """Write a value of a table.

    >>> cell(0.123456), cell(None), cell(1200), cell(True), cell("a")
    ('0.1235', 'not known', '1,200', 'yes', 'a')
    """
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\u2212")
    return clean(value, limit)


def _figure(chart: Mapping[str, Any], key: str, budget: Budget) -> dict[str, Any]:
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


def _action(action: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    gain = action.get("gain")
    return {
        **{
            k: clean(action.get(k) or "", budget.text)
            for k in ("id", "check", "title", "evidence", "code", "cost", "paper")
        },
        "key": "".join(c if c.isalnum() else "-" for c in str(action.get("check", ""))),
        "gain": gain_words(action),
        "kind": clean(action.get("gain_kind") or "unknown", 20),
        "number": number_words(gain) if gain else None,
    }


def _action_id(action: Any) -> str:
    return clean(action.get("id", "") if isinstance(action, Mapping) else action, 120)


def _gains(actions: Sequence[Mapping[str, Any]], budget: Budget) -> dict[str, Any] | None:
    """A figure of all gains on one scale, when there are two to compare."""
    known = [a for a in actions if (a.get("gain") or {}).get("value") is not None]
    if len(known) < 2:
        return None
    rows = [
        {
            "label": f"{clean(a['title'], 42)} ({clean(a.get('gain_kind', ''), 12)})",
            "value": a["gain"]["value"],
            "low": a["gain"].get("ci_low"),
            "high": a["gain"].get("ci_high"),
            "n": a["gain"].get("n"),
        }
        for a in known[:12]
    ]
    alt = "; ".join(f"{a['title']}: {gain_words(a)}" for a in known[:12])
    chart = {
        "kind": "intervals",
        "title": "Gain of each action",
        "alt": f"Gain in test accuracy with its interval. {alt}.",
        "data": {
            "rows": rows,
            "x_label": "gain in test accuracy, points",
            "reference": 0.0,
            "reference_label": "no gain",
        },
    }
    return _figure(chart, "gains", budget)


def _pairs(values: Mapping[str, Any], budget: Budget, prefix: str = "") -> list[tuple[str, str]]:
    """Name and value of every leaf."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{clean(key, 80)}"
        if isinstance(value, Mapping) and value:
            found.extend(_pairs(value, budget, f"{name}."))
        elif isinstance(value, list | tuple):
            found.append((name, ", ".join(cell(v, 80) for v in value[:40]) or "none"))
        else:
            found.append((name, cell(value, min(budget.text, 300))))
    return found[: budget.rows * 2]


def _redo(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Commands that make this report again, or read what it collected."""
    out = clean(settings.get("out") or "audit/", 200)
    again = settings.get("command")
    if not again:
        flags = [
            f"--{k.replace('_', '-')} {clean(settings[k], 40)}"
            for k in ("seed", "budget_minutes")
            if settings.get(k) is not None
        ]
        again = " ".join(["heldout audit my_model.py", *flags, f"--out {out}"])
    return [
        ("Run the whole audit again", clean(again, 600)),
        ("Check again what was collected, without the model", f"heldout audit --from {out}"),
        ("Compare with an older report", f"heldout audit --from {out} --compare OLD.json"),
    ]
