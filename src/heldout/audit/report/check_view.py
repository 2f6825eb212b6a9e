"""What the page shows of one check: in words, cut to a budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from heldout.audit.report.budget import Budget
from heldout.audit.report.png import data_uri
from heldout.audit.report.svg import draw
from heldout.audit.report.table_view import cell, numbers_view, table_view
from heldout.audit.report.text import STATUS_WORDS, clean, number_words, seconds_words

_ARXIV = re.compile(r"\barXiv:([0-9]{4}\.[0-9]{4,5})\b")
_RECORD_WORDS = {
    "hit_rate": "finds the defect when it is there",
    "false_alarm_rate": "false alarms on healthy models",
    "precision": "precision of the ranking",
    "mean_absolute_error": "mean absolute error",
    "coverage": "intervals that cover the truth",
}


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
        "paper_url": paper_url(check.get("paper")),
        "word": STATUS_WORDS.get(check["status"], check["status"]),
        "evidence": float(check.get("evidence") or 0.0),
        "numbers": numbers_view(check.get("numbers") or {}, budget.rows),
        "examples": [_example(e, budget) for e in examples[: budget.examples]],
        "examples_more": max(0, len(examples) - budget.examples),
        "tables": [table_view(t, budget) for t in check.get("tables") or []],
        "figures": [f for f in figures if f["svg"] or f["thumbnails"]],
        "record": _record(record),
        "zoo": clean(record.get("zoo", ""), 300),
        "seconds": seconds_words(check.get("seconds")),
        "actions": [action_key(a) for a in check.get("actions") or []],
    }


_TEXTS = ("part", "status", "title", "question", "rule", "reason", "paper", "cost", "guide")


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


def paper_url(paper: Any) -> str:
    """Return the address of a paper that is given by its arXiv id, else an empty string.

    >>> paper_url("Guo et al., arXiv:1706.04599"), paper_url("javascript:alert(1)")
    ('https://arxiv.org/abs/1706.04599', '')
    """
    found = _ARXIV.search(str(paper or ""))
    return f"https://arxiv.org/abs/{found.group(1)}" if found else ""
