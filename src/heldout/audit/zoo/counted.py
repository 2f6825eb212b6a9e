"""Which models count for a check: those that have its defect, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heldout.audit.result import STATUSES
from heldout.bench.zoo_islands import DEFECTS as POOLED
from heldout.bench.zoo_rare import DEFECT as RARE
from heldout.dynamics.canary_verdict import INTERPOLATES

Result = dict[str, Any]
"""What the zoo's runner stores of one audit."""
DROP = 0.05
"""Accuracy that must really be lost before a cue or a shift counts as harmful."""

_WEAK = 0.10  # below the other classes on rows of its own, a class is truly weak
_STOP, _NO_STOP = 0.05, 0.02  # another length of training really brings so much, or no more
_MOVED, _JUMP = 0.03, 0.25  # as the check's margin: points, and share of the larger error
_SOME_FITS = 2  # of five, that surely change by more than that
_ALARMS = ("warning", "failed")
_ANSWERS = ("passed", *_ALARMS)
_DEALT = "rare_sites"  # by chance, so that no check should find anything in them


def has_defect(name: str, r: Result) -> bool:
    """Whether a case truly has what a check looks for.

    >>> has_defect("leakage", {"case": {"defect": "leakage"}})
    True
    """
    return name in _HAS and _HAS[name](r)


def is_without(name: str, r: Result) -> bool:
    """Whether a case is known not to have what a check looks for, so that an alarm is false.

    >>> is_without("leakage", {"case": {"defect": "tiny"}, "status": {"leakage": "passed"}})
    False
    """
    # What could not alarm would make the rate of false alarms look small.
    if r["status"][name] not in _ANSWERS:
        return False
    # What is measured of a case says whether an alarm was false, whatever was planted.
    if name in _HARMLESS:
        return _HARMLESS[name](r)
    if r["case"]["defect"] in _PLANTED.get(name, ()):
        return not _present(r)
    if r["case"]["defect"] != "healthy":
        return False
    # A healthy model may still meet a shift that truly hurts, have a weak class, or want more data.
    if name in ("data_size", "groups"):
        return not _HAS[name](r)
    return name != "accuracy" or _worst_drop(r) < DROP


def alarmed(name: str, r: Result) -> bool:
    """Whether a check warned or failed.

    >>> alarmed("gap", {"status": {"gap": "warning"}})
    True
    """
    status = r["status"][name]
    assert status in STATUSES
    return status in _ALARMS


_PLANTED: dict[str, tuple[str, ...]] = {
    "fragmentation": (*POOLED, _DEALT),
    "memorizing_units": ("memorized_units",),
    "shortcuts": ("idle_complement",),
}
_WRONG_LABELS, _NETWORKS = ("label_noise", "overtrained"), ("cnn", "mlp")
_HAS: dict[str, Callable[[Result], bool]] = {
    "label_noise": lambda r: r["case"]["defect"] == "label_noise",
    "leakage": lambda r: r["case"]["defect"] == "leakage",
    "shortcuts": lambda r: (
        r.get("cue_drop", 0.0) >= DROP
        or (r["case"]["defect"] in _PLANTED["shortcuts"] and _present(r))
    ),
    "coverage": lambda r: r["case"]["defect"] == RARE and _present(r),
    "fragmentation": lambda r: r["case"]["defect"] == "islands" and _present(r),
    "influence": lambda r: r["case"]["defect"] in _WRONG_LABELS and r["case"]["model"] in _NETWORKS,
    "stability": lambda r: "leaving_out" in r and _jumps(r["leaving_out"], 1.0) >= _SOME_FITS,
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
    "coverage": lambda r: (
        r["case"]["defect"] in ("healthy", _DEALT)
        or (r["case"]["defect"] == RARE and r["planted"]["loss"] < DROP)
    ),
    "overtraining": lambda r: "stopping" in r and r["stopping"]["truth"] < _NO_STOP,
    "stability": lambda r: "leaving_out" in r and not _jumps(r["leaving_out"], 0.0),
}


def _present(r: Result) -> bool:
    return bool(r.get("planted", {}).get("present", 0.0))


def _harmed(flips: Result, share: float = 1.0) -> bool:
    lost = flips["lost"] >= share * flips["limit"]
    return bool(flips["fitted"] >= INTERPOLATES and lost)


def _jumps(found: Result, noise: float) -> int:
    """How many fits change by more than the check's margin, less so many sampling errors."""
    told = zip(found["changes"], found["noise"], found["errors"], strict=True)
    return sum(abs(c) - noise * e > max(_MOVED, _JUMP * larger) for c, e, larger in told)


def _worst_drop(r: Result) -> float:
    shifted = [v for k, v in r["accuracy"].items() if k.startswith("shifted/")]
    return float(r["accuracy"]["test"] - min(shifted)) if shifted else 0.0
