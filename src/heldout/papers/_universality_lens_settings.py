"""Sizes of the recipe `universality_lens`; imports no torch."""

from __future__ import annotations

from typing import Any

_POINTS = [8, 16, 24, 32, 48, 64, 96]
_WORLD = {
    "bits": 5, "widths": (8, 64), "truths": 6, "runs": 40, "points": _POINTS,
    "repeats": 200, "grid": [8, 12, 16, 24, 32, 48, 64, 96, 128, 192],
}  # fmt: skip
_CHAINS = {"order": 2, "largest": 6, "runs": 100}
_BRIDGE = {
    "worlds": 2, "width": 8, "examples": 20, "batch": 5, "inputs": 1000, "new": 200,
    "draws": 400_000, "chains": 4, "samples": 50, "burn_in": 800, "thinning": 50,
    "penalties": (0.0, 0.3, 1.0, 3.0), "descent": 1000, "distilling": 1000,
}  # fmt: skip


def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Return by scale and experiment.

    `repeats` and `grid` are of the samples that the commonest and the rarest truth need; `worlds`
    counts teachers with their examples, whose divergences are added up.
    """
    brief = {"worlds": 1, "draws": 2000, "samples": 8, "burn_in": 30, "thinning": 2}
    return {
        "tiny": {
            "boolean": _WORLD
            | {"nets": 1000, "fewest": 3, "truths": 4, "runs": 5, "points": [8, 32]}
            | {"repeats": 5, "grid": [8, 32]},
            "markov": _CHAINS | {"runs": 2, "points": [128, 256]},
            "bridge": _BRIDGE | brief | {"inputs": 100, "descent": 20, "distilling": 20},
        },
        "small": {
            "boolean": _WORLD | {"nets": 100_000, "fewest": 30},
            "markov": _CHAINS | {"points": [256, 512, 1024, 2048, 4096, 8192]},
            "bridge": _BRIDGE,
        },
        "full": {
            "boolean": _WORLD | {"nets": 1_000_000, "fewest": 100, "runs": 200, "repeats": 1000},
            "markov": _CHAINS | {"runs": 1000, "points": [2**k for k in range(8, 15)]},
            "bridge": _BRIDGE | {"worlds": 10, "draws": 2_000_000, "samples": 500},
        },
    }
