"""The model card: YAML that parses to the measured numbers, Markdown that keeps its columns."""

import re

import pytest
import yaml

from heldout.audit.report.card import card


def parts(text):
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_front_matter_holds_the_measured_accuracies(report):
    front, _ = parts(card(report, "me/my-model"))
    (model,) = front["model-index"]
    assert model["name"] == "me/my-model" and front["tags"] == ["heldout"]
    found = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in model["results"]}
    wanted = {k: v["value"] for k, v in report["checks"]["accuracy"]["numbers"].items()}
    assert found == wanted
    for result in model["results"]:
        assert result["task"]["type"] == "image-classification"
        assert result["metrics"][0]["type"] == "accuracy"
        assert result["metrics"][0]["verified"] is False
        assert "interval" in result["metrics"][0]["name"]


def test_forecasts_are_not_passed_off_as_measured(report):
    text = card(report)
    front, body = parts(text)
    assert "night" not in str(front)
    assert "Expected on shifted data, without labels | 76.4%" in body


def test_section_says_word_rule_checks_and_actions(report):
    _, body = parts(card(report))
    assert "**Not ready.**" in body and report["headline"]["rule"] in body
    for check in report["checks"].values():
        assert f"| {check['title']} | {check['status'].replace('_', ' ')} |" in body
    assert "gain unknown" in body and "measured" in body


def test_hostile_strings_stay_in_their_place(report, hostile):
    front, body = parts(card(hostile))
    (model,) = front["model-index"]
    plain, same = parts(card(report))
    assert len(model["results"]) == len(plain["model-index"][0]["results"])
    assert [sorted(r) for r in model["results"]] == [
        sorted(r) for r in plain["model-index"][0]["results"]
    ]
    assert "<" not in body and "`x`" not in body.replace("\\`x\\`", "")
    shape = [len(re.findall(r"(?<!\\)\|", line)) for line in body.splitlines()]
    assert shape == [len(re.findall(r"(?<!\\)\|", line)) for line in same.splitlines()]
    assert all(re.fullmatch(r"[\w./-]+", r["dataset"]["type"]) for r in model["results"])


@pytest.mark.parametrize("numbers", [{}, {"test": {"value": None, "unit": "accuracy (0-1)"}}])
def test_nothing_measured_is_still_yaml(report, numbers):
    report["checks"]["accuracy"]["numbers"] = numbers
    front, _ = parts(card(report))
    assert front["model-index"][0]["results"] == []
