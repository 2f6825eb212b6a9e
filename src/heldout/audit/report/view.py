"""What the page shows of a report: sorted into parts, put into words, cut to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heldout.audit.report.budget import Budget
from heldout.audit.report.check_view import (
    action_key,
    anchor,
    check_view,
    figure_view,
    paper_url,
)
from heldout.audit.report.table_view import cell
from heldout.audit.report.text import (
    STATUS_WORDS,
    clean,
    gain_words,
    number_words,
    seconds_words,
)


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
    for _, number in numbers:  # under its own label, "points" says enough
        number["unit"] = "points" if number["unit"].startswith("points ") else number["unit"]
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


def _action(action: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    gain = action.get("gain")
    return {
        **{
            k: clean(action.get(k) or "", budget.text)
            for k in ("id", "check", "title", "evidence", "code", "cost", "paper")
        },
        "key": anchor(str(action.get("check", ""))),
        "place": action_key(action)[1],
        "paper_url": paper_url(action.get("paper")),
        "gain": gain_words(action),
        "kind": clean(action.get("gain_kind") or "unknown", 20),
        "number": number_words(gain) if gain else None,
    }


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
    return figure_view(chart, "gains", budget)


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
