"""Checks, one file each: pure functions of what was collected.

A check module has `CHECK: Check` and `run(artifacts) -> Finding`. It may raise
`NotApplicableError` or `SkippedError` with a reason. Adding one = a file and a sorted line here.
"""

from __future__ import annotations

from heldout.core.registry import Registry

CHECKS = Registry(
    "check",
    __name__,
    (
        "accuracy",
        "calibration",
        "canaries",
        "coverage",
        "data_size",
        "difficulty",
        "fragmentation",
        "gap",
        "groups",
        "influence",
        "label_noise",
        "leakage",
        "memorization",
        "memorizing_units",
        "numerics",
        "overtraining",
        "shift_forecast",
        "shortcuts",
        "stability",
    ),
)
