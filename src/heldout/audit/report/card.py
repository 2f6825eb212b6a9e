"""A fragment for the model card of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from heldout.audit.report.text import STATUS_WORDS, clean, gain_words, number_words, quoted

_TASKS = {
    "image": ("image-classification", "Image classification"),
    "table": ("tabular-classification", "Tabular classification"),
    "tokens": ("text-classification", "Text classification"),
}


def card(report: Mapping[str, Any], name: str | None = None) -> str:
    """Return YAML front matter with a `model-index`, then a section in Markdown.

    The front matter holds measured accuracies only, one result per labelled split. What is
    forecast without labels stands in the Markdown, and says so.

    Args:
        report: the report's dict.
        name: name of the model; the report's title when not given.

    Returns:
        Text to put at the top of a README; merge the front matter with one that is there.

    >>> print(card({"title": "m", "data": {}, "headline": {"word": "ready", "sentence": "Good.",
    ...     "rule": "", "test_accuracy": None}, "checks": {}, "actions": []}).splitlines()[3])
    model-index:
    """
    return _front(report, name or str(report.get("title", "model"))) + "\n" + _section(report)


def _front(report: Mapping[str, Any], name: str) -> str:
    kind, words = _TASKS.get((report.get("data") or {}).get("inputs", ""), ("other", "Other"))
    accuracy = (report["checks"].get("accuracy") or {}).get("numbers") or {}
    measured = {k: v for k, v in accuracy.items() if v.get("value") is not None}
    out = ["---", "tags:", "- heldout", "model-index:", f"- name: {quoted(clean(name, 96))}"]
    out.append("  results:" + ("" if measured else " []"))
    for split, number in measured.items():
        shown = quoted(clean(split, 200))
        part = "train" if split == "train" else "test"
        label = number_words(number)
        title = f"Accuracy ({label['level']} interval {label['interval']}, n = {label['n']})"
        out += [
            "  - task:",
            f"      type: {kind}",
            f"      name: {words}",
            "    dataset:",
            f"      type: {quoted(_slug(split))}",
            f"      name: {shown}",
            f"      split: {part}",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {float(number['value'])!r}",
            f"      name: {quoted(title)}",
            "      verified: false",
        ]
    return "\n".join([*out, "---"]) + "\n"


def _slug(split: str) -> str:
    """The hub wants a data set id without spaces."""
    return re.sub(r"[^A-Za-z0-9._/-]+", "-", split).strip("-")[:96] or "unnamed"


def _section(report: Mapping[str, Any]) -> str:
    head = report["headline"]
    out = ["## Generalization audit", ""]
    out += [f"**{escape(str(head['word']).capitalize())}.** {escape(head['sentence'])}", ""]
    rows = [("Test accuracy", head.get("test_accuracy"))]
    rows += [("Expected on shifted data, without labels", head.get("shifted_accuracy"))]
    rows += [("Gap, train minus test", head.get("gap"))]
    rows = [(k, v) for k, v in rows if v]
    if rows:
        out += ["| Number | Value | Interval | n | Worse |", "|---|---|---|---|---|"]
        out += [_row(label, number) for label, number in rows if number]
        out.append("")
    out += ["| Check | Status | Finding |", "|---|---|---|"]
    for name, check in report["checks"].items():
        title = escape(check.get("title") or name)
        out.append(
            f"| {title} | {STATUS_WORDS.get(check['status'])} | {escape(check.get('reason', ''))} |"
        )
    out.append("")
    actions = report.get("actions") or []
    if actions:
        out += ["Open actions:", ""]
        out += [f"- {escape(a['title'])} ({escape(gain_words(a))})" for a in actions[:10]]
        out.append("")
    created = escape(str(report.get("created", ""))[:10])
    version = escape(report.get("heldout_version", ""))
    out.append(f"Rule for the word: {escape(head['rule'])}")
    out += ["", f"Measured with Heldout {version} on {created}."]
    return "\n".join(out) + "\n"


def _row(label: str, number: Mapping[str, Any]) -> str:
    w = number_words(number)
    unit = "" if w["value"].endswith("%") else f" {escape(w['unit'])}"
    return (
        f"| {label} | {w['value']}{unit} | {w['interval']} ({w['level']}) | {w['n']} | "
        f"{w['worse'].removesuffix(' is worse')} |"
    )


def escape(text: Any) -> str:
    r"""Return a string that Markdown shows as it is, on one line.

    >>> escape("a|b <i> *c*")
    'a\\|b &lt;i&gt; \\*c\\*'
    """
    flat = " ".join(clean(text, 600).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|{}$~])", r"\\\1", flat)
