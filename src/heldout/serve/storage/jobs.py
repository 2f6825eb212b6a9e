"""Runs that were asked for: who waits, which one goes on, what it said and what came of it.

A row of `jobs` has in `result` what its columns do not, as JSON: seeds, who runs it, how far it is,
and at the end what was measured. Only the server that has claimed a job writes it; it is known by
the time at which it has claimed it, so that a server that was thought dead changes nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from heldout.serve.storage.tables import job_lines, jobs, state

WAITING = ("queued", "interrupted")
"""States from which a run is started; an interrupted one goes on where it was."""
ACTIVE = (*WAITING, "running")
"""States of runs that are not over."""
MOST_LOST = 2
"""How often a run whose server went away is started again."""
_MOST_AT_ONCE = 500


class QueueFull(Exception):
    """As many runs wait as may."""


@dataclass(frozen=True)
class Wanted:
    """What is to be measured."""

    slug: str
    """Paper."""
    claim: str
    """A claim's id, or "group:<experiment>" for all claims of an experiment."""
    scale: str
    """tiny or small."""
    seeds: int
    """How many, from 0 on."""


@dataclass(frozen=True)
class Job:
    """A run."""

    id: int
    """Number."""
    wanted: Wanted
    """What is measured."""
    state: str
    """queued, running, done, failed, cancelled or interrupted."""
    created_at: float
    """UTC seconds since 1970, as all times."""
    started_at: float | None
    """When it was claimed last."""
    finished_at: float | None
    """When it was over."""
    cancel: bool
    """Whether somebody has asked to end it."""
    pid: int | None
    """Leader of its group of processes."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What is in `result`."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ACTIVE


def enqueue(connection: Connection, wanted: Wanted, now: float, most: int) -> tuple[int, bool]:
    """Put a run at the end of the queue; one that waits or goes on already is joined.

    Returns:
        Its number, and whether it is new.

    Raises:
        QueueFull: `most` wait already.
    """
    _alone(connection)
    for job in _jobs(connection, jobs.c.state.in_(ACTIVE), jobs.c.slug == wanted.slug):
        if job.wanted == wanted and not job.cancel:
            return job.id, False
    if _count(connection, jobs.c.state.in_(WAITING)) >= most:
        raise QueueFull
    made = connection.execute(
        insert(jobs).values(
            slug=wanted.slug, claim=wanted.claim, scale=wanted.scale, state="queued",
            created_at=now, result=json.dumps({"seeds": wanted.seeds}),
        ).returning(jobs.c.id)
    )  # fmt: skip
    return int(made.scalar_one()), True


def one(connection: Connection, number: int) -> Job | None:
    """Return a run, or None."""
    return next(iter(_jobs(connection, jobs.c.id == number)), None)


def recent(connection: Connection, most: int, slug: str | None = None) -> list[Job]:
    """Return the newest runs, of one paper or of all."""
    wanted = () if slug is None else (jobs.c.slug == slug,)
    query = select(jobs).where(*wanted).order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
    return [_job(row) for row in connection.execute(query.limit(most))]


def ahead(connection: Connection, job: Job) -> int:
    """Return how many runs come before one that waits, those that go on included."""
    earlier = (jobs.c.created_at < job.created_at) | (
        (jobs.c.created_at == job.created_at) & (jobs.c.id < job.id)
    )
    waiting = _count(connection, jobs.c.state.in_(WAITING), earlier)
    return waiting + _count(connection, jobs.c.state == "running")


def claimable(connection: Connection, at_once: int) -> bool:
    """Return whether `claim` would find something: asked without locking anything."""
    if _count(connection, jobs.c.state == "running") >= at_once:
        return False
    return _count(connection, jobs.c.state.in_(WAITING)) > 0


def claim(connection: Connection, now: float, by: Mapping[str, Any], at_once: int) -> Job | None:
    """Take the oldest run that waits; None when there is none, or `at_once` go on already.

    Args:
        connection: to write with.
        now: becomes `started_at`.
        by: who takes it, kept for those who find the run without its server.
        at_once: how many may go on, over all servers.
    """
    _alone(connection)
    if _count(connection, jobs.c.state == "running") >= at_once:
        return None
    query = select(jobs).where(jobs.c.state.in_(WAITING)).order_by(jobs.c.created_at, jobs.c.id)
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return None
    job = _job(row)
    starts = int(job.kept.get("starts", 0)) + 1
    kept = {**job.kept, "by": dict(by), "beat": now, "starts": starts}
    taken = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.state == job.state)
        .values(state="running", started_at=now, pid=None, result=json.dumps(kept))
    )
    if taken.rowcount != 1:
        return None
    return replace(job, state="running", started_at=now, pid=None, kept=kept)


def keep(connection: Connection, job: Job, lines: Sequence[tuple[int, str]], now: float) -> bool:
    """Keep what a run has said since, `job.pid` and `job.kept`; False when it is no longer ours."""
    values = {"pid": job.pid, "result": json.dumps({**job.kept, "beat": now})}
    if connection.execute(update(jobs).where(*_ours(job)).values(values)).rowcount != 1:
        return False
    _add_lines(connection, job, lines, now)
    return True


def finish(
    connection: Connection, job: Job, into: str, lines: Sequence[tuple[int, str]], now: float
) -> bool:
    """Note the end of a run, or with "interrupted" that it goes on later; False when not ours."""
    values: dict[str, Any] = {"state": into, "pid": None, "result": json.dumps(job.kept)}
    if into not in WAITING:
        values["finished_at"] = now
    if connection.execute(update(jobs).where(*_ours(job)).values(values)).rowcount != 1:
        return False
    _add_lines(connection, job, lines, now)
    return True


def cancel(connection: Connection, number: int, now: float) -> bool:
    """End a run that waits, or ask its server to end it; False when it is over or unknown."""
    waits = (jobs.c.id == number, jobs.c.state.in_(WAITING))
    ended = update(jobs).where(*waits).values(state="cancelled", cancel=1, finished_at=now)
    if connection.execute(ended).rowcount == 1:
        return True
    asked = update(jobs).where(jobs.c.id == number, jobs.c.state == "running").values(cancel=1)
    return connection.execute(asked).rowcount == 1


def running(connection: Connection) -> list[Job]:
    """Return the runs that go on, as far as the database knows."""
    return _jobs(connection, jobs.c.state == "running")


def put_back(connection: Connection, job: Job, now: float) -> str:
    """Let a run whose server went away wait again; after `MOST_LOST` times it has failed.

    Returns:
        The new state; empty when somebody else has seen to it.
    """
    lost = int(job.kept.get("lost", 0)) + 1
    kept = {**job.kept, "lost": lost}
    into = "cancelled" if job.cancel else "interrupted"
    if into == "interrupted" and lost > MOST_LOST:
        into, kept["why"] = "failed", f"The server ended {lost} times while this run went on."
    return into if finish(connection, replace(job, kept=kept), into, (), now) else ""


def lines(connection: Connection, number: int, after: int, most: int) -> list[tuple[int, str]]:
    """Return the lines of a run whose number is above `after`, oldest first."""
    query = (
        select(job_lines.c.number, job_lines.c.text)
        .where(job_lines.c.job == number, job_lines.c.number > after)
        .order_by(job_lines.c.number)
        .limit(most)
    )
    return [(int(n), str(text)) for n, text in connection.execute(query)]


def last_line(connection: Connection, number: int) -> int:
    """Return the number of a run's last line; -1 when it has said nothing."""
    query = select(func.max(job_lines.c.number)).where(job_lines.c.job == number)
    found = connection.execute(query).scalar()
    return -1 if found is None else int(found)


def forget(connection: Connection, before: float) -> list[int]:
    """Remove runs that were over before a time, with their lines; return their numbers."""
    old = select(jobs.c.id).where(jobs.c.state.not_in(ACTIVE), jobs.c.finished_at < before)
    numbers = [int(n) for n in connection.execute(old.limit(_MOST_AT_ONCE)).scalars()]
    connection.execute(delete(job_lines).where(job_lines.c.job.in_(numbers)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(numbers)))
    return numbers


def active(connection: Connection) -> set[int]:
    """Return the numbers of all runs that are not over."""
    found = connection.execute(select(jobs.c.id).where(jobs.c.state.in_(ACTIVE)))
    return {int(n) for n in found.scalars()}


def _alone(connection: Connection) -> None:
    # One at a time through here: on PostgreSQL by the lock of this row, on SQLite, which knows no
    # such lock and leaves the words out, since only one connection writes at a time.
    row = select(state.c.value).where(state.c.name == "generation").with_for_update()
    connection.execute(row)


def _ours(job: Job) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.id == job.id, jobs.c.state == "running", jobs.c.started_at == job.started_at


def _add_lines(
    connection: Connection, job: Job, said: Sequence[tuple[int, str]], now: float
) -> None:
    if said:
        rows = [{"job": job.id, "number": n, "text": text, "at": now} for n, text in said]
        connection.execute(insert(job_lines), rows)


def _count(connection: Connection, *where: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(jobs).where(*where)
    return int(connection.execute(query).scalar_one())


def _jobs(connection: Connection, *where: ColumnElement[bool]) -> list[Job]:
    return [_job(r) for r in connection.execute(select(jobs).where(*where).order_by(jobs.c.id))]


def _job(row: Row[Any]) -> Job:
    kept = json.loads(row.result) if row.result else {}
    return Job(
        int(row.id), Wanted(row.slug, row.claim, row.scale, int(kept.get("seeds", 0))), row.state,
        row.created_at, row.started_at, row.finished_at, bool(row.cancel), row.pid, kept,
    )  # fmt: skip
