"""What `no_tight_bounds` runs: the exact examples, and the sweep with all its measures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from heldout.core.seeds import stream
from heldout.measures.estimability import (
    Odds,
    linear_failure,
    linear_perfect,
    memorizer_margin,
    simulate_memorizer,
    simulate_parity,
)
from heldout.measures.ranking import granulated_tau, kendall_tau
from heldout.measures.robust_ranking import environment_errors

NORMS = (
    "param_norm", "log_prod_fro", "log_prod_spec", "fro_over_spec", "path_norm", "fro_dist",
    "dist_spec_init",
)  # fmt: skip
"""Norm measures without a margin, of which the best is the baseline."""


def parity(given: dict[str, Any], seed: int) -> dict[str, float]:
    """Play out parities, and compare with the closed form."""
    metrics: dict[str, float] = {}
    apart = []
    for n in given["dimensions"]:
        rng = stream(seed, "parity", n)
        parts = [simulate_parity(n, given["chunk"], rng) for _ in range(given["chunks"])]
        odds = _mean(parts)
        metrics[f"parity/failure@{n}"], metrics[f"parity/perfect@{n}"] = odds.failure, odds.perfect
        metrics[f"parity/closed@{n}"] = linear_failure(n)
        apart += [abs(odds.failure - linear_failure(n)), abs(odds.perfect - linear_perfect(n))]
    last = given["dimensions"][-1]
    metrics["parity/failure"] = metrics[f"parity/failure@{last}"]
    metrics["parity/perfect"] = metrics[f"parity/perfect@{last}"]
    metrics["parity/apart"] = max(apart)
    for n in given["examples"]:
        rng = stream(seed, "memorizer", n)
        margin = given["margin"]
        odds = simulate_memorizer(given["domain"], n, given["worlds"], rng, margin)
        metrics[f"memorizer/failure@{n}"], metrics[f"memorizer/margin@{n}"] = (
            odds.failure, memorizer_margin(given["domain"], n),
        )  # fmt: skip
    few, many = given["examples"][0], given["examples"][-1]
    metrics["memorizer/failure_few"] = metrics[f"memorizer/failure@{few}"]
    metrics["memorizer/failure_many"] = metrics[f"memorizer/failure@{many}"]
    return metrics


def _mean(parts: list[Odds]) -> Odds:
    return Odds(
        float(np.mean([p.failure for p in parts])), float(np.mean([p.perfect for p in parts])),
        sum(p.worlds for p in parts),
    )  # fmt: skip


def rankings(given: dict[str, Any], seed: int) -> dict[str, float]:
    """Train the grid on every data set; rank its gaps by every measure."""
    from heldout.papers._no_tight_bounds_data import load
    from heldout.papers._no_tight_bounds_sweep import AXES, sweep

    metrics: dict[str, float] = {}
    place = os.environ.get("HELDOUT_DATA")
    folder = Path(place) / "no_tight_bounds" if place else None
    for name in given["data"]:
        data = load(name, max(given["examples"]), given["noise"], seed)
        runs = sweep(given, data, seed, name, folder)
        metrics[f"models/{name}"] = float(len(runs.values))
        metrics[f"dropped/{name}"] = float(runs.trained - len(runs.values))
        gaps = np.array(runs.gaps)
        axes = {a: np.array([v[i] for v in runs.axes]) for i, a in enumerate(AXES)}
        axes = {a: v for a, v in axes.items() if len(np.unique(v)) > 1}
        metrics |= {f"gap/{name}/least": gaps[:, 0].min(), f"gap/{name}/most": gaps[:, 0].max()}
        size = len(data.y_test)
        for key in runs.values[0]:
            values = np.array([v[key] for v in runs.values])
            metrics |= _scores(f"{name}/{key}", values, gaps[:, 0], axes, size, given)
        # What a measure could reach at best: the gap itself, on the other half of the test set.
        metrics |= _scores(f"{name}/oracle", gaps[:, 1], gaps[:, 2], axes, size // 2, given)
        noise = stream(seed, "random measure", name).normal(size=len(gaps))
        metrics |= _scores(f"{name}/random", noise, gaps[:, 0], axes, size, given)
        metrics |= _environments(name, gaps[:, 0], axes, size, given)
    return {k: float(v) for k, v in (metrics | _summary(metrics, given["data"])).items()}


def _environments(
    name: str, gap: np.ndarray, axes: dict[str, np.ndarray], size: int, given: dict[str, Any]
) -> dict[str, float]:
    """How many environments each hyperparameter has: which do not depend on the measure."""
    found = environment_errors(gap, gap, axes, size, fewest_pairs=given["fewest_pairs"])
    return {f"environments_by/{name}/{a}": float(found.axis.count(a)) for a in axes}


def _scores(
    name: str, values: np.ndarray, gap: np.ndarray, axes: dict[str, np.ndarray], size: int,
    given: dict[str, Any],
) -> dict[str, float]:  # fmt: skip
    by_axis = [v for v in granulated_tau(values, gap, axes).values() if np.isfinite(v)]
    found = environment_errors(values, gap, axes, size, fewest_pairs=given["fewest_pairs"])
    # Claims on rank correlation are of models trained on the same examples.
    examples = axes.get("examples", np.zeros(len(gap)))
    alike = [examples == n for n in np.unique(examples)]
    return {
        f"tau/{name}": float(np.mean([kendall_tau(values[a], gap[a]) for a in alike])),
        f"psi/{name}": float(np.mean(by_axis)) if by_axis else 0.0,
        f"worst_psi/{name}": float(np.min(by_axis)) if by_axis else 0.0,
        # No environment left is no evidence against a measure.
        f"worst_error/{name}": found.worst() if len(found.loss) else 0.0,
        f"environments/{name}": float(len(found.loss)),
    }


def _summary(metrics: dict[str, float], data: tuple[str, ...]) -> dict[str, float]:
    def mean(kind: str, name: str) -> float:
        return float(np.mean([metrics[f"{kind}/{d}/{name}"] for d in data]))

    names = sorted(k.split("/")[2] for k in metrics if k.startswith(f"tau/{data[0]}/"))
    measured = [n for n in names if n not in ("oracle", "random")]
    worst = {n: max(metrics[f"worst_error/{d}/{n}"] for d in data) for n in [*names]}
    return {
        "tau/aware": mean("tau", "pacbayes_mag_flatness"),
        "tau/oracle": mean("tau", "oracle"),
        "tau/random": abs(mean("tau", "random")),
        "tau/spectral": mean("tau", "log_prod_spec_over_margin"),
        "tau/variance": mean("tau", "gradient_variance"),
        "tau/aware_minus_best_norm": mean("tau", "pacbayes_mag_flatness")
        - max(mean("tau", n) for n in NORMS),
        "worst/least": min(worst[n] for n in measured),
        "worst/oracle": worst["oracle"],
        "environments": sum(metrics[f"environments/{d}/params"] for d in data),
        "axes": len({k.split("/")[2] for k, v in metrics.items()
                     if k.startswith("environments_by/") and v}),
        "models": min(metrics[f"models/{d}"] for d in data),
    }  # fmt: skip
