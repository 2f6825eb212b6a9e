"""`--compare`: what changed between two reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heldout.audit.report.changes import ABSENT, change_words, difference, status_word
from heldout.audit.report.schema import check_version
from heldout.audit.report.text import clean, gain_words

COMPARISON_VERSION = 1
"""Version of what `compare` returns."""

_RANK = {"passed": 0, "warning": 1, "failed": 2}
_HEADLINE = ("shifted_accuracy", "test_accuracy", "gap")


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return what changed from an old report to a new one.

    The difference of two numbers d = v_new - v_old gets the interval of Zou and Donner (2008),
    which recovers variances from the two intervals and treats the numbers as independent:

        d - sqrt((v_new - l_new)^2 + (u_old - v_old)^2),
        d + sqrt((u_new - v_new)^2 + (v_old - l_old)^2)

    A number is `worse` or `better` when that interval excludes 0 on its bad or good side, else
    `no clear change`. Two audits of the same test examples are not independent, and reports do
    not hold single predictions, so for them the interval is too wide rather than too narrow.

    Args:
        old: dict of the older report; may have fewer checks.
        new: dict of the newer report.

    Returns:
        `comparison_version`, `old` and `new` (title, created, heldout_version, word), `headline`
        (number changes), `checks` (id to `old`, `new`, `direction`, `reason`), `numbers` (one
        per number of either report that can be compared, the worst first), `actions` (`gone`,
        `new`, `kept`), `settings` (name, old, new), `worse` (ids of the checks whose status or
        numbers are worse). `direction` is `better`, `worse`, `same`, or `not comparable` when
        one side is not a verdict.

    Cost: none.

    Raises:
        InputError: one of them is no report, or of another schema version.

    >>> side = {"schema_version": 1, "headline": {"word": "ready"}, "actions": [],
    ...         "checks": {"gap": {"status": "passed", "reason": "", "numbers": {}}}}
    >>> worse = {**side, "checks": {"gap": {"status": "failed", "reason": "", "numbers": {}}}}
    >>> compare(side, worse)["checks"]["gap"]["direction"]
    'worse'
    """
    check_version(old, "the old report")
    check_version(new, "the new report")
    ids = list(dict.fromkeys([*new["checks"], *old["checks"]]))
    checks = {i: _status(old["checks"].get(i), new["checks"].get(i)) for i in ids}
    numbers = [row for i in ids for row in _numbers(i, old["checks"].get(i), new["checks"].get(i))]
    heads = [
        {"check": "headline", "name": k, **change}
        for k in _HEADLINE
        if (change := difference(old["headline"].get(k), new["headline"].get(k)))
    ]
    worse = {i for i, c in checks.items() if c["direction"] == "worse"}
    worse |= {row["check"] for row in numbers if row["verdict"] == "worse"}
    order = ["worse", "better", "no clear change", "not comparable"]
    return {
        "comparison_version": COMPARISON_VERSION,
        "old": _about(old),
        "new": _about(new),
        "headline": heads,
        "checks": checks,
        "numbers": sorted(numbers, key=lambda r: order.index(r["verdict"])),
        "actions": _actions(old.get("actions") or [], new.get("actions") or []),
        "settings": _settings(old, new),
        "worse": [i for i in ids if i in worse],
    }


def _status(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    before = old["status"] if old else ABSENT
    after = new["status"] if new else ABSENT
    if before == after:
        direction = "same"
    elif before in _RANK and after in _RANK:
        direction = "worse" if _RANK[after] > _RANK[before] else "better"
    else:
        direction = "not comparable"
    shown = new or old or {}
    return {
        "title": shown.get("title", ""),
        "old": before,
        "new": after,
        "direction": direction,
        "reason": (new or {}).get("reason", ""),
    }


def _numbers(
    name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    before, after = (old or {}).get("numbers") or {}, (new or {}).get("numbers") or {}
    found = []
    for key, number in after.items():
        change = difference(before.get(key), number)
        if change:
            found.append({"check": name, "name": key, **change})
    return found


def _actions(old: list[Mapping[str, Any]], new: list[Mapping[str, Any]]) -> dict[str, Any]:
    before, after = {a["id"]: a for a in old}, {a["id"]: a for a in new}

    def brief(actions: Mapping[str, Any], others: Mapping[str, Any]) -> list[dict[str, str]]:
        return [
            {"id": i, "title": a["title"], "gain": gain_words(a)}
            for i, a in actions.items()
            if i not in others
        ]

    kept = [i for i in after if i in before]
    return {"gone": brief(before, after), "new": brief(after, before), "kept": kept}


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    before, after = old.get("settings") or {}, new.get("settings") or {}
    names = dict.fromkeys([*after, *before])
    return [
        {"name": k, "old": before.get(k), "new": after.get(k)}
        for k in names
        if before.get(k) != after.get(k)
    ]


def _about(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": report.get("title", ""),
        "created": report.get("created", ""),
        "heldout_version": report.get("heldout_version", ""),
        "word": report["headline"].get("word", ""),
    }


def render_text(comparison: Mapping[str, Any]) -> str:
    """Write a comparison as plain text, what is worse first.

    >>> side = {"schema_version": 1, "headline": {"word": "ready"}, "actions": [], "checks": {}}
    >>> print(render_text(compare(side, side)).splitlines()[0])
    ready -> ready
    """
    old, new = comparison["old"], comparison["new"]
    out = [
        f"{clean(old['word'], 40)} -> {clean(new['word'], 40)}",
        f"old: {clean(old['title'], 80)}, {clean(old['created'], 40)}",
        f"new: {clean(new['title'], 80)}, {clean(new['created'], 40)}",
    ]
    out += _section("Headline", [_line(r) for r in comparison["headline"]])
    moved = {i: c for i, c in comparison["checks"].items() if c["direction"] != "same"}
    lines = [
        f"{c['direction']}: {clean(i, 60)}: {status_word(c['old'], 'old')} -> "
        f"{status_word(c['new'], 'new')}. {clean(c['reason'], 300)}".strip()
        for i, c in moved.items()
    ]
    same = len(comparison["checks"]) - len(moved)
    out += _section("Checks", [*lines, f"{same} with the same status"])
    clear = [r for r in comparison["numbers"] if r["verdict"] in ("worse", "better")]
    rest = len(comparison["numbers"]) - len(clear)
    out += _section("Numbers", [*map(_line, clear), f"{rest} without a clear change"])
    actions = comparison["actions"]
    done = [f"gone: {clean(a['title'], 160)}" for a in actions["gone"]]
    due = [f"new: {clean(a['title'], 160)}, {clean(a['gain'], 160)}" for a in actions["new"]]
    out += _section("Actions", [*due, *done, f"{len(actions['kept'])} still open"])
    changed = [
        f"{clean(s['name'], 80)}: {clean(s['old'], 120)} -> {clean(s['new'], 120)}"
        for s in comparison["settings"]
    ]
    out += _section("Settings that differ", changed)
    return "\n".join(out) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _line(row: Mapping[str, Any]) -> str:
    words = change_words(row)
    where = "" if row["check"] == "headline" else f"{clean(row['check'], 60)}, "
    return (
        f"{row['verdict']}: {where}{clean(row['name'], 120)}: {words['old']} "
        f"({words['old_interval']}) -> {words['new']} ({words['new_interval']}), "
        f"{words['difference']} {words['unit']} ({words['interval']})"
    )


def render_html(comparison: Mapping[str, Any]) -> str:
    """Write a comparison as one self-contained HTML page, in the style of the report.

    >>> side = {"schema_version": 1, "headline": {"word": "ready"}, "actions": [], "checks": {}}
    >>> "<h1" in render_html(compare(side, side))
    True
    """
    from heldout.audit.report.html import environment

    template = environment().get_template("compare.html")
    return template.render(
        c=comparison, clean=clean, status_word=status_word, change_words=change_words
    )
