"""A pytest file made of a report: every finding becomes a regression test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heldout.audit.report.text import clean, quoted, quoted_lines

_WIDTH = 88  # of a line, which every common linter accepts

_HEAD = '''"""Regression tests made by `heldout audit` from a report.

They read the newest report at REPORT, or at the path in HELDOUT_REPORT, and never the
model: run `heldout audit` first. Make this file again to move the bounds.

STATUS: a check must not end worse than it did. What passed must go on passing.
BOUNDS: a number's new interval must still reach the interval that was recorded, so
    chance alone rarely breaks a test.
FINDINGS: what was found when the file was made.
OPEN: findings that wait to be mended. Such a test turns red once its finding is mended;
    then delete its line in OPEN, and the test guards the mending.
"""

import json
import os
from pathlib import Path

import pytest
'''

_BODY = '''
RANK = {"passed": 0, "warning": 1, "failed": 2}


@pytest.fixture(scope="module")
def checks():
    path = Path(os.environ.get("HELDOUT_REPORT", REPORT))
    assert path.exists(), f"{path} does not exist; run heldout audit first"
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["schema_version"] == 1, "another schema version: make this file again"
    return report["checks"]


def rank(checks, check):
    """A check that is absent or could not run has not passed."""
    found = checks.get(check, {"status": "absent", "reason": "it is not in the report"})
    assert found["status"] in RANK, f"{check}: {found['status']}: {found['reason']}"
    return RANK[found["status"]], found["reason"]


@pytest.mark.parametrize("check", sorted(STATUS))
def test_status_is_not_worse(checks, check):
    now, reason = rank(checks, check)
    assert now <= RANK[STATUS[check]], f"{check} was {STATUS[check]}: {reason}"


@pytest.mark.parametrize(("check", "name", "worse", "bound"), BOUNDS)
def test_number_is_not_worse(checks, check, name, worse, bound):
    number = checks.get(check, {}).get("numbers", {}).get(name)
    assert number, f"{check}: the report has no number {name!r}"
    assert number["value"] is not None, f"{check}: {name!r} is not finite"
    if worse == "higher":
        best = number["value"] if number["ci_low"] is None else number["ci_low"]
        assert best <= bound, f"{check}: {name} is {best} or more, recorded {bound}"
    else:
        best = number["value"] if number["ci_high"] is None else number["ci_high"]
        assert best >= bound, f"{check}: {name} is {best} or less, recorded {bound}"
'''

_OPEN = """

@pytest.mark.xfail(strict=True, reason="open; once mended, delete its line in OPEN")
@pytest.mark.parametrize("check", sorted(OPEN))
def test_open_finding_is_mended(checks, check):
    now, reason = rank(checks, check)
    assert now == 0, f"{check}: {reason}"


@pytest.mark.parametrize("check", sorted(set(FINDINGS) - set(OPEN)))
def test_mended_finding_stays_mended(checks, check):
    now, reason = rank(checks, check)
    assert now == 0, f"{check}: {reason}"
"""


def pytest_file(report: Mapping[str, Any], path: str = "audit/report.json") -> str:
    """Return the text of a test file that guards what a report found.

    For every check that ran: its status may not get worse, and each number that had an interval
    may not get clearly worse, meaning that its new interval may not lie wholly beyond the bad
    end of the recorded one. For every warning and failure: an expected failure that turns red
    when the finding is mended, and guards it from then on. The file imports pytest only.

    Args:
        report: the report's dict.
        path: where the tests look for the newest report, unless HELDOUT_REPORT is set.

    Returns:
        Python that ruff's default rules accept; strings from the report are escaped literals.

    >>> text = pytest_file({"checks": {"gap": {"status": "passed", "numbers": {}}}})
    >>> "gap" in text and compile(text, "test_audit.py", "exec") is not None
    True
    """
    ran = {
        i: c for i, c in report["checks"].items() if c["status"] in ("passed", "warning", "failed")
    }
    status = [line for i, c in ran.items() for line in _pair(i, c["status"])]
    bounds = [row for i, c in ran.items() for row in _bounds(i, c)]
    found = {i: c for i, c in ran.items() if c["status"] != "passed"}
    parts = [
        _HEAD,
        *_joined("REPORT = ", path, "", ""),
        *_block("STATUS = {", status, "}"),
        "# check, number, which direction is worse, bad end of the recorded interval",
        *_block("BOUNDS = [", bounds, "]"),
    ]
    if found:
        why = [line for i, c in found.items() for line in _pair(i, clean(c.get("reason", ""), 400))]
        names = [line for i in found for line in _joined("    ", i, ",", "    ")]
        parts += [*_block("FINDINGS = {", why, "}"), *_block("OPEN = [", names, "]")]
    return "\n".join(parts) + "\n" + _BODY + (_OPEN if found else "")


def _bounds(check: str, what: Mapping[str, Any]) -> list[str]:
    rows: list[str] = []
    for name, number in (what.get("numbers") or {}).items():
        worse = number.get("worse")
        end = number.get("ci_high" if worse == "higher" else "ci_low")
        if end is None or worse not in ("higher", "lower"):
            continue
        row = f"    ({quoted(check)}, {quoted(name)}, {quoted(worse)}, {float(end)!r}),"
        if len(row) <= _WIDTH:
            rows.append(row)
            continue
        fields = [
            *_joined("        ", check, ",", "        "),
            *_joined("        ", name, ",", "        "),
            f"        {quoted(worse)},",
            f"        {float(end)!r},",
        ]
        rows += ["    (", *fields, "    ),"]
    return rows


def _pair(key: str, value: str) -> list[str]:
    return _joined(f"    {quoted(key)}: ", value, ",", "    ")


def _joined(before: str, value: str, after: str, indent: str) -> list[str]:
    """A string after some code: on one line when it fits, else in pieces between brackets."""
    one = f"{before}{quoted(value)}{after}"
    if len(one) <= _WIDTH:
        return [one]
    inner = indent + "    "
    pieces = [inner + piece for piece in quoted_lines(value, _WIDTH - len(inner))]
    return [f"{before}(", *pieces, f"{indent}){after}"]


def _block(first: str, lines: list[str], last: str) -> list[str]:
    return [first, *lines, last] if lines else [f"{first}{last}"]
