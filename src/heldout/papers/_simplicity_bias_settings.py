"""Sizes, steps and rates of the recipe `simplicity_bias`; imports no torch."""

from __future__ import annotations

from typing import Any


def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Return by scale and experiment; "full" is as published but for stopping, and not run."""
    found = {
        "tiny": _at(2_000, 400, 5, 60, 16),
        "small": _at(40_000, 10_000, 50, 20_000, 100),
        "full": _at(100_000, 10_000, 50, 60_000, 100),
    }
    found["small"]["noisy"]["training"]["steps"] = 14_000
    found["full"]["noisy"]["n"] = 40_000
    found["full"]["noisy"]["training"] |= {"steps": 40_000, "width": 300}
    return found


def _at(n: int, tests: int, dim: int, steps: int, width: int) -> dict[str, dict[str, Any]]:
    same = {"n": n, "n_test": tests, "dim": dim, "n_perm": 10}
    size = {"steps": steps, "width": width}
    fast = {"momentum": 0.9, "weight_decay": 5e-4, "fitted": 0.02}
    probe = size | fast | {"lr": 0.3}
    # one rate for the net and its control: at 0.3 some seeds' control never left chance
    image = size | {"momentum": 0.9, "lr": 0.03, "fitted": 0.01}
    against = size | {"momentum": 0.9, "lr": 0.03, "epsilon": 0.2, "steps": min(steps, 1_500)}
    return {
        "lms5": same
        | {"training": size | {"fitted": 1e-3}, "probe": probe, "members": 3}
        | {"norm": 1.0, "n_attack": n // 10},
        "ms57": same
        | {"training": size | {"fitted": 2e-3}, "probe": probe, "members": 1}
        | {"norm": 0.5, "n_attack": n // 10},
        "images": same | {"n": n // 4, "training": image, "probe": image, "against": against},
        "noisy": same | {"training": size | fast, "rates": [0.1, 0.3], "noise": 0.1},
    }
