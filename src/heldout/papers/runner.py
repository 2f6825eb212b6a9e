"""Run what is left of a plan, and make records of what is finished."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from heldout.core.curves import by_step
from heldout.core.errors import InputError
from heldout.core.files import plain, write_json
from heldout.papers import records
from heldout.papers.backends import BackendError, check, workers
from heldout.papers.planning import Plan, Work, plan
from heldout.papers.units import PACKAGE, Unit
from heldout.papers.worker import Outcome, measure

Log = Callable[[dict[str, float], float], None]
"""Takes numbers by name, and a step."""


def reproduce(
    slugs: Sequence[str],
    *,
    scale: str = "small",
    seeds: int = 5,
    jobs: int = 1,
    backend: str = "loky",
    out: str | Path = "reproduced",
    again: bool = False,
    log: Log | None = None,
    claims: Sequence[str] = (),
    package: str = PACKAGE,
    data: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Measure papers' claims over seeds, and judge them by `verdict.judge`.

    Every finished seed is kept in `<out>/<slug>/seeds/`, so that the same call goes on after a
    kill; several processes may share a folder. The same seed gives the same metrics whatever the
    backend and the number of jobs.

    Args:
        slugs: papers; none means all that are built.
        scale: tiny, small or full.
        seeds: how many seeds per claim, from 0 on.
        jobs: units that run at once, each on one core.
        backend: loky, threading, ray or dask; see `backends.workers`.
        out: folder of the records, `<out>/<slug>/<claim>.json`.
        again: set aside what is there, and measure anew.
        log: called after each finished unit, with {"slug/group/seed/name": value} and a step:
            that of a metric "name@step", the seed for others.
        claims: ids to keep; all when empty.
        package: package that holds the recipes.
        data: folder of data that is not shipped, for recipes that need one.

    Returns:
        The records of the claims asked for, as they were written.

    Cost: one run of the recipe per group of claims and seed that is not in the folder yet.

    Raises:
        InputError: something asked for does not exist, or the folder cannot be used.
        MissingExtraError: the backend is not installed.
        BackendError: the workers or the cluster went away; finished units are kept.
    """
    check(backend, jobs)  # before `again` moves anything
    found = plan(
        slugs, claims=claims, scale=scale, seeds=seeds, out=Path(out), again=again,
        package=package, data=None if data is None else Path(data),
    )  # fmt: skip
    for note in (*found.notes, *(w.blocked for w in found.works if w.blocked)):
        logging.getLogger("heldout").warning(note)
    return run_plan(found, jobs=jobs, backend=backend, log=log)


def run_plan(
    found: Plan,
    *,
    jobs: int = 1,
    backend: str = "loky",
    log: Log | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> list[dict[str, Any]]:
    """Run the units of a plan; see `reproduce`.

    Args:
        found: from `planning.plan`.
        jobs: units that run at once.
        backend: see `backends.workers`.
        log: see `reproduce`.
        progress: called after each finished unit.

    Raises:
        InputError: another version of the code writes to the same folder.
        BackendError: the workers or the cluster went away.
    """
    works = {_key(w.group.unit(0)): w for w in found.works if not w.blocked}
    left = {key: len(work.units) for key, work in works.items()}
    made = {key: _judged(work) for key, work in works.items() if not left[key]}
    units = [unit for work in works.values() for unit in work.units]
    with workers(backend, jobs) as run:
        try:
            while units:
                held = []
                for outcome in run(measure, units):
                    if outcome.state == "held":
                        held.append(outcome.unit)
                        continue
                    _keep(outcome)
                    key = _key(outcome.unit)
                    left[key] -= 1
                    if not left[key]:
                        made[key] = _judged(works[key])
                    if log is not None:
                        log_unit(outcome.content or {}, log)
                    if progress is not None:
                        progress(outcome)
                units = held
                _wait(units)
        except BackendError as error:
            total = sum(len(w.units) for w in works.values())
            kept = total - sum(left.values())
            raise BackendError(
                f"{error}\n{kept} of {total} units are finished and kept; "
                "the same command goes on from there"
            ) from error
    return [record for key in works for record in made[key]]


def log_unit(content: dict[str, Any], log: Log) -> None:
    """Hand the metrics of a finished unit to a logger; see `reproduce`.

    >>> said = []
    >>> unit = {"slug": "p", "group": "g", "seed": 1, "metrics": {"loss@10": 0.5, "gain": 2.0}}
    >>> log_unit(unit, lambda numbers, step: said.append((numbers, step)))
    >>> said
    [({'p/g/1/gain': 2.0}, 1), ({'p/g/1/loss': 0.5}, 10.0)]
    """
    start = f"{content['slug']}/{content['group']}/{content['seed']}/"
    finite = {k: v for k, v in content.get("metrics", {}).items() if v is not None}
    for step, numbers in by_step(finite, -math.inf).items():  # no step of a curve is a seed
        at = content["seed"] if step == -math.inf else step
        log({start + name: value for name, value in numbers.items()}, at)


def _key(unit: Unit) -> tuple[str, str]:
    return unit.slug, unit.group


def _judged(work: Work) -> list[dict[str, Any]]:
    return [records.write_record(work.group, claim) for claim in work.group.claims]


def _keep(outcome: Outcome) -> None:
    unit = outcome.unit
    if outcome.state == "other code":
        raise records.other_code(unit.path, outcome.other, unit.code_hash)
    if outcome.state == "edited":
        raise InputError(
            f"{unit.module}, edited after a process had imported it",
            "a process that runs the code as it is now",
            "restart Python and run the same again",
        )
    if outcome.content is not None and not unit.path.exists():
        write_json(unit.path, plain(outcome.content))  # measured on a machine with its own disk


def _wait(units: Sequence[Unit]) -> None:
    """Return when a unit that another process held is free, or at once without any."""
    while units:
        for unit in units:
            with suppress(Timeout), FileLock(unit.lock, blocking=False):
                return
        time.sleep(0.1)
