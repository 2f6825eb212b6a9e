"""From the results of the zoo to a track record per check."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from heldout.audit.zoo.counted import DROP, Result, alarmed, has_defect, is_without
from heldout.core.environment import environment
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import bootstrap, proportion

_WITH_FIT = ("canaries", "data_size", "stability")  # checks that need the training function
_BOTH = ("influence",)  # checks whose rates are given without it and with it
_INFORMS = ("difficulty",)  # never warn, so that no rate could be anything but 0


def track_record(results: Iterable[Result]) -> dict[str, Any]:
    """Return the shipped record: per check on the reporting half, and counts of the zoo.

    A hit rate is over cases that truly have the defect the check looks for, a false-alarm rate
    over healthy ones; of the forecast, over shifted sets that cost the model 10 points or more,
    and over those that cost it less than 5; of overtraining, over models to which another length
    of training really brings 5 points or more, and less than 2; of canaries, over models whose
    fits learn flipped labels and really lose half of what a nearest neighbour would, and over
    those that do not or lose less than a quarter; of stability, over models whose error
    moves beyond the check's margin in two of five fits without a tenth of the examples, sampling
    error apart, and over those where it does in none; of
    fragmentation, over planted islands that a model follows, and over sites that it does not; of
    coverage, over models whose rare classes lose 10 points by being rare, and over those that
    lose less than 5 and sites that are rare for no reason. Both with Wilson intervals. Errors
    and precisions are means with bootstrap intervals over cases.

    A result that lacks a check counts for the others only. `code` says which code said what of
    the reporting half, by number of results; "not kept" where an older version did not say.
    """
    every = list(results)
    half = [r for r in every if r["half"] == "report"]
    names = sorted({name for r in every for name in r["status"]})
    checks = {name: _record(name, [r for r in half if name in r["status"]]) for name in names}
    return {
        "schema_version": 1,
        "cases": len({r["id"] for r in every}),
        "reported_on": len({r["id"] for r in half}),
        "environment": environment(),
        "code": {name: _code(name, half) for name in names},
        "checks": checks,
    }


def _code(name: str, half: list[Result]) -> dict[str, int]:
    said = [r.get("code", {}).get(name, "not kept") for r in half if name in r["status"]]
    return {code: said.count(code) for code in sorted(set(said))}


def _record(name: str, half: list[Result]) -> dict[str, Any]:
    plain = [r for r in half if r["fit"] == (name in _WITH_FIT)]
    out: dict[str, Any] = {"zoo": f"{len({r['id'] for r in half})} models not used for tuning"}
    if name in _INFORMS:
        never = [r for r in half if alarmed(name, r)]
        assert not never, f"{name} warned of {never[0]['id']}"
        return out | {"alarms": "never: it informs, so it has no rates"}
    out |= _named_sets(plain) if name == "shift_forecast" else _rates(name, plain)
    if name in _BOTH:
        fitted = _rates(name, [r for r in half if r["fit"]])
        out |= {f"{k}_with_fit": v for k, v in fitted.items()}
    for with_fit in (False, True):
        some = [r for r in half if r["fit"] == with_fit]
        out |= {f"{k}{'_with_fit' if with_fit else ''}": v for k, v in _extras(name, some).items()}
    return out


def _rates(name: str, some: list[Result]) -> dict[str, Any]:
    found = {
        "hit_rate": [alarmed(name, r) for r in some if has_defect(name, r)],
        "false_alarm_rate": [alarmed(name, r) for r in some if is_without(name, r)],
    }
    return {k: _share(v) for k, v in found.items() if v}


def _named_sets(results: list[Result]) -> dict[str, Any]:
    """Of shifted sets, not of models: a model meets several, and some of them do no harm."""

    def named(f: Result) -> bool:  # the check's own rule for a warning
        test = f["same_as_test"]
        return bool(f["value"] <= test - DROP and f["high"] < test)

    sets = [f for r in results for f in r["forecast"]]
    drops = [f["same_as_test"] - f["truth"] for f in sets]
    hurt = [named(f) for f, drop in zip(sets, drops, strict=True) if drop >= 2 * DROP]
    harmless = [named(f) for f, drop in zip(sets, drops, strict=True) if drop < DROP]
    found = {"hit_rate": hurt, "false_alarm_rate": harmless}
    return {k: _share(v) for k, v in found.items() if v}


def _extras(name: str, some: list[Result]) -> dict[str, Any]:
    if name == "label_noise":
        noisy = [r["label_noise"] for r in some if r["case"]["defect"] == "label_noise"]
        tenth = [r for r in noisy if 0.05 < r["true_rate"] < 0.15]
        rated = [r for r in noisy if r["rate"] is not None]
        return _means(
            average_precision=[r["ap"] for r in tenth],
            average_precision_peer=[r["peer_ap"] for r in tenth],
            average_precision_above_peer=[r["ap"] - r["peer_ap"] for r in tenth],
            rate_error=[abs(r["rate"] - r["true_rate"]) for r in rated],
        )
    if name == "leakage":
        found = [r["leakage"] for r in some if r["case"]["defect"] == "leakage"]
        both = sum(f["both"] for f in found)
        return (
            {
                "precision": _as_dict(proportion(both, sum(f["flagged"] for f in found))),
                "recall": _as_dict(proportion(both, sum(f["true"] for f in found))),
            }
            if found
            else {}
        )
    if name == "shift_forecast":
        sets = [f for r in some for f in r["forecast"]]
        kept = [f for r in some for f in r["forecast"] if r["case"]["defect"] != "shortcut"]
        out = _means(
            mean_absolute_error=[abs(f["value"] - f["truth"]) for f in sets],
            error_without_shortcuts=[abs(f["value"] - f["truth"]) for f in kept],
            error_same_as_test=[abs(f["same_as_test"] - f["truth"]) for f in sets],
            error_average_confidence=[abs(f["confidence"] - f["truth"]) for f in sets],
            width=[f["high"] - f["low"] for f in sets],
        )
        if sets:
            out["coverage"] = _share(f["low"] <= f["truth"] <= f["high"] for f in sets)
        return out
    if name == "canaries":
        told = [r["flips"] for r in some if "flips" in r and r["flips"]["said"] is not None]
        return _means(mean_absolute_error=[abs(f["said"] - f["lost"]) for f in told])
    if name == "overtraining":
        told = [r["stopping"] for r in some if "stopping" in r]
        told = [f for f in told if f["said"] is not None]
        return _means(mean_absolute_error=[abs(f["said"] - f["truth"]) for f in told])
    if name == "influence":
        told = [r["blamed"] for r in some if "blamed" in r and has_defect(name, r)]
        return _means(
            wrong_among_first=[f["first"] for f in told],
            wrong_among_all=[f["all"] for f in told],
            mean_absolute_error=[abs(f["said"] - f["first"]) for f in told],
        )
    if name == "coverage":
        told = [r["rare"] for r in some if "rare" in r]
        return _means(mean_absolute_error=[abs(f["said"] - f["truth"]) for f in told])
    if name == "stability":
        told = [r["leaving_out"] for r in some if "leaving_out" in r]
        told = [f for f in told if f["said"] is not None]
        return _means(
            mean_absolute_error=[abs(f["said"] - float(np.mean(f["changes"]))) for f in told]
        )
    if name == "data_size":
        pairs = [r["twice"] for r in some if r.get("twice") and r["twice"]["said"]]
        out = _means(mean_absolute_error=[abs(p["said"][0] - p["truth"]) for p in pairs])
        if pairs:
            out["coverage"] = _share(p["said"][1] <= p["truth"] <= p["said"][2] for p in pairs)
        return out
    return {}


def _means(**columns: list[float]) -> dict[str, Any]:
    out = {}
    for name, values in columns.items():
        if values:
            out[name] = _as_dict(
                bootstrap(partial(_mean, np.asarray(values)), len(values), stream(0, name), 2000)
            )
    return out


def _mean(values: np.ndarray, rows: np.ndarray) -> float:
    return float(values[rows].mean())


def _share(outcomes: Iterable[bool]) -> dict[str, Any]:
    found = list(outcomes)
    return _as_dict(proportion(sum(found), len(found)))


def _as_dict(i: Interval) -> dict[str, Any]:
    return {"value": round(i.value, 4), "ci_low": round(i.low, 4), "ci_high": round(i.high, 4),
            "n": i.n}  # fmt: skip
