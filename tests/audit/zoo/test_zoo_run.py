"""Results that are extended by some checks: what stays, what is replaced, what is refused."""

import numpy as np
import pytest

from heldout.audit.checks import CHECKS
from heldout.audit.zoo import run as zoo
from heldout.audit.zoo.code import code_of
from heldout.bench.zoo_cases import Case
from heldout.core.files import read_json, write_json

CASE = Case("wine", "logistic", "healthy", 0.0, 24)


@pytest.fixture()
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "cases", lambda: [CASE])
    made = zoo.world(CASE)
    model = made.arguments["model"]
    accuracy = {
        name: float(np.mean(model.predict(x) == y))
        for name, (x, y) in {
            "train": made.arguments["train"], "test": made.arguments["test"],
            **{f"shifted/{k}": v for k, v in made.arguments["shifted"].items()},
        }.items()
    }  # fmt: skip
    old = {
        "id": CASE.id, "half": "tune", "fit": False, "case": {"defect": "healthy"},
        "status": {"gap": "failed", "difficulty": "failed"}, "reason": {"gap": "old words"},
        "accuracy": accuracy, "forecast": ["as it was"], "seconds": 3.0,
    }  # fmt: skip
    write_json(tmp_path / f"{CASE.id}.json", old)
    return tmp_path


def test_only_the_checks_asked_for_are_replaced(folder):
    (found,) = zoo.run(folder, only=CASE.id, checks=["difficulty", "fragmentation"])
    assert found["status"] == {"gap": "failed", "difficulty": "passed", "fragmentation": "passed"}
    assert found["reason"]["gap"] == "old words" and found["forecast"] == ["as it was"]
    assert found["code"] == {c: code_of(c) for c in ("difficulty", "fragmentation")}
    assert found["seconds"] == 3.0 and found["seconds_added"] > 0
    assert read_json(folder / f"{CASE.id}.json") == found


def test_what_the_same_code_said_is_not_asked_again(folder, monkeypatch):
    path = folder / f"{CASE.id}.json"
    (first,) = zoo.run(folder, checks=["difficulty"])
    monkeypatch.setattr(zoo, "world", lambda case: pytest.fail("it was made again"))
    assert zoo.run(folder, checks=["difficulty"]) == [first] == zoo.run(folder)
    monkeypatch.undo()
    write_json(path, first | {"code": {"difficulty": "other"}, "status": {"difficulty": "failed"}})
    monkeypatch.setattr(zoo, "cases", lambda: [CASE])
    (again,) = zoo.run(folder, checks=["difficulty"])
    assert again["status"]["difficulty"] == "passed"


def test_another_model_than_the_recorded_one_is_audited_whole(folder, monkeypatch):
    path = folder / f"{CASE.id}.json"
    old = read_json(path)
    one_more = old["accuracy"]["test"] - 1 / 68
    write_json(path, old | {"accuracy": old["accuracy"] | {"test": one_more}})
    monkeypatch.setattr(zoo, "_whole", lambda *given: {"whole": True})
    assert zoo.run(folder, checks=["difficulty"]) == [{"whole": True}]


def test_a_case_without_result_is_audited_whole_and_names_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "cases", lambda: [CASE])
    monkeypatch.setattr(zoo, "_whole", lambda *given: {"whole": True})
    assert zoo.run(tmp_path, checks=["difficulty"]) == [{"whole": True}]
    with pytest.raises(KeyError, match="did you mean"):
        zoo.run(tmp_path, checks=["dificulty"])


def test_the_code_of_a_check_covers_the_stages_it_reads():
    assert len({code_of(name) for name in CHECKS}) > 10
    assert code_of("influence") != code_of("label_noise")
