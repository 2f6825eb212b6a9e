"""Sizes and sweeps of the recipe `shortcut_policies`; imports no torch."""

from __future__ import annotations

from typing import Any


def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Return by scale and experiment; "full" has more data and is not recorded."""
    return {
        "tiny": {"sweeps": _at(300, 120, 200, 20)},
        "small": {"sweeps": _at(4000, 2400, 1000, 100)},
        "full": {"sweeps": _at(10_000, 4000, 5000, 200)},
    }


def _at(n: int, steps: int, tested: int, draws: int) -> dict[str, Any]:
    return {
        "n": n, "tested": tested, "steps": steps, "draws": draws, "batch": 128, "rate": 1e-3,
        "hidden": [64, 64], "bin": 0.05, "world": {"noise": 1.2, "amplitude": 8.0},
        # of views 0 to 1; the last two ranges are those of the authors' commands
        "diversity": {"centres": [0.3, 0.7], "widths": [0.0, 0.1, 0.2, 0.3, 0.4, 0.6]},
        "disparity": {"width": 0.1, "apart": [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8]},
        "inward": {"edges": [0.2, 0.8], "widths": [0.0, 0.15, 0.3, 0.45]},
        "augmentation": {"reach": [0.0, 0.1, 0.2, 0.4]},
        "bridge": {"shares": [0.0, 0.02, 0.1, 0.3]},
    }  # fmt: skip
