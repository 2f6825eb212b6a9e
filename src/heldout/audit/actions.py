"""What to do: actions of all checks, their gains measured by retraining, ranked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from heldout.audit.artifacts import Artifacts
from heldout.audit.context import Context
from heldout.audit.result import Action, CheckResult, Number
from heldout.core.files import plain
from heldout.core.seeds import stream
from heldout.dynamics.regions import Region, transplant

MIN_SEEDS = 5
"""Pairs of retrained models below which a gain is not reported as measured."""


def measure_gains(context: Context, results: Mapping[str, CheckResult]) -> None:
    """Retrain with each action's change, paired by seed with `refits`, and store the answers.

    Stores `gains/<action>-<hash of its change>/<seed>`. Stops when the time is used up; actions
    come in order of their check's evidence, so that the likeliest gains are measured first.

    Cost: at least 5 trainings per action that changes the training set.
    """
    if context.task.fit is None:
        return
    seeds = _refit_seeds(context.artifacts)
    wanted = [a for a in _by_evidence(results) if a.change]
    for position, action in enumerate(wanted):
        key = _key(action)
        missing = [s for s in seeds if not context.artifacts.has(f"{key}/{s}")]
        if context.fit_seconds and context.fits_left() < len(missing):
            return
        changed = _changed(context, action.change)
        for seed in missing:
            context.tell(f"gain of action {position + 1} of {len(wanted)}, seed {seed}")
            context.keep(f"{key}/{seed}", partial(_retrained, context, seed, changed))


def ranked(artifacts: Artifacts, results: Mapping[str, CheckResult]) -> list[Action]:
    """Return all actions: largest gain first, then those of the strongest evidence."""
    excluded = _leaked_rows(results)
    actions = [_with_gain(artifacts, a, excluded) for a in _by_evidence(results)]
    return sorted(actions, key=lambda a: -(a.gain.value if a.gain is not None else -1e-9))


def _by_evidence(results: Mapping[str, CheckResult]) -> list[Action]:
    order = sorted(results.values(), key=lambda r: -r.finding.evidence)
    return [a for r in order for a in r.actions]


def _refit_seeds(artifacts: Artifacts) -> list[int]:
    seeds: list[int] = []
    while artifacts.has(f"refits/{len(seeds)}/test"):
        seeds.append(len(seeds))
    return seeds


def _retrained(context: Context, seed: int, changed: dict[str, Any]) -> dict[str, np.ndarray]:
    model = context.refit(seed=seed, **changed)
    labelled = [s for s in context.task.splits.values() if s.labels is not None]
    return {s.name: model(s.inputs).logits for s in labelled if s.name != "train"}


def _changed(context: Context, change: Mapping[str, Any]) -> dict[str, Any]:
    """What `refit` is given: rows, labels or inputs."""
    train = context.task.splits["train"]
    if "shuffle" in change:
        cells = tuple(change["shuffle"]["cells"])
        part = Region("part", "part", change["shuffle"]["space"], cells, 0.0)
        order = stream(context.settings.seed, "shuffle").permutation(len(train))
        return {"inputs": transplant(train.inputs, train.inputs.take(order), part)}
    labels = context.task.labels("train").copy()
    if "relabel" in change:
        labels[np.asarray(change["relabel"]["rows"], dtype=int)] = change["relabel"]["labels"]
        return {"labels": labels}
    keep = np.ones(len(labels), dtype=bool)
    keep[np.asarray(change["drop"], dtype=int)] = False
    return {"rows": np.flatnonzero(keep)}


def _key(action: Action) -> str:
    """The change is part of the key: a new ranking must not inherit an old one's gain."""
    content = json.dumps(plain(action.change), sort_keys=True)
    return f"gains/{action.id}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _leaked_rows(results: Mapping[str, CheckResult]) -> np.ndarray:
    """Test rows that are copies of training rows: they reward memory, so no gain counts there."""
    found = results.get("leakage")
    rows = [e.row for e in found.examples if e.split == "test"] if found else []
    return np.asarray(rows, dtype=int)


def _with_gain(artifacts: Artifacts, action: Action, excluded: np.ndarray) -> Action:
    if not action.change:
        return action
    labelled = [s for s in artifacts.shifted if artifacts.labels(s) is not None]
    # Leaving a cue out costs accuracy wherever the cue holds: it is meant for where it does not.
    broken = action.change.get("shuffle", {}).get("where", [])
    measured_on = [s for s in labelled if s in broken]
    where = "shifted data without the cue"
    if not measured_on:
        measured_on, where = ["test"], "test data"
    pairs = []
    for seed in _refit_seeds(artifacts):
        key = f"{_key(action)}/{seed}"
        if artifacts.has(key):
            after = artifacts.read(key)
            before = {s: artifacts.read(f"refits/{seed}/{s}")["logits"] for s in after}
            changes = {s: _hits(artifacts, s, after[s]) - _hits(artifacts, s, before[s])
                       for s in after}  # fmt: skip
            changes["test"] = np.delete(changes["test"], excluded)
            pairs.append(np.concatenate([changes[s] for s in measured_on]))
    if len(pairs) < MIN_SEEDS:
        return action
    return replace(action, gain=gain(np.stack(pairs), where), gain_kind="measured")


def _hits(artifacts: Artifacts, split: str, logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits.argmax(axis=1) == artifacts.labels(split), dtype=float)


def gain(differences: np.ndarray, where: str = "test data") -> Number:
    """Mean change of accuracy, in points, over seeds and examples.

    Args:
        differences: (seeds, examples) of correct-after minus correct-before, paired by seed.
        where: the data these examples are from, in words.

    The variance is that of the mean over seeds plus that of the mean over examples, so the
    interval speaks of another training run and of other test examples alike; Student's t with
    seeds - 1 degrees of freedom.

    >>> gain(np.zeros((5, 10))).value
    0.0
    """
    seeds, n = differences.shape
    per_seed, per_example = differences.mean(axis=1), differences.mean(axis=0)
    error = np.sqrt(per_seed.var(ddof=1) / seeds + per_example.var(ddof=1) / n)
    half = float(stats.t.ppf(0.975, seeds - 1) * error)
    value = float(per_seed.mean())
    return Number(
        100 * value,
        100 * (value - half),
        100 * (value + half),
        seeds,
        f"points of accuracy on {where}",
        "lower",
        null=0.0,
        null_label="no change",
        method=f"{seeds} pairs of retrained models on {n} examples of {where}, t interval",
        guide=f"Accuracy on {where} after minus before, same seeds on both sides.",
    )
