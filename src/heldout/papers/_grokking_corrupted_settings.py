"""Sizes and steps of the recipe `grokking_corrupted`; imports no torch."""

from __future__ import annotations

from typing import Any


def settings() -> dict[str, Any]:
    """Return by scale and experiment; "full" is as published, and not run."""
    found = {
        "tiny": _at(11, 0.7, 0.2, 24, 30, 30),
        "small": _at(97, 0.5, 0.35, 500, 500, 300),
        "full": _at(97, 0.5, 0.35, 500, 1000, 500),
    }
    found["small"]["forgetting"]["steps"] = 3500
    found["full"]["forgetting"]["steps"] = 5000
    for scale, full_batch in (("small", 500), ("full", 2000)):
        found[scale]["batches"] |= {"train_share": 0.65, "corrupted_share": 0.2}
        found[scale]["batches"] |= {"steps": 2000, "batch": 64, "full_steps": full_batch}
    found["full"]["dropout"] |= {"steps": 2000, "rates": [0.3, 0.6, 0.9]}
    return found


def _at(p: int, share: float, wrong: float, width: int, plain: int, decay: int) -> dict[str, Any]:
    same = {"p": p, "train_share": share, "corrupted_share": wrong, "width": width}
    return {
        "corrupted": same | {
            "few_share": 0.2, "few_steps": plain,
            "arms": {"plain": {"steps": plain}, "decay": {"steps": decay, "weight_decay": 15.0}},
        },
        "dropout": same | {"steps": plain, "rates": [0.3, 0.6]},
        "batches": same | {"steps": plain, "batch": 16, "full_steps": plain},
        "forgetting": same | {"steps": plain, "weight_decay": {"too_much": 20.0, "less": 5.0}},
    }  # fmt: skip
