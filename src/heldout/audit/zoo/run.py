"""Audit every case of the zoo; each result is one file, so a killed run goes on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib

from heldout.audit.api import ARTIFACTS, audit_task
from heldout.audit.artifacts import Artifacts
from heldout.audit.checks import CHECKS
from heldout.audit.collect import collect, measure_speed, plan
from heldout.audit.context import Settings
from heldout.audit.result import CheckResult
from heldout.audit.run import run_checks
from heldout.audit.zoo.code import code_of
from heldout.audit.zoo.measure import Audited, measure
from heldout.bench.zoo import World, world
from heldout.bench.zoo_cases import Case, cases
from heldout.core.borrow import borrowed
from heldout.core.files import read_json, write_json
from heldout.core.preparing import prepare
from heldout.core.task import Task
from heldout.papers.worker import steady

FIT_MINUTES, PLAIN_MINUTES = 1.5, 2.0
_SAME = 1e-9  # of accuracies, which one example changes by far more

Result = dict[str, Any]


def run(
    folder: Path, jobs: int = 1, only: str = "", half: str = "", checks: Sequence[str] = ()
) -> list[Result]:
    """Audit all cases that have no result yet, and return the results of all.

    Args:
        folder: one JSON file per case and mode.
        jobs: processes.
        only: keep cases whose id contains this.
        half: keep cases of this half, `tune` or `report`; both when empty.
        checks: run these again on cases that have a result, unless it is of the same code; the
            rest of the result stays. See `extended`.

    Raises:
        KeyError: no such check.
    """
    for name in checks:
        CHECKS[name]
    chosen = [c for c in cases() if only in c.id and c.half.startswith(half)]
    wanted = [(c, fit) for c in chosen for fit in c.modes]
    tasks = (joblib.delayed(_one)(c, fit, folder, tuple(checks)) for c, fit in wanted)
    return list(joblib.Parallel(jobs, verbose=1)(tasks))


def _one(case: Case, with_fit: bool, folder: Path, checks: tuple[str, ...]) -> Result:
    path = folder / f"{case.id}{'-fit' if with_fit else ''}.json"
    old = dict(read_json(path)) if path.exists() else None
    due = [] if old is None else due_checks(old, checks)
    if old is not None and not due:
        return old
    with steady():
        found = _audited(case, with_fit, old, due)
    write_json(path, found)
    return found


def _audited(case: Case, with_fit: bool, old: Result | None, due: list[str]) -> Result:
    made = world(case)
    arguments = made.arguments | ({} if with_fit else {"fit": None})
    task = prepare(**arguments, seed=case.seed)
    minutes = FIT_MINUTES if with_fit else PLAIN_MINUTES
    # The forecast must not have seen the kinds of shift that it forecasts.
    settings = Settings(case.seed, minutes, exclude_kinds=made.kinds)
    found = None if old is None else extended(old, case, made, task, settings, due)
    return _whole(case, made, task, settings) if found is None else found


def due_checks(old: Mapping[str, Any], checks: Sequence[str]) -> list[str]:
    """Return those checks of which a result says nothing, or what other code said.

    >>> due_checks({"status": {"gap": "passed"}, "code": {}}, ["gap"])
    ['gap']
    """
    return [c for c in checks if old.get("code", {}).get(c) != code_of(c)]


def _whole(case: Case, made: World, task: Task, settings: Settings) -> Result:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        report = audit_task(task, settings, Path(out))
        artifacts = Artifacts.open(Path(out) / ARTIFACTS)
        seen = Audited(case, made, task, report.checks, artifacts)
        found = _said(seen, list(CHECKS))
    found |= {"case": asdict(case), "id": case.id, "half": case.half, "fit": bool(task.fit)}
    if made.truth:
        found["planted"] = made.truth
    return found | {"seconds": time.monotonic() - start}


def extended(
    old: Mapping[str, Any], case: Case, made: World, task: Task, settings: Settings,
    checks: Sequence[str],
) -> Result | None:  # fmt: skip
    """Run some checks on a case, and return its result with theirs added or replaced.

    Collected is only what they need, and no gains of actions are measured, which no record reads.
    `code` says which code said what; nothing is in it of checks that an older version ran.

    Returns:
        None where the model is another than that of the result: its accuracies differ.
    """
    start = time.monotonic()
    needed = {"predictions"}
    for name in checks:
        needed.update(CHECKS[name].CHECK.needs, CHECKS[name].CHECK.uses)
    if "stability" in needed:
        needed.add("refits")  # its fits to all examples, within a share of the time of their own
    with tempfile.TemporaryDirectory() as out:
        with borrowed(task.classifier.model, evaluating=False):
            speed = measure_speed(task)
            planned = [p for p in plan(task, speed, settings) if p.collector.id in needed]
            context = collect(task, Path(out), settings, speed, planned)
            results = run_checks(context.artifacts)
        seen = Audited(case, made, task, results, context.artifacts)
        if not _same_model(old["accuracy"], results["accuracy"]):
            return None
        new = _said(seen, checks)
    merged = dict(old) | {k: v for k, v in new.items() if k not in _BY_CHECK}
    merged |= {k: dict(old.get(k, {})) | new[k] for k in _BY_CHECK}
    seconds = time.monotonic() - start
    return merged | {"seconds_added": old.get("seconds_added", 0.0) + seconds}


_BY_CHECK = ("status", "reason", "code")


def _same_model(accuracy: Mapping[str, float], result: CheckResult) -> bool:
    now = {s: n.value for s, n in result.numbers.items()}
    return now.keys() == accuracy.keys() and all(
        abs(now[s] - accuracy[s]) <= _SAME for s in accuracy
    )


def _said(seen: Audited, checks: Sequence[str]) -> Result:
    some = {name: seen.checks[name] for name in checks}
    out: Result = {
        "status": {k: r.status for k, r in some.items()},
        "reason": {k: r.reason for k, r in some.items()},
        "code": {k: code_of(k) for k in some},
    }
    return out | measure(seen, checks)
