"""From the results of the zoo to a track record per check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from heldout.audit.result import STATUSES
from heldout.core.environment import environment
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import bootstrap, proportion
from heldout.dynamics.canary_verdict import INTERPOLATES

Result = dict[str, Any]

_WEAK = 0.10  # below the other classes on rows of its own, a class is truly weak
_DROP = 0.05  # accuracy that must really be lost before a cue or a shift counts as harmful
_STOP, _NO_STOP = 0.05, 0.02  # another length of training really brings so much, or no more
_WITH_FIT = ("canaries", "data_size")  # checks that need the training function
_ALARMS = ("warning", "failed")


def track_record(results: Iterable[Result]) -> dict[str, Any]:
    """Return the shipped record: per check on the reporting half, and counts of the zoo.

    A hit rate is over cases that truly have the defect the check looks for, a false-alarm rate
    over healthy ones; of the forecast, over shifted sets that cost the model 10 points or more,
    and over those that cost it less than 5; of overtraining, over models to which another length
    of training really brings 5 points or more, and less than 2; of canaries, over models whose
    fits learn flipped labels and really lose half of what a nearest neighbour would, and over
    those that do not or lose less than a quarter. Both with Wilson intervals. Errors and
    precisions are means with bootstrap intervals over cases.
    """
    every = list(results)
    half = [r for r in every if r["half"] == "report"]
    checks = {name: _record(name, half) for name in sorted(every[0]["status"])}
    return {
        "schema_version": 1,
        "cases": len({r["id"] for r in every}),
        "reported_on": len({r["id"] for r in half}),
        "environment": environment(),
        "checks": checks,
    }


def _record(name: str, half: list[Result]) -> dict[str, Any]:
    plain = [r for r in half if r["fit"] == (name in _WITH_FIT)]
    out: dict[str, Any] = {"zoo": f"{len({r['id'] for r in half})} models not used for tuning"}
    has = _HAS.get(name, _never)
    if name == "shift_forecast":
        out |= _named_sets(plain)
    else:
        defective = [r for r in plain if has(r)]
        healthy = [r for r in plain if _healthy(name, r)]
        if defective:
            out["hit_rate"] = _share(_alarmed(name, r) for r in defective)
        if healthy:
            out["false_alarm_rate"] = _share(_alarmed(name, r) for r in healthy)
    for with_fit in (False, True):
        some = [r for r in half if r["fit"] == with_fit]
        out |= {f"{k}{'_with_fit' if with_fit else ''}": v for k, v in _extras(name, some).items()}
    return out


def _named_sets(results: list[Result]) -> dict[str, Any]:
    """Of shifted sets, not of models: a model meets several, and some of them do no harm."""

    def named(f: Result) -> bool:  # the check's own rule for a warning
        test = f["same_as_test"]
        return bool(f["value"] <= test - _DROP and f["high"] < test)

    sets = [f for r in results for f in r["forecast"]]
    drops = [f["same_as_test"] - f["truth"] for f in sets]
    hurt = [named(f) for f, drop in zip(sets, drops, strict=True) if drop >= 2 * _DROP]
    harmless = [named(f) for f, drop in zip(sets, drops, strict=True) if drop < _DROP]
    found = {"hit_rate": hurt, "false_alarm_rate": harmless}
    return {k: _share(v) for k, v in found.items() if v}


def _never(r: Result) -> bool:
    return False


_PLANTED = {"shortcuts": "idle_complement", "memorizing_units": "memorized_units"}
_HAS: dict[str, Callable[[Result], bool]] = {
    "label_noise": lambda r: r["case"]["defect"] == "label_noise",
    "leakage": lambda r: r["case"]["defect"] == "leakage",
    "shortcuts": lambda r: (
        r.get("cue_drop", 0.0) >= _DROP
        or (r["case"]["defect"] == _PLANTED["shortcuts"] and _present(r))
    ),
    "canaries": lambda r: "flips" in r and _harmed(r["flips"]),
    "overtraining": lambda r: "stopping" in r and r["stopping"]["truth"] >= _STOP,
    "memorizing_units": lambda r: r["case"]["defect"] == "memorized_units" and _present(r),
    "memorization": lambda r: r["case"]["defect"] == "overtrained",
    "gap": lambda r: r["case"]["defect"] == "overtrained",
    "groups": lambda r: (
        r["case"]["defect"] == "healthy" and r.get("weakest_class_gap", 0.0) >= _WEAK
    ),
    "data_size": lambda r: "twice" in r and r["twice"]["truth"] - r["accuracy"]["test"] >= 0.02,
}
# Of these the truth is measured too; what lies between harm and no harm is counted nowhere.
_HARMLESS: dict[str, Callable[[Result], bool]] = {
    "canaries": lambda r: "flips" in r and not _harmed(r["flips"], 0.5),
    "overtraining": lambda r: "stopping" in r and r["stopping"]["truth"] < _NO_STOP,
}


def _present(r: Result) -> bool:
    return bool(r.get("planted", {}).get("present", 0.0))


def _harmed(flips: Result, share: float = 1.0) -> bool:
    lost = flips["lost"] >= share * flips["limit"]
    return bool(flips["fitted"] >= INTERPOLATES and lost)


def _healthy(name: str, r: Result) -> bool:
    # What is measured of a case says whether an alarm was false, whatever was planted.
    if name in _HARMLESS:
        return _HARMLESS[name](r)
    if r["case"]["defect"] == _PLANTED.get(name):
        return not _present(r)
    if r["case"]["defect"] != "healthy":
        return False
    # A healthy model may still meet a shift that truly hurts, have a weak class, or want more data.
    if name in ("data_size", "groups"):
        return not _HAS[name](r)
    return name != "accuracy" or _worst_drop(r) < _DROP


def _worst_drop(r: Result) -> float:
    shifted = [v for k, v in r["accuracy"].items() if k.startswith("shifted/")]
    return float(r["accuracy"]["test"] - min(shifted)) if shifted else 0.0


def _alarmed(name: str, r: Result) -> bool:
    status = r["status"][name]
    assert status in STATUSES
    return status in _ALARMS


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
