"""Rates of the checks on sources, rare classes, influence and stability, counted by hand."""

from types import SimpleNamespace

import pytest

from heldout.audit.checks import CHECKS
from heldout.audit.zoo.counted import has_defect, is_without
from heldout.audit.zoo.score import track_record
from heldout.audit.zoo.table import table
from heldout.audit.zoo.truth import leaving_out
from heldout.bench.zoo import world
from heldout.bench.zoo_cases import Case, cases
from heldout.core.preparing import prepare


def _result(seed, defect, statuses=None, fit=False, model="mlp", **more):
    return {
        "id": f"{defect}-{model}-{seed}",
        "half": "report" if seed % 2 else "tune",
        "fit": fit,
        "case": {"defect": defect, "seed": seed, "model": model},
        "status": dict.fromkeys(CHECKS, "passed") | (statuses or {}),
        "accuracy": {"test": 0.9},
        "forecast": [],
    } | more


def _rates(results, check):
    row = track_record(results)["checks"][check]
    found = [row.get(k) for k in ("hit_rate", "false_alarm_rate")]
    return [None if f is None else (round(f["value"], 4), f["n"]) for f in found]


THERE, GONE = {"planted": {"present": 1.0}}, {"planted": {"present": 0.0}}


def test_islands_count_where_the_model_follows_them():
    alarm, unasked = {"fragmentation": "warning"}, {"fragmentation": "not_applicable"}
    results = [
        _result(1, "islands", alarm, **THERE),  # hit
        _result(3, "islands", {"fragmentation": "could_not_run"}, **THERE),  # missed
        _result(5, "islands", alarm, **GONE),  # not followed: false
        _result(1, "bridged_islands", **GONE),
        _result(1, "balanced_islands", **GONE),
        _result(1, "healthy"),
        _result(3, "healthy", unasked),  # could not have alarmed: does not count
    ]
    assert _rates(results, "fragmentation") == [(0.5, 2), (0.25, 4)]
    turned = [r | {"planted": {"present": 1 - r["planted"]["present"]}} for r in results[:3]]
    assert _rates(turned, "fragmentation") == [(1.0, 1), (1.0, 1)]


def test_rare_classes_count_by_what_rarity_truly_costs():
    def planted(loss):
        truth = {"present": float(loss >= 0.1), "loss": loss}
        return {"planted": truth, "rare": {"truth": loss, "said": 0.3}}

    alarm, unasked = {"coverage": "warning"}, {"coverage": "not_applicable"}
    results = [
        _result(1, "rare_classes", {"coverage": "failed"}, **planted(0.4)),
        _result(3, "rare_classes", alarm, **planted(0.02)),
        _result(5, "rare_classes", alarm, **planted(0.07)),  # in between
        _result(1, "rare_sites"),
        _result(1, "healthy", unasked),
    ]
    assert _rates(results, "coverage") == [(1.0, 1), (0.5, 2)]
    assert _rates(results, "fragmentation") == [None, (0.0, 2)]
    error = track_record(results)["checks"]["coverage"]["mean_absolute_error"]
    assert error["value"] == pytest.approx((0.1 + 0.28 + 0.23) / 3, abs=1e-4) and error["n"] == 3


def test_influence_is_asked_of_networks_with_wrong_labels_with_and_without_fit():
    def blamed(first, said):
        noise = {"ap": 0.9, "peer_ap": 0.8, "rate": 0.1, "true_rate": 0.1}
        shares = {"first": first, "all": 0.1, "said": said, "rows": 30}
        return {"blamed": shares, "label_noise": noise}

    alarm = {"influence": "warning"}
    results = [
        _result(1, "label_noise", alarm, **blamed(0.6, 0.5)),
        _result(1, "label_noise", alarm, fit=True, **blamed(0.6, 0.6)),
        _result(3, "overtrained", **blamed(0.2, 0.1)),
        _result(1, "label_noise", model="forest", **blamed(0.0, 0.0)),  # no layers to ask
        _result(1, "healthy", alarm),
        _result(3, "healthy", {"influence": "not_applicable"}, model="forest"),
    ]
    row = track_record(results)["checks"]["influence"]
    assert (row["hit_rate"]["value"], row["hit_rate"]["n"]) == (0.5, 2)
    assert (row["hit_rate_with_fit"]["value"], row["hit_rate_with_fit"]["n"]) == (1.0, 1)
    assert (row["false_alarm_rate"]["value"], row["false_alarm_rate"]["n"]) == (1.0, 1)
    assert row["wrong_among_first"]["value"] == pytest.approx(0.4)
    assert row["mean_absolute_error"]["value"] == pytest.approx(0.1)
    assert row["mean_absolute_error_with_fit"]["value"] == 0.0
    assert "finds the defect with `fit` 1.000" in table(track_record(results))


def test_stability_is_judged_by_fits_of_its_own():
    def moved(changes, errors, said=0.0):
        found = {"changes": changes, "noise": [0.05] * 3, "errors": errors, "said": said}
        return {"leaving_out": found | {"rows": 99}}

    alarm = {"stability": "warning"}
    wild = moved([-0.2, 0.02, 0.3], [0.4, 0.4, 0.5], 0.1)  # two beyond a quarter of the error
    between = moved([0.06, 0.07, 0.01], [0.2, 0.2, 0.2])  # as far, but within sampling error
    calm = moved([0.02, -0.01, 0.0], [0.1, 0.1, 0.1], 0.02)
    results = [
        _result(1, "peak", alarm, fit=True, **wild),
        _result(3, "peak", fit=True, **wild),
        _result(5, "peak", alarm, fit=True, **between),  # counted nowhere
        _result(1, "healthy", fit=True, **calm),
        _result(3, "healthy", alarm, fit=True, **calm),
        _result(5, "healthy", alarm),  # without fit nothing is known of it
    ]
    assert _rates(results, "stability") == [(0.5, 2), (0.5, 2)]
    error = track_record(results)["checks"]["stability"]["mean_absolute_error_with_fit"]
    assert error["n"] == 5 and error["value"] == pytest.approx(
        (2 * 0.06 + 0.14 / 3 + 2 * (0.02 - 0.01 / 3)) / 5, abs=1e-4
    )


def test_a_check_that_only_informs_has_no_rates_and_says_so():
    record = track_record([_result(1, "healthy"), _result(1, "islands", **THERE)])
    row = record["checks"]["difficulty"]
    assert set(row) == {"zoo", "alarms"} and row["alarms"].startswith("never")
    assert "| `difficulty` | never warns | never warns | |" in table(record)
    with pytest.raises(AssertionError, match="warned"):
        track_record([_result(1, "healthy", {"difficulty": "warning"})])


def test_results_that_lack_a_check_count_for_the_others_and_say_which_code():
    old = _result(1, "healthy")
    del old["status"]["influence"]
    new = _result(3, "healthy", code={"influence": "abc"})
    record = track_record([old, new])
    assert record["checks"]["influence"]["false_alarm_rate"]["n"] == 1
    assert record["checks"]["gap"]["false_alarm_rate"]["n"] == 2
    assert record["code"]["influence"] == {"abc": 1} and record["code"]["gap"] == {"not kept": 2}


def test_planted_worlds_carry_groups_and_their_truth():
    made = world(Case("breast_cancer", "mlp", "islands", 0.0, 20))
    assert made.truth["present"] == 1.0 and set(made.arguments["groups"]) == {"train", "test"}
    rare = world(Case("wine", "mlp", "rare_classes", 0.05, 20))
    counts = sorted(set(rare.arguments["train"][1].tolist()))
    assert counts == [0, 1, 2] and len(rare.arguments["train"][1]) < 90


def test_healthy_models_have_sites_that_say_nothing_in_training_alone():
    for dataset, sites in (("digits", 4), ("wine", 2)):
        made = world(Case(dataset, "logistic", "healthy", 0.0, 20))
        assert set(made.arguments["groups"]) == {"train"}
        site = made.arguments["groups"]["train"]["site"]
        counts = [int((site == s).sum()) for s in sorted(set(site.tolist()))]
        assert len(counts) == sites and max(counts) - min(counts) <= 1 and min(counts) >= 55


def test_the_reporting_half_grows_by_32_cases():
    late = {"islands", "bridged_islands", "balanced_islands", "rare_classes", "rare_sites"}
    new = [c for c in cases() if c.defect in (*late, "unstable")]
    assert len(new) == 64 and sum(c.half == "report" for c in new) == 32
    assert {c.modes for c in new if c.defect == "unstable"} == {(True,)}
    assert {c.modes for c in new if c.defect != "unstable"} == {(False,)}


def test_a_high_learning_rate_makes_trainings_fail_and_that_is_measured():
    case = next(c for c in cases() if (c.defect, c.model) == ("unstable", "mlp"))
    made = world(case)
    task = prepare(**made.arguments | {"shifted": None}, seed=case.seed)
    found = leaving_out(made, task, {"stability": SimpleNamespace(numbers={})})
    result = _result(1, "unstable", fit=True, leaving_out=found)
    assert has_defect("stability", result) and not is_without("stability", result)
    assert found["rows"] == 600 and max(found["errors"]) > 0.5
