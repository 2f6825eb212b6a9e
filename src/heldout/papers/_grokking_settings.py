"""Sizes, steps and learning rates of the recipe `grokking_stability`; imports no torch."""

from __future__ import annotations

from typing import Any

Arms = dict[str, dict[str, Any]]


def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Return by scale and experiment.

    "full" has the published tasks, networks, rates and lengths, and has not been run. Not
    published, so ours: weight decay 0.3 of the network on pairs, the baselines' other rates, and
    betas but for StableMax's. AdamW's eps is the authors' default but for parity.
    """
    return {scale: _at(scale) for scale in ("tiny", "small", "full")}


def _at(scale: str) -> dict[str, dict[str, Any]]:
    # p, share, width of the tasks on pairs; then steps of each arm
    large, half, dense, longer = {
        "tiny": ((11, 0.6, 24), (11, 0.6, 24), (11, 0.8, 24), (11, 0.8, 24)),
        "small": ((113, 0.4, 200), (47, 0.5, 200), (47, 0.8, 200), (59, 0.8, 200)),
        "full": ((113, 0.4, 200),) * 3 + ((113, 0.7, 200),),
    }[scale]
    steps, decay, early, late, long = {
        "tiny": (40, 150, 50, 60, 40),
        "small": (300, 3000, 500, 1800, 5000),
        "full": (300, 30_000, 6_000, 20_000, 100_000),
    }[scale]
    rate = 0.0005 if scale == "full" else 0.002
    return {
        "generalize": _pairs(large, {
            "perpendicular": {"steps": steps, "perpendicular": True},
            "plain": {"steps": steps},
            "plain_0.003": {"steps": steps, "lr": 0.003},
            "plain_0.001": {"steps": steps, "lr": 0.001},
        }),
        "weight_decay": _pairs(half, {
            "plain": {"steps": decay},
            "perpendicular": {"steps": steps, "perpendicular": True},
            "weight_decay": {"steps": decay, "weight_decay": 0.3},
        }),
        "precision": _pairs(dense, {
            "float16": {"steps": early, "precision": "float16", "lr": rate},
            "float32": {"steps": late, "lr": rate},
            "float64": {"steps": late, "precision": "float64", "lr": rate},
        }) | {
            "looks": [early, late],
            "collapse_at": [["float16", "float32", early], ["float32", "float64", late]],
        },
        "stablemax": _pairs(dense, {
            "stablemax": {"steps": long, "beta2": 0.999, "stablemax": True},
            "softmax": {"steps": long, "beta2": 0.999},
            "softmax_0.003": {"steps": long, "beta2": 0.999, "lr": 0.003},
        }),
        "stall": _pairs(longer, _STALL[scale][0]) | _STALL[scale][1],
        "transformer": _transformer(scale),
        "parity": _parity(scale),
    }  # fmt: skip


def _stall(rate: float, early: int, half: int, end: int) -> tuple[Arms, dict[str, Any]]:
    # `half`: when about half of float32's examples have collapsed, in a trial with another seed
    arms: Arms = {
        "float16": {"steps": early, "precision": "float16", "lr": rate},
        "float32": {"steps": end, "lr": rate},
        "float64": {"steps": end, "precision": "float64", "lr": rate},
    }
    return arms, {
        "looks": [early, half],
        "accuracy_at": [["float16", "float32", early], ["float32", "float64", end]],
        "gain_from": [["float32", half], ["float64", half]],
    }


_STALL = {
    "tiny": _stall(0.002, 30, 40, 60),
    "small": _stall(0.002, 1500, 1500, 2300),
    "full": _stall(0.0005, 10_000, 15_000, 20_000),
}


def _transformer(scale: str) -> dict[str, Any]:
    p, share, hidden, std, steps, rates, decay = {
        "tiny": (7, 0.6, 16, 0.25, 30, (0.003, 0.01, 0.001), 1.5),
        "small": (97, 0.4, 256, 128**-0.5, 300, (0.003, 0.01, 0.001), 1.5),
        "full": (113, 0.4, 2048, 1.0, 5000, (0.001, 0.003, 0.0003), 1.5),
    }[scale]
    width, heads = (16, 2) if scale == "tiny" else (128, 4)
    first, *others = rates
    return {
        "task": "transformer", "p": p, "train_share": share,
        "width": width, "heads": heads, "hidden": hidden, "embedding_std": std,
        "arms": {
            "perpendicular": {"steps": steps, "lr": first, "perpendicular": True},
            "plain": {"steps": steps, "lr": first},
            **{f"plain_{rate}": {"steps": steps, "lr": rate} for rate in others},
            "weight_decay": {"steps": steps, "lr": first, "weight_decay": decay},
        },
    }  # fmt: skip


def _parity(scale: str) -> dict[str, Any]:
    n, bits, width, steps, short = {
        "tiny": (60, 12, 16, 40, 20),
        "small": (2000, 43, 200, 4000, 1000),
        "full": (2000, 43, 200, 100_000, 100_000),
    }[scale]
    common = {"steps": steps, "beta2": 0.999, "eps": 1e-18}
    return {
        "task": "parity", "n": n, "bits": bits, "k": 3, "train_share": 0.5, "width": width,
        "arms": {
            "stablemax": common | {"stablemax": True},
            "perpendicular": common | {"steps": short, "perpendicular": True},
            "softmax": common,
            "softmax_0.003": common | {"lr": 0.003},
            "softmax_0.001": common | {"lr": 0.001},
        },
    }  # fmt: skip


def _pairs(size: tuple[int, float, int], arms: Arms) -> dict[str, Any]:
    return {"task": "pairs", "p": size[0], "train_share": size[1], "width": size[2], "arms": arms}
