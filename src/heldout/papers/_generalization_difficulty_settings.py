"""What each scale of the recipe measures."""

from __future__ import annotations

from typing import Any

_CONSTANTS: dict[str, Any] = {"source": "the authors' code: n, m, R, delta, classes, eps"}
_SPHERES: dict[str, Any] = {
    "ambient": 50, "eps": 0.01, "gap": 0.15, "dimensions": (3, 4, 5, 6, 7, 8),
    "gap_range": (3, 6), "touching_range": (5, 8), "points": 2000,
    "samples": {"gap": 1, "touching": 40},
}  # fmt: skip
_DIGITS: dict[str, Any] = {
    "eps": 0.01, "sizes": (400, 800, 1797), "repeats": 3, "halvings": 5,
    "noise": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4), "compared": (0.0, 0.1, 0.4),
}  # fmt: skip
_PAIRS: dict[str, Any] = {"classes": 10, "eps": 0.01, "splits": 5, "shots": 20}

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "constants": _CONSTANTS,
        "spheres": _SPHERES | {"points": 300, "samples": {"gap": 1, "touching": 2}},
        "digits": _DIGITS
        | {"repeats": 1, "halvings": 1, "sizes": (400, 800), "noise": (0.0, 0.1, 0.4)},
        "pairs": _PAIRS | {"classes": 4, "splits": 1},
    },
    "small": {
        "constants": _CONSTANTS, "spheres": _SPHERES, "digits": _DIGITS, "pairs": _PAIRS,
    },
    "full": {
        "constants": _CONSTANTS,
        "spheres": _SPHERES | {"points": 10_000},
        "digits": _DIGITS | {"repeats": 10, "halvings": 20},
        "pairs": _PAIRS | {"splits": 20},
    },
}  # fmt: skip
"""Settings of each experiment by scale."""
