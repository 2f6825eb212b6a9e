"""Settings of the recipe `influence_llm`; imports no torch."""

from __future__ import annotations

from typing import Any


def settings() -> dict[str, dict[str, Any]]:
    """Return settings by scale and group. Dampings and lengths were tuned on seed 1000 alone."""
    return {
        "tiny": {
            "retraining": _retraining(60, 12, 1, 6, 20),
            "order": _order(4, 3, 20),
            "spread": _spread(120, 5, 20),
            "labels": _labels(100, 1, 30),
        },
        "small": {
            "retraining": _retraining(400, 60, 3, 40, 150),
            "order": _order(30, 20, 250),
            "spread": _spread(1400, 100, 150),
            "labels": _labels(1000, 4, 200),
        },
        "full": {"spread": {"queries": 20, "exponents": [2.0, 4.3]}},
    }


def _retraining(train: int, subsets: int, retrains: int, queries: int, steps: int) -> Any:
    return {
        "train": train, "subsets": subsets, "retrains": retrains, "queries": queries,
        "hidden": [16], "steps": steps, "decay": 1e-2,
        "grid": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        "damping": {
            "ekfac": 0.1, "ekfac_sampled": 0.1, "ekfac_empirical": 0.03, "kfac": 0.1,
            "diagonal": 0.001, "blocks": 1.0, "dense": 1.0, "refined": 1.0, "core": 1.0,
        },
        "refine": 4, "core": 200,
    }  # fmt: skip


def _order(facts: int, others: int, steps: int) -> Any:
    return {
        "facts": facts, "others": others, "width": 32, "layers": 2, "heads": 4, "steps": steps,
        "rate": 3e-3, "decay": 0.01,
        "kinds": {
            "ekfac": {}, "ekfac_empirical": {"fisher": "empirical"}, "dot": {"kind": "identity"},
        },
    }  # fmt: skip


def _spread(train: int, queries: int, least: int) -> Any:
    return {
        "train": train, "queries": queries, "hidden": [16], "steps": 150, "decay": 1e-2,
        "least": least, "exponents": [2.0, 4.3],
    }  # fmt: skip


def _labels(train: int, runs: int, clean: int) -> Any:
    return {
        "train": train, "wrong": 0.1, "clean": clean, "hidden": [64], "runs": runs, "rate": 0.1,
        "batch_size": 64, "lengths": [2, 4, 8, 16], "grid": [0.01, 0.1, 1.0, 10.0],
        "chosen": {
            "el2n": (8, 0.0), "self": (8, 10.0), "heldout": (16, 1.0), "self_dot": (8, 0.0),
            "heldout_dot": (16, 0.0),
        },
    }  # fmt: skip
