"""Two reports: what is worse, what is better, what cannot be said."""

import copy
import json
import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.audit.report.changes import difference
from heldout.audit.report.compare import compare, render_html, render_text
from heldout.core.errors import InputError


def number(value, half, worse="lower", unit="points"):
    return {"value": value, "ci_low": value - half, "ci_high": value + half, "n": 100,
            "unit": unit, "worse": worse, "null": None, "null_label": "", "level": 0.95,
            "method": "", "guide": ""}  # fmt: skip


values = st.floats(-100, 100)
halves = st.floats(0.01, 50)


@given(values, halves, values, halves)
def test_symmetric_intervals_give_the_normal_theory_difference(a, ha, b, hb):
    change = difference(number(a, ha), number(b, hb))
    half = math.hypot(ha, hb)
    assert change["difference"] == pytest.approx(b - a)
    assert change["ci_low"] == pytest.approx(b - a - half, abs=1e-6)
    assert change["ci_high"] == pytest.approx(b - a + half, abs=1e-6)
    assert change["overlap"] == (abs(b - a) <= ha + hb)


@given(values, halves, values, halves, st.sampled_from(["higher", "lower"]))
def test_swapping_the_reports_swaps_the_verdict(a, ha, b, hb, worse):
    there = difference(number(a, ha, worse), number(b, hb, worse))["verdict"]
    back = difference(number(b, hb, worse), number(a, ha, worse))["verdict"]
    swapped = {"worse": "better", "better": "worse"}
    assert back == swapped.get(there, there)


@given(values, halves, values, halves)
def test_intervals_that_no_longer_overlap_are_always_a_clear_change(a, ha, b, hb):
    change = difference(number(a, ha), number(b, hb))
    if not change["overlap"]:
        assert change["verdict"] in ("worse", "better")


def test_direction_decides_which_change_is_worse():
    low, high = number(1, 0.1, "higher"), number(3, 0.1, "higher")
    assert difference(low, high)["verdict"] == "worse"
    low["worse"] = high["worse"] = "lower"
    assert difference(low, high)["verdict"] == "better"


def test_what_cannot_be_compared():
    assert difference(None, number(1, 1)) is None
    assert difference(number(1, 1), number(1, 1, unit="nats"))["verdict"] == "not comparable"
    unknown = number(1, 1) | {"value": None}
    assert difference(number(1, 1), unknown)["verdict"] == "not comparable"
    bare = number(1, 1) | {"ci_low": None}
    assert difference(number(2, 1), bare)["verdict"] == "not comparable"
    assert difference(bare, bare)["verdict"] == "no clear change"


def test_a_report_does_not_differ_from_itself(report):
    found = compare(report, json.loads(json.dumps(report)))
    assert {c["direction"] for c in found["checks"].values()} == {"same"}
    assert {n["verdict"] for n in found["numbers"]} == {"no clear change"}
    assert not found["worse"] and not found["settings"]
    assert not found["actions"]["gone"] and not found["actions"]["new"]
    json.dumps(found, allow_nan=False)


@pytest.fixture
def changed(report):
    new = copy.deepcopy(report)
    new["checks"]["label_noise"]["status"] = "passed"
    new["checks"]["gap"]["status"] = "failed"
    new["checks"]["memorization"]["status"] = "could_not_run"
    test = new["checks"]["accuracy"]["numbers"]["test"]
    for key in ("value", "ci_low", "ci_high"):
        test[key] -= 0.2
    new["actions"] = new["actions"][1:] + [{**new["actions"][0], "id": "shortcuts.other"}]
    new["settings"]["seed"] = 5
    new["headline"]["word"] = "caution"
    return new


def test_changes_are_found(report, changed):
    found = compare(report, changed)
    direction = {i: c["direction"] for i, c in found["checks"].items()}
    assert direction["label_noise"] == "better" and direction["gap"] == "worse"
    assert direction["memorization"] == "not comparable"
    assert found["numbers"][0]["check"] == "accuracy" and found["numbers"][0]["name"] == "test"
    assert found["worse"] == ["accuracy", "gap"]
    assert [a["id"] for a in found["actions"]["new"]] == ["shortcuts.other"]
    assert [a["id"] for a in found["actions"]["gone"]] == ["shortcuts.mask"]
    assert found["settings"] == [{"name": "seed", "old": 0, "new": 5}]


def test_an_older_report_with_fewer_checks_has_not_passed_them(report):
    old = copy.deepcopy(report)
    del old["checks"]["numerics"], old["actions"], old["settings"]
    for sides, words in (((old, report), "not in the old report"),
                         ((report, old), "not in the new report")):  # fmt: skip
        found = compare(*sides)
        assert found["checks"]["numerics"]["direction"] == "not comparable"
        assert words in render_text(found) and words in render_html(found)
        assert "numerics" not in found["worse"]


def test_another_schema_version_is_refused(report):
    with pytest.raises(InputError, match="the old report, of schema version 0"):
        compare({**report, "schema_version": 0}, report)
    with pytest.raises(InputError, match="the new report"):
        compare(report, {"checks": {}})


def test_text_says_what_changed(report, changed):
    text = render_text(compare(report, changed))
    assert text.startswith("not ready -> caution")
    assert "worse: gap: passed -> failed" in text
    assert "worse: accuracy, test: 93.1% (90.3% to 95.2%) -> 73.1%" in text
    assert "\u221220.0 points" in text and "seed: 0 -> 5" in text


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {k for k, _ in attrs}


def test_page_is_escaped_and_whole(report, changed, hostile):
    plain = render_html(compare(report, changed))
    assert "Not ready &rarr; caution" in plain and "shortcuts.other" not in plain
    same, evil = Tags(render_html(compare(report, report))), compare(hostile, hostile)
    tags = Tags(render_html(evil))
    assert tags.tags == same.tags and tags.attributes == same.attributes
    assert "\x1b" not in render_text(evil)
