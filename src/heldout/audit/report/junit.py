"""A JUnit file, so that any CI shows the checks as test cases."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from heldout.audit.report.gate import exceeds
from heldout.audit.report.text import STATUS_WORDS, clean, number_words, short


def junit(report: Mapping[str, Any], fail_on: str = "failed") -> str:
    """Render a report as JUnit XML, one test case per check.

    | status | in the file |
    |---|---|
    | failed | `failure`, whatever `fail_on` says: the file tells what was found |
    | warning | passes, with the reason in `system-out`; `failure` when `fail_on` objects to it |
    | could not run | `skipped`, since a tight budget is no defect; `error` when `fail_on` objects |
    | not applicable | `skipped` |
    | passed | passes |

    Args:
        report: the report's dict.
        fail_on: see `heldout.audit.report.gate.exceeds`.

    Raises:
        InputError: `fail_on` names something unknown.

    >>> print(junit({"created": "2025-01-01T00:00:00", "title": "m", "checks": {}})[:38])
    <?xml version='1.0' encoding='utf-8'?>
    """
    objected = set(exceeds(report, fail_on))
    suite = ET.Element("testsuite", name=clean(f"heldout audit: {report.get('title', '')}", 200))
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    plural = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    for name, check in report["checks"].items():
        outcome = _case(suite, name, check, name in objected)
        counts["tests"] += 1
        if outcome in plural:
            counts[plural[outcome]] += 1
    total = sum(float(c.get("seconds") or 0) for c in report["checks"].values())
    for key, count in counts.items():
        suite.set(key, str(count))
    suite.set("time", f"{total:.3f}")
    suite.set("timestamp", clean(report.get("created", ""), 40))
    root = ET.Element("testsuites", {k: str(v) for k, v in counts.items()})
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode("utf-8") + "\n"


def _case(suite: ET.Element, name: str, check: Mapping[str, Any], objected: bool) -> str:
    part = clean(check.get("part", "why"), 40)
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"heldout.audit.{part}",
        name=clean(name, 200),
        time=f"{float(check.get('seconds') or 0):.3f}",
    )
    status, reason = check["status"], clean(check.get("reason", ""))
    outcome = _outcome(status, objected)
    if outcome in ("failure", "error", "skipped"):
        message = f"{STATUS_WORDS.get(status, status)}: {reason}"
        found = ET.SubElement(case, outcome, message=message)
        if outcome != "skipped":
            found.set("type", status)
            found.text = _details(check)
    elif outcome == "told":
        ET.SubElement(case, "system-out").text = f"warning: {reason}\n{_details(check)}"
    return outcome


def _outcome(status: str, objected: bool) -> str:
    if status == "failed" or (status == "warning" and objected):
        return "failure"
    if status == "could_not_run":
        return "error" if objected else "skipped"
    return {"not_applicable": "skipped", "warning": "told"}.get(status, "passed")


def _details(check: Mapping[str, Any]) -> str:
    lines = [f"{clean(check.get('question', ''))}", f"rule: {clean(check.get('rule', ''))}"]
    for name, number in (check.get("numbers") or {}).items():
        words = number_words(number)
        null = f"; {words['null']}" if words["null"] else ""
        lines.append(f"{clean(name, 200)}: {short(number)}; {words['worse']}{null}")
    examples = check.get("examples") or []
    for e in examples[:10]:
        lines.append(f"{clean(e['split'], 200)}[{e['index']}]: {clean(e.get('why', ''), 300)}")
    if len(examples) > 10:
        lines.append(f"and {len(examples) - 10} more examples in the JSON report")
    return "\n".join(lines)
