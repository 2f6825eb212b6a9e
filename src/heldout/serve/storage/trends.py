"""What has happened to papers lately: votes, runs and new records by the hour, and totals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Table,
    bindparam,
    cast,
    func,
    literal,
    select,
    union_all,
)

from heldout.serve.storage.tables import comments, jobs, verdicts, votes

_HOUR_S = 3600
FIRST_S = 3600
"""Records that are seen within so many seconds of the first one came with the first start."""


def happened(connection: Connection, since: float) -> list[tuple[str, str, int, int]]:
    """Return (what, paper, hour, how often) for all that was after a time.

    What is "vote", "run" (one that came to its end) or "record" (an hour in which a paper got new
    or changed verdicts, however many). Hours are counted since 1970. Records that were there from
    the beginning are no news: on a page that has just been set up nothing has happened yet.

    Args:
        connection: to read with.
        since: UTC seconds since 1970.
    """
    ended = jobs.c.state == "done"
    start = select(func.min(verdicts.c.seen_at) + FIRST_S).scalar_subquery()
    parts = (
        _hours("vote", votes, votes.c.paper, votes.c.at, func.count()).where(votes.c.at > since),
        _hours("run", jobs, jobs.c.slug, jobs.c.finished_at, func.count()).where(
            ended, jobs.c.finished_at > since
        ),
        _hours("record", verdicts, verdicts.c.slug, verdicts.c.seen_at, literal(1)).where(
            verdicts.c.seen_at > since, verdicts.c.seen_at > start
        ),
    )
    rows = connection.execute(union_all(*parts))
    return [(str(what), str(paper), int(hour), int(count)) for what, paper, hour, count in rows]


def counted(connection: Connection, papers: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the votes and the shown comments of some papers; those without any are absent."""
    if not papers:
        return {}, {}
    found: dict[str, dict[str, int]] = {"vote": {}, "comment": {}}
    for what, paper, count in connection.execute(_counts(), {"papers": list(papers)}):
        found[what][paper] = int(count)
    return found["vote"], found["comment"]


def _hours(
    what: str, table: Table, paper: ColumnElement[Any], at: ColumnElement[Any], count: Any
) -> Any:
    # Rounding half an hour earlier is the floor, which not every SQLite has.
    hour = cast(func.round(at / _HOUR_S - 0.5), Integer).label("hour")
    columns = (literal(what).label("what"), paper.label("paper"), hour, count.label("count"))
    return select(*columns).select_from(table).group_by(paper, hour)


@cache
def _counts() -> Any:
    # Put together once, which takes longer than to carry it out.
    papers: BindParameter[Any] = bindparam("papers", expanding=True)
    return union_all(
        _count("vote", votes).where(votes.c.paper.in_(papers)),
        _count("comment", comments).where(
            comments.c.paper.in_(papers), comments.c.state == "shown"
        ),
    )


def _count(what: str, table: Table) -> Any:
    columns = (literal(what).label("what"), table.c.paper, func.count().label("count"))
    return select(*columns).group_by(table.c.paper)
