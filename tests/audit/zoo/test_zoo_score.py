"""Scoring the zoo: counted by hand, and able to fail."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from heldout.audit.checks import CHECKS
from heldout.audit.track import track_records
from heldout.audit.zoo.score import track_record
from heldout.audit.zoo.table import BEGIN, END, with_table
from heldout.audit.zoo.truth import flip_loss, stopping_gain
from heldout.bench.zoo import world
from heldout.bench.zoo_cases import cases
from heldout.core.preparing import prepare


def _result(seed, defect, statuses=None, fit=False, **more):
    status = dict.fromkeys(CHECKS, "passed") | (statuses or {})
    base = {
        "id": f"{defect}-{seed}",
        "half": "report" if seed % 2 else "tune",
        "fit": fit,
        "case": {"defect": defect, "seed": seed, "model": "mlp"},
        "status": status,
        "accuracy": {"test": 0.9, "shifted/a": 0.88},
        "forecast": [],
    }
    return base | more


def test_only_the_reporting_half_is_counted():
    results = [
        _result(s, "leakage", {"leakage": "failed"}, leakage=_pairs(0, 0, 0)) for s in (0, 2)
    ]
    results += [_result(1, "leakage", {"leakage": "passed"}, leakage=_pairs(0, 0, 0))]
    found = track_record(results)["checks"]["leakage"]
    assert found["hit_rate"]["value"] == 0.0 and found["hit_rate"]["n"] == 1


def _pairs(flagged, true, both):
    return {"flagged": flagged, "true": true, "both": both}


def test_hits_alarms_precision_and_recall_by_hand():
    results = [
        _result(1, "leakage", {"leakage": "failed"}, leakage=_pairs(8, 10, 7)),
        _result(3, "leakage", {"leakage": "could_not_run"}, leakage=_pairs(0, 10, 0)),
        _result(1, "healthy", {"leakage": "warning"}),
        _result(3, "healthy"),
        _result(5, "healthy"),
    ]
    found = track_record(results)["checks"]["leakage"]
    assert found["hit_rate"]["value"] == 0.5  # a check that could not run did not find it
    assert found["false_alarm_rate"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["precision"]["value"] == 7 / 8
    assert found["recall"]["value"] == 7 / 20


def test_a_planted_cue_that_the_model_ignores_is_no_shortcut():
    results = [
        _result(1, "shortcut", {"shortcuts": "failed"}, cue_drop=0.3),
        _result(3, "shortcut", {"shortcuts": "passed"}, cue_drop=0.01),
        _result(5, "shortcut", {"shortcuts": "passed"}, cue_drop=0.1),
    ]
    found = track_record(results)["checks"]["shortcuts"]["hit_rate"]
    assert (found["value"], found["n"]) == (0.5, 2)


def test_forecast_error_and_coverage_and_what_swapping_them_would_show():
    sets = [
        {"value": 0.8, "low": 0.7, "high": 0.9, "truth": 0.75, "same_as_test": 0.9,
         "confidence": 0.85},
        {"value": 0.6, "low": 0.55, "high": 0.65, "truth": 0.75, "same_as_test": 0.9,
         "confidence": 0.85},
    ]  # fmt: skip
    found = track_record([_result(1, "healthy", forecast=sets)])["checks"]["shift_forecast"]
    assert found["mean_absolute_error"]["value"] == pytest.approx(0.1)
    assert found["coverage"]["value"] == 0.5
    worse = copy.deepcopy(sets)
    worse[0]["truth"], worse[1]["truth"] = 0.2, 0.9
    other = track_record([_result(1, "healthy", forecast=worse)])["checks"]["shift_forecast"]
    assert other["coverage"]["value"] == 0.0


def test_with_and_without_fit_are_kept_apart():
    noise = {"ap": 0.9, "peer_ap": 0.8, "rate": 0.1, "true_rate": 0.1}
    results = [
        _result(1, "label_noise", label_noise=noise),
        _result(1, "label_noise", label_noise=noise | {"ap": 0.95, "rate": 0.2}, fit=True),
    ]
    found = track_record(results)["checks"]["label_noise"]
    assert found["average_precision_above_peer"]["value"] == pytest.approx(0.1)
    assert found["average_precision_above_peer_with_fit"]["value"] == pytest.approx(0.15)
    assert found["rate_error"]["value"] == 0 and found["rate_error_with_fit"]["value"] == 0.1


def test_a_world_is_deterministic_and_tells_the_truth():
    case = next(c for c in cases() if c.defect == "label_noise" and c.dataset == "wine")
    first, again = world(case), world(case)
    assert (first.arguments["train"][0] == again.arguments["train"][0]).all()
    assert (first.wrong_rows == again.wrong_rows).all()
    assert len(first.wrong_rows) == round(case.level * len(first.arguments["train"][1]))


def test_the_readme_table_is_that_of_the_shipped_record():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    file = Path(__file__).parents[3] / "src" / "heldout" / "records" / "audit" / "track_record.json"
    assert BEGIN in readme and END in readme
    if not file.exists():
        pytest.skip("the zoo has not been run")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert with_table(readme, record) == readme
    # a check that is newer than the record has none yet, and says so in its report
    assert set(record["checks"]) == set(CHECKS)
    assert track_records() == record["checks"]


def test_the_forecast_is_scored_by_shifted_set():
    def said(value, high, truth):
        return {"set": "a", "value": value, "low": value - 0.1, "high": high, "truth": truth,
                "same_as_test": 0.9, "confidence": 0.9}  # fmt: skip

    sets = [
        said(0.70, 0.80, 0.75),  # hurts, and is named
        said(0.82, 0.95, 0.70),  # hurts, but the interval reaches the test accuracy
        said(0.80, 0.85, 0.88),  # harmless, and named all the same
        said(0.87, 0.89, 0.88),  # harmless, and too small a drop to name
        said(0.70, 0.80, 0.82),  # in between: counted nowhere
    ]
    found = track_record([_result(1, "healthy", forecast=sets)])["checks"]["shift_forecast"]
    assert found["hit_rate"]["value"] == 0.5 and found["hit_rate"]["n"] == 2
    assert found["false_alarm_rate"]["value"] == 0.5 and found["false_alarm_rate"]["n"] == 2


def test_a_weak_class_or_a_want_of_data_that_is_real_is_no_false_alarm():
    alarms = {"groups": "failed", "data_size": "warning"}
    twice = {"truth": 0.95, "said": [0.95, 0.9, 1.0]}
    real = _result(1, "healthy", alarms, fit=True, weakest_class_gap=0.2, twice=twice)
    plain = _result(3, "healthy", alarms, weakest_class_gap=0.02)
    found = track_record([real, plain, _result(1, "healthy", alarms, weakest_class_gap=0.2)])
    assert found["checks"]["groups"]["hit_rate"]["n"] == 1
    alarms_of_plain = found["checks"]["groups"]["false_alarm_rate"]
    assert alarms_of_plain["value"] == 1.0 and alarms_of_plain["n"] == 1
    assert found["checks"]["data_size"]["hit_rate"]["value"] == 1.0
    assert "false_alarm_rate" not in found["checks"]["data_size"]


def _flips(fitted, lost, said=0.1):
    return {"fitted": fitted, "lost": lost, "limit": 0.05, "said": said, "rows": 100}


def test_canaries_are_judged_by_what_flips_truly_cost():
    alarm = {"canaries": "warning"}
    results = [
        _result(1, "interpolating", alarm, fit=True, flips=_flips(1.0, 0.1)),  # hit
        _result(3, "overtrained", fit=True, flips=_flips(0.9, 0.06)),  # missed
        _result(5, "overtrained", alarm, fit=True, flips=_flips(1.0, 0.01)),  # benign: false
        _result(1, "overtrained", alarm, fit=True, flips=_flips(1.0, 0.04, None)),  # in between
        _result(7, "healthy", fit=True, flips=_flips(0.1, 0.1, None)),  # not learned: rightly quiet
        _result(9, "healthy", alarm),  # without fit nothing is known of it
    ]
    found = track_record(results)["checks"]["canaries"]
    assert (found["hit_rate"]["value"], found["hit_rate"]["n"]) == (0.5, 2)
    assert (found["false_alarm_rate"]["value"], found["false_alarm_rate"]["n"]) == (0.5, 2)
    error = found["mean_absolute_error_with_fit"]
    assert error["value"] == pytest.approx((0 + 0.04 + 0.09) / 3, abs=1e-4) and error["n"] == 3


def test_overtraining_is_judged_by_what_stopping_truly_brings():
    def truth(gain, said):
        return {"truth": gain, "said": said, "rows": 100}

    alarm = {"overtraining": "warning"}
    results = [
        _result(1, "peak", alarm, stopping=truth(0.3, 0.25)),
        _result(3, "peak", stopping=truth(0.05, 0.03)),
        _result(7, "peak", stopping=truth(0.04, 0.04)),  # in between
        _result(5, "peak", alarm, stopping=truth(0.0, 0.03)),  # planted, and yet no harm
        _result(7, "stopped", stopping=truth(-0.01, 0.0)),
        _result(9, "healthy", alarm),  # no network: nothing was measured
    ]
    found = track_record(results)["checks"]["overtraining"]
    assert (found["hit_rate"]["value"], found["hit_rate"]["n"]) == (0.5, 2)
    assert (found["false_alarm_rate"]["value"], found["false_alarm_rate"]["n"]) == (0.5, 2)
    assert found["mean_absolute_error"]["value"] == pytest.approx(0.11 / 5, abs=1e-4)


def test_planted_parts_and_units_count_where_they_are_measured_to_be_there():
    there, gone = {"planted": {"present": 1.0}}, {"planted": {"present": 0.0}}
    results = [
        _result(1, "idle_complement", {"shortcuts": "warning"}, **there),
        _result(3, "idle_complement", **there),
        _result(5, "idle_complement", **gone),
        _result(1, "memorized_units", {"memorizing_units": "warning"}, **there),
        _result(3, "memorized_units", **gone),
        _result(7, "healthy"),
    ]
    found = track_record(results)["checks"]
    assert (found["shortcuts"]["hit_rate"]["value"], found["shortcuts"]["hit_rate"]["n"]) == (
        0.5,
        2,
    )
    assert found["shortcuts"]["false_alarm_rate"]["n"] == 2
    assert found["memorizing_units"]["hit_rate"]["n"] == 1
    assert found["memorizing_units"]["false_alarm_rate"]["n"] == 2


def test_old_cases_keep_their_names_and_each_has_its_modes():
    every = cases()
    assert every[0].id == "healthy-0-digits-cnn-20"
    assert every[185].id == "overtrained-0.2-wine-mlp-23"
    assert {c.defect for c in every[186:]} == {
        "peak", "stopped", "interpolating", "idle_complement", "memorized_units", "islands",
        "bridged_islands", "balanced_islands", "rare_classes", "rare_sites",
        "unstable",
    }  # fmt: skip
    assert {c.modes for c in every if c.defect == "interpolating"} == {(True,)}
    assert {c.modes for c in every if c.defect in ("peak", "leakage")} == {(False,)}
    assert {c.modes for c in every if c.defect == "overtrained"} == {(False, True)}


@pytest.mark.parametrize(
    ("defect", "model", "least", "most"),
    [("peak", "random", 0.2, 1.0), ("stopped", "random", -0.05, 0.05)],
)
def test_the_truth_of_stopping_is_measured_on_spare_rows(defect, model, least, most):
    case = next(c for c in cases() if (c.defect, c.dataset) == (defect, "breast_cancer"))
    made = world(case)
    task = prepare(**made.arguments | {"shifted": None}, seed=case.seed)
    found = stopping_gain(made, task, {"overtraining": SimpleNamespace(numbers={})})
    assert least < found["truth"] < most and found["said"] is None and found["rows"] == 190


def test_the_truth_of_flips_is_that_of_a_nearest_neighbour():
    case = next(c for c in cases() if (c.defect, c.model) == ("interpolating", "nearest"))
    made = world(case)
    task = prepare(**made.arguments | {"shifted": None}, seed=case.seed)
    found = flip_loss(made, task, {"canaries": SimpleNamespace(numbers={})})
    assert found["fitted"] == 1.0 and found["rows"] == 600
    assert found["lost"] == pytest.approx(2 * found["limit"], abs=0.03)
