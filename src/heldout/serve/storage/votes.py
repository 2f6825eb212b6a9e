"""Votes: one for each paper and voter."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import votes

_CHUNK = 500  # SQLite takes a bounded number of values in one statement


def cast(connection: Connection, paper: str, voter: str, now: float) -> bool:
    """Keep a vote; False when the voter had given it before.

    Of two at the same time one is kept, by the table's own constraint.

    Args:
        connection: to write with.
        paper: key of the paper.
        voter: stands for a visitor.
        now: UTC seconds since 1970.
    """
    made = connection.execute(
        insert_unless(connection, votes)
        .values(paper=paper, voter=voter, at=now)
        .on_conflict_do_nothing(index_elements=["paper", "voter"])
        .returning(votes.c.id)
    )
    return made.first() is not None


def withdraw(connection: Connection, paper: str, voter: str) -> bool:
    """Take a vote back; False when there was none."""
    mine = (votes.c.paper == paper) & (votes.c.voter == voter)
    return connection.execute(delete(votes).where(mine)).rowcount == 1


def has(connection: Connection, paper: str, voter: str) -> bool:
    """Whether a voter's vote for a paper is here."""
    mine = (votes.c.paper == paper) & (votes.c.voter == voter)
    return connection.execute(select(votes.c.id).where(mine)).first() is not None


def count(connection: Connection, papers: Sequence[str]) -> dict[str, int]:
    """Return how many votes papers have; those without any are absent.

    Cost: one query for every 500 papers.
    """
    found: dict[str, int] = {}
    for start in range(0, len(papers), _CHUNK):
        part = papers[start : start + _CHUNK]
        rows = connection.execute(
            select(votes.c.paper, func.count())
            .where(votes.c.paper.in_(part))
            .group_by(votes.c.paper)
        )
        found |= {str(paper): int(many) for paper, many in rows}
    return found
