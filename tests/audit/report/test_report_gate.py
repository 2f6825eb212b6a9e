"""`--fail-on` and the JUnit file, against the table in their documentation."""

import itertools
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from rich.console import Console

from heldout.audit.report.gate import exceeds
from heldout.audit.report.junit import junit
from heldout.audit.report.terminal import summary
from heldout.core.errors import InputError

STATUSES = ("passed", "warning", "failed", "not_applicable", "could_not_run")


def by_status(report):
    return {s: [i for i, c in report["checks"].items() if c["status"] == s] for s in STATUSES}


def test_levels_for_all_checks(report):
    found = by_status(report)
    assert exceeds(report, "never") == []
    assert sorted(exceeds(report, "failed")) == sorted(found["failed"])
    assert sorted(exceeds(report, "warning")) == sorted(found["failed"] + found["warning"])
    assert exceeds(report, "could_not_run") == found["could_not_run"]
    assert sorted(exceeds(report, "failed, could_not_run")) == sorted(
        found["failed"] + found["could_not_run"]
    )


@pytest.mark.parametrize(("status", "level"), [*itertools.product(STATUSES, ("failed", "warning"))])
def test_levels_for_one_check(status, level):
    report = {"checks": {"gap": {"status": status}, "leakage": {"status": "failed"}}}
    objected = {
        "failed": {"failed", "could_not_run"},
        "warning": {"failed", "warning", "could_not_run"},
    }[level]
    expected = ["gap"] if status in objected else []
    assert exceeds(report, f"gap>={level}") == expected
    if level == "failed":
        assert exceeds(report, "gap") == expected


def test_a_level_holds_for_the_ids_before_it():
    report = {"checks": {i: {"status": "warning"} for i in ("a", "b", "c")}}
    assert exceeds(report, "a,b>=warning") == ["a", "b"]
    assert exceeds(report, "a>=failed,b>=warning") == ["b"]
    assert exceeds(report, "a>=warning,b") == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label_nois", "did you mean label_noise"),
        ("faild", "did you mean failed"),
        ("leakage>=warnin", "did you mean warning"),
        ("leakage>=passed", "level 'passed'"),
        ("", "empty"),
        (" , ", "empty"),
        ("never,failed", "'never'"),
        ("zzz", "one of"),
    ],
)
def test_unknown_words_are_refused_with_what_is_near(report, text, said):
    with pytest.raises(InputError, match=said):
        exceeds(report, text)


def cases(text):
    return {c.get("name"): c for c in ET.fromstring(text.encode()).iter("testcase")}


@pytest.mark.parametrize("fail_on", ["never", "failed", "warning", "warning,could_not_run"])
def test_junit_says_what_its_table_says(report, fail_on):
    text = junit(report, fail_on)
    found = cases(text)
    assert set(found) == set(report["checks"])
    objected = set(exceeds(report, fail_on))
    for name, check in report["checks"].items():
        tags = [e.tag for e in found[name]]
        expected = {
            "passed": [],
            "failed": ["failure"],
            "warning": ["failure"] if name in objected else ["system-out"],
            "not_applicable": ["skipped"],
            "could_not_run": ["error"] if name in objected else ["skipped"],
        }[check["status"]]
        assert tags == expected
        if tags:
            words = (found[name][0].get("message") or "") + (found[name][0].text or "")
            assert check["reason"] in words
    counts = Counter(e.tag for c in found.values() for e in c)
    suite = ET.fromstring(text.encode()).find("testsuite")
    assert int(suite.get("tests")) == len(found)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(attribute)) == counts[tag]


def test_junit_carries_numbers_and_survives_hostile_strings(report, hostile):
    assert "31.0 points (27.2 to 34.9, n = 432)" in junit(report)
    found = cases(junit(hostile))
    assert set(found) == set(hostile["checks"])
    assert "<script>alert(1)" in found["label_noise"].find("failure").get("message")


def shown(report, width=100):
    import io

    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(summary(report))
    return console.file.getvalue()


def test_summary_names_every_check_status_and_action(report):
    text = shown(report)
    assert "not ready" in text and "76.4% (63.4% to 86.1%, n = 4)" in text
    for name, check in report["checks"].items():
        lines = [row.split() for row in text.splitlines() if f" {name} " in row]
        assert [*check["status"].split("_"), name] in [row[: row.index(name) + 1] for row in lines]
    assert "measured" in text and "gain unknown" in text
    order = [text.index(f" {s} ") for s in ("failed", "warning", "passed", "not applicable")]
    assert order == sorted(order)


def test_summary_reads_no_markup_and_sends_no_control_characters(hostile):
    text = shown(hostile)
    assert "[bold]" in text and "\x1b" not in text and "\u202e" not in text
    assert shown(hostile, width=40)


def test_summary_counts_what_it_leaves_out(report):
    report["actions"] *= 3
    assert "and 4 more in the report" in shown(report)
