"""Comments: as they were written, with who may see them, and who may not write any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from heldout.serve.storage.tables import comments, state

STATES = ("shown", "held", "removed")
"""Held and removed ones are kept, and seen by the operator only."""
_SAME_S = 600  # the same words by the same author within this time are one comment sent twice
_CHUNK = 500
_BANNED = "ban:"  # rows of the table `state`: this and a part of an author


@dataclass(frozen=True)
class Comment:
    """What a visitor wrote about a paper."""

    id: int
    """Number; the page's anchor is comment-<id>."""
    paper: str
    """Key of the paper."""
    name: str
    """As given, or empty."""
    text: str
    """Markdown, cleaned."""
    author: str
    """Two keyed hashes, <visitor>:<network of that day>."""
    state: str
    """One of `STATES`."""
    at: float
    """UTC seconds since 1970."""

    @property
    def html(self) -> Markup:
        """The text as HTML that can stand in a page."""
        from heldout.serve.markdown import html  # late: most pages have no comment

        return html(self.text)

    @property
    def iso(self) -> str:
        """The time for programs."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def when(self) -> str:
        """The time for readers.

        >>> Comment(1, "a", "", "", "", "shown", 0.0).when
        '1 January 1970, 00:00 UTC'
        """
        moment = datetime.fromtimestamp(self.at, UTC)
        return f"{moment.day} {moment:%B %Y, %H:%M} UTC"

    def ago(self, now: float) -> str:
        """How long it is since, in days or longer, since pages are kept for up to an hour.

        >>> Comment(1, "a", "", "", "", "shown", 0.0).ago(3 * 86400.0)
        '3 days ago'
        """
        days = int(now // 86400) - int(self.at // 86400)
        for size, name in ((365, "year"), (30, "month"), (7, "week")):
            if days >= size:
                many = days // size
                return f"{many} {name}{'s' if many > 1 else ''} ago"
        return {0: "today", 1: "yesterday"}.get(max(days, 0), f"{days} days ago")


def add(
    connection: Connection, paper: str, name: str, text: str, author: str, now: float,
    state: str = "shown",
) -> int:  # fmt: skip
    """Keep a comment and return its number; one that was sent twice is kept once.

    Args:
        connection: to write with.
        paper: key of the paper.
        name: of at most 60 characters, cleaned.
        text: Markdown of at most 5,000 characters, cleaned.
        author: see `Comment.author`.
        now: UTC seconds since 1970.
        state: shown or held.
    """
    if connection.dialect.name == "postgresql":
        # Writers to one paper come one after the other, as all writers do in SQLite.
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"comments {paper}"))))
    visitor = author.partition(":")[0]
    same = connection.execute(
        select(comments.c.id).where(
            comments.c.paper == paper, comments.c.at > now - _SAME_S, comments.c.text == text,
            comments.c.author.startswith(visitor, autoescape=True),
        )
    ).scalar()  # fmt: skip
    if same is not None:
        return int(same)
    made = connection.execute(
        insert(comments)
        .values(paper=paper, name=name, text=text, author=author, state=state, at=now)
        .returning(comments.c.id)
    )
    return int(made.scalar_one())


def shown(
    connection: Connection, paper: str, most: int = 100, before: int | None = None
) -> list[Comment]:
    """Return the newest comments that visitors may see, the oldest of them first.

    Args:
        connection: to read with.
        paper: key of the paper.
        most: comments at most.
        before: only ones with a smaller number.
    """
    wanted = select(comments).where(comments.c.paper == paper, comments.c.state == "shown")
    if before is not None:
        wanted = wanted.where(comments.c.id < before)
    rows = connection.execute(wanted.order_by(comments.c.id.desc()).limit(most)).all()
    return [_comment(row) for row in reversed(rows)]


def one(connection: Connection, number: int) -> Comment | None:
    """Return a comment whatever its state; None: there is none."""
    row = connection.execute(select(comments).where(comments.c.id == number)).first()
    return None if row is None else _comment(row)


def count(connection: Connection, papers: Sequence[str]) -> dict[str, int]:
    """Return how many comments of papers visitors see; those without any are absent."""
    found: dict[str, int] = {}
    for start in range(0, len(papers), _CHUNK):
        part = papers[start : start + _CHUNK]
        rows = connection.execute(
            select(comments.c.paper, func.count())
            .where(comments.c.paper.in_(part), comments.c.state == "shown")
            .group_by(comments.c.paper)
        )
        found |= {str(paper): int(many) for paper, many in rows}
    return found


def listed(
    connection: Connection, most: int = 50, only: str = "", paper: str = ""
) -> list[Comment]:
    """Return comments for the operator, newest first.

    Args:
        connection: to read with.
        most: comments at most.
        only: one of `STATES`; empty: all.
        paper: key of a paper; empty: all.
    """
    wanted = select(comments).order_by(comments.c.id.desc()).limit(most)
    if only:
        wanted = wanted.where(comments.c.state == only)
    if paper:
        wanted = wanted.where(comments.c.paper == paper)
    return [_comment(row) for row in connection.execute(wanted)]


def put(connection: Connection, numbers: Sequence[int], into: str) -> list[int]:
    """Change the state of comments and return the numbers of those that there are.

    Args:
        connection: to write with.
        numbers: of comments.
        into: one of `STATES`.
    """
    known = connection.execute(select(comments.c.id).where(comments.c.id.in_(numbers))).scalars()
    found = sorted(int(number) for number in known)
    connection.execute(update(comments).where(comments.c.id.in_(found)).values(state=into))
    return found


def authors(connection: Connection, beginning: str) -> list[str]:
    """Return the different visitors among the authors whose hash begins so; at most ten."""
    rows = connection.execute(
        select(comments.c.author)
        .where(comments.c.author.startswith(beginning, autoescape=True))
        .distinct()
        .limit(1000)
    ).scalars()
    return sorted({str(author).partition(":")[0] for author in rows})[:10]


def ban(connection: Connection, visitor: str, now: float) -> int:
    """Remove all comments of a visitor, let them write no more, and return how many those were.

    The networks that they wrote from are shut out as well, for the rest of the day on which they
    did: after that a network has another hash.
    """
    mine = comments.c.author.startswith(f"{visitor}:", autoescape=True)
    found = connection.execute(select(comments.c.author).where(mine).distinct()).scalars()
    parts = {part for author in found for part in str(author).split(":")} | {visitor}
    unban(connection, visitor, parts)
    connection.execute(
        insert(state), [{"name": f"{_BANNED}{part}", "value": int(now)} for part in sorted(parts)]
    )
    seen = connection.execute(
        update(comments).where(mine, comments.c.state != "removed").values(state="removed")
    )
    return int(seen.rowcount)


def unban(connection: Connection, visitor: str, parts: set[str] | None = None) -> bool:
    """Let a visitor write again; removed comments stay removed. False: they were not banned."""
    names = [f"{_BANNED}{part}" for part in sorted(parts or {visitor})]
    return connection.execute(delete(state).where(state.c.name.in_(names))).rowcount > 0


def is_banned(connection: Connection, author: str) -> bool:
    """Whether an author, or the network that they write from today, is shut out."""
    names = [f"{_BANNED}{part}" for part in author.split(":")]
    return (
        connection.execute(select(state.c.name).where(state.c.name.in_(names))).first() is not None
    )


def banned(connection: Connection) -> list[tuple[str, float]]:
    """Return who is shut out and since when, in UTC seconds since 1970."""
    rows = connection.execute(
        select(state.c.name, state.c.value)
        .where(state.c.name.startswith(_BANNED, autoescape=True))
        .order_by(state.c.value, state.c.name)
    )
    return [(str(name).removeprefix(_BANNED), float(at)) for name, at in rows]


def _comment(row: Row[Any]) -> Comment:
    return Comment(int(row.id), row.paper, row.name, row.text, row.author, row.state, float(row.at))
