"""Audit every case of the zoo; each result is one file, so a killed run goes on."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from heldout.audit.api import audit_task
from heldout.audit.artifacts import Artifacts
from heldout.audit.context import Settings
from heldout.audit.outcome import Report
from heldout.audit.zoo.truth import flip_loss, stopping_gain
from heldout.bench.zoo import World, world
from heldout.bench.zoo_cases import Case, cases
from heldout.core.files import read_json, write_json
from heldout.core.inputs import from_native
from heldout.core.preparing import prepare
from heldout.core.statistics import softmax
from heldout.core.task import Task

FIT_MINUTES, PLAIN_MINUTES = 1.5, 2.0


def run(folder: Path, jobs: int = 1, only: str = "", half: str = "") -> list[dict[str, Any]]:
    """Audit all cases that have no result yet, and return the results of all.

    Args:
        folder: one JSON file per case and mode.
        jobs: processes.
        only: keep cases whose id contains this.
        half: keep cases of this half, `tune` or `report`; both when empty.
    """
    chosen = [c for c in cases() if only in c.id and c.half.startswith(half)]
    wanted = [(c, fit) for c in chosen for fit in c.modes]
    tasks = (joblib.delayed(_one)(c, fit, folder) for c, fit in wanted)
    return list(joblib.Parallel(jobs, verbose=1)(tasks))


def _one(case: Case, with_fit: bool, folder: Path) -> dict[str, Any]:
    path = folder / f"{case.id}{'-fit' if with_fit else ''}.json"
    if path.exists():
        return dict(read_json(path))
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    made = world(case)
    arguments = made.arguments | ({} if with_fit else {"fit": None})
    task = prepare(**arguments, seed=case.seed)
    minutes = FIT_MINUTES if with_fit else PLAIN_MINUTES
    # The forecast must not have seen the kinds of shift that it forecasts.
    settings = Settings(case.seed, minutes, exclude_kinds=made.kinds)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        report = audit_task(task, settings, Path(out))
        artifacts = Artifacts.open(Path(out) / "artifacts")
        found = measure(case, made, task, report, artifacts)
    found |= {"case": asdict(case), "id": case.id, "half": case.half, "fit": with_fit}
    found["seconds"] = time.monotonic() - start
    write_json(path, found)
    return found


def measure(
    case: Case, made: World, task: Task, report: Report, artifacts: Artifacts
) -> dict[str, Any]:
    """Return statuses, and what each check said beside the truth."""
    checks = report.checks
    out: dict[str, Any] = {
        "status": {k: r.status for k, r in checks.items()},
        "reason": {k: r.reason for k, r in checks.items()},
        "forecast": _forecast(report, artifacts),
        "accuracy": {s: n.value for s, n in checks["accuracy"].numbers.items()},
    }
    if case.defect == "label_noise":
        out["label_noise"] = _label_noise(case, made, task, report)
    if case.defect in ("leakage", "healthy"):
        out["leakage"] = _leakage(made, report)
    if made.without_cue is not None:
        x, y = made.without_cue
        plain = float((task.classifier(from_native(x)).logits.argmax(axis=1) == y).mean())
        out["cue_drop"] = out["accuracy"]["test"] - plain
    if made.twice is not None and case.defect == "healthy":
        out["weakest_class_gap"] = _weakest_class(made, task)
    if made.twice is not None and task.fit and case.defect in ("healthy", "tiny"):
        out["twice"] = _twice(made, task, report)
    if made.truth:
        out["planted"] = made.truth
    if made.path is not None and not task.fit:
        out["stopping"] = stopping_gain(made, task, report)
    if task.fit and case.defect in ("healthy", "overtrained", "interpolating"):
        out["flips"] = flip_loss(made, task, report)
    return out


def _forecast(report: Report, artifacts: Artifacts) -> list[dict[str, Any]]:
    found = []
    for name, n in report.checks["shift_forecast"].numbers.items():
        split = f"shifted/{name}"
        if split in artifacts.splits and artifacts.labels(split) is not None:
            truth = float(artifacts.correct(split).mean())
            found.append(
                {
                    "set": name,
                    "value": n.value,
                    "low": n.ci_low,
                    "high": n.ci_high,
                    "truth": truth,
                    "same_as_test": float(artifacts.correct("test").mean()),
                    "confidence": float(artifacts.probabilities(split).max(axis=1).mean()),
                }
            )
    return found


def _label_noise(case: Case, made: World, task: Task, report: Report) -> dict[str, Any]:
    labels = made.arguments["train"][1]
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[made.wrong_rows] = True
    result = report.checks["label_noise"]
    score = np.full(len(labels), -np.inf)
    for rank, example in enumerate(result.examples):
        score[example.row] = -rank
    score[~np.isfinite(score)] = -len(labels)
    rate = result.numbers.get("rate")
    peer = _self_confidence(case, made, labels)
    return {
        "ap": float(average_precision_score(wrong, score)),
        "peer_ap": float(average_precision_score(wrong, -peer)),
        "rate": None if rate is None else rate.value,
        "true_rate": float(wrong.mean()),
    }


def _self_confidence(case: Case, made: World, labels: np.ndarray) -> np.ndarray:
    """Cleanlab's label-quality score: out-of-fold probability of the given label, five folds."""
    x = made.arguments["train"][0]
    quality = np.zeros(len(labels))
    folds = StratifiedKFold(5, shuffle=True, random_state=case.seed).split(x, labels)
    for fold, (rows, held) in enumerate(folds):
        task = prepare(
            made.arguments["fit"]((x[rows], labels[rows]), fold),
            (x[rows], labels[rows]),
            (x[held], labels[held]),
        )
        found = softmax(task.classifier(task.splits["test"].inputs).logits)
        quality[held] = found[np.arange(len(held)), labels[held]]
    return quality


def _leakage(made: World, report: Report) -> dict[str, int]:
    flagged = {e.row for e in report.checks["leakage"].examples if e.split == "test"}
    truth = set(made.leaked_rows.tolist())
    return {"flagged": len(flagged), "true": len(truth), "both": len(flagged & truth)}


def _weakest_class(made: World, task: Task) -> float:
    """How far the model's weakest class lies below the others, on rows that no check has seen."""
    assert made.twice is not None
    n = len(made.arguments["train"][1])
    x, y = made.twice[0][n:], made.twice[1][n:]
    right = task.classifier(from_native(x)).logits.argmax(axis=1) == y
    return float(max(right[y != c].mean() - right[y == c].mean() for c in np.unique(y)))


def _twice(made: World, task: Task, report: Report) -> dict[str, Any]:
    assert made.twice is not None and task.fit is not None
    x, y = made.twice
    test = task.splits["test"]
    models = [prepare(task.fit((x, y), s), (x, y), made.arguments["test"]) for s in range(3)]
    hits = [t.classifier(test.inputs).logits.argmax(axis=1) == test.labels for t in models]
    numbers = report.checks["data_size"].numbers
    found = numbers.get("error_with_twice_the_data")
    said = None if found is None else [1 - found.value, 1 - found.ci_high, 1 - found.ci_low]
    return {"truth": float(np.mean(hits)), "said": said}
