"""Reading the papers that were fetched: some by date, some by key, and how many each day has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from heldout.serve.items import Item
from heldout.serve.storage.tables import fetched

SHORT = 420
"""Characters of an abstract on a card."""
_CHUNK = 500  # SQLite takes a bounded number of values in one statement

_KEY = re.compile(r"\d{4}\.\d{4,5}|[a-z-]{2,12}(\.[A-Z]{2})?/\d{7}", re.ASCII)


def is_number(key: str) -> bool:
    """Whether a text is an arXiv number without version, of the form from 2007 on or before.

    >>> is_number("2107.07075"), is_number("math.GT/0309136"), is_number("../../etc/passwd")
    (True, True, False)
    """
    return _KEY.fullmatch(key) is not None


def days(connection: Connection) -> dict[str, int]:
    """Return how many papers each day has; cost: one pass over an index, no table row."""
    rows = connection.execute(
        select(fetched.c.published, func.count()).group_by(fetched.c.published)
    )
    return {day: count for day, count in rows}  # noqa: C416 - rows are no pairs to mypy


def by_date(
    connection: Connection, first: str, last: str, newest: bool, offset: int, limit: int
) -> list[Item]:
    """Return some papers between two days, in the order of date and number, for cards.

    Args:
        connection: to read with.
        first: earliest day, YYYY-MM-DD.
        last: latest day.
        newest: newest first; otherwise oldest first.
        offset: papers to pass over; small, since the caller knows on which day to begin.
        limit: papers at most.
    """
    asked = {"first": first, "last": last, "offset": offset, "limit": limit}
    rows = connection.execute(_by_date(newest), asked)
    return [_item(row) for row in rows]


def by_key(connection: Connection, keys: Sequence[str]) -> dict[str, Item]:
    """Return the papers with these numbers, for cards; unknown ones are absent."""
    rows = (row for part in _parts(keys) for row in connection.execute(_by_key(), {"keys": part}))
    return {row.arxiv: _item(row) for row in rows}


def dates(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """Return the days of the papers with these numbers; unknown ones are absent."""
    columns = select(fetched.c.arxiv, fetched.c.published)
    return {
        row.arxiv: row.published
        for part in _parts(keys)
        for row in connection.execute(columns.where(fetched.c.arxiv.in_(part)))
    }


def whole(connection: Connection, key: str) -> tuple[Item, int, str] | None:
    """Return a paper with its whole abstract, its version and its categories; None: not here."""
    row = connection.execute(_whole(), {"key": key}).first()
    if row is None:
        return None
    return _item(row), int(row.version), str(row.categories)


def shortened(text: str, most: int = SHORT) -> str:
    """Return the beginning of a text, cut between words.

    >>> shortened("one two three", 9), shortened("one two", 9)
    ('one two…', 'one two')
    """
    if len(text) <= most:
        return text
    head = text[: most + 1].rpartition(" ")[0] or text[:most]
    return head.rstrip(" ,.;:") + "…"


# Statements are put together once: with SQLAlchemy that takes longer than to carry them out.
@cache
def _by_date(newest: bool) -> Any:
    order = (fetched.c.published, fetched.c.arxiv)
    return (
        _cards()
        .where(fetched.c.published.between(bindparam("first"), bindparam("last")))
        .order_by(*(c.desc() if newest else c.asc() for c in order))
        .offset(bindparam("offset"))
        .limit(bindparam("limit"))
    )


@cache
def _by_key() -> Any:
    return _cards().where(fetched.c.arxiv.in_(bindparam("keys", expanding=True)))


@cache
def _whole() -> Any:
    return select(fetched).where(fetched.c.arxiv == bindparam("key"))


def _cards() -> Any:
    # One more than is shown, so that a text of just that length is not taken for a longer one.
    abstract = func.substr(fetched.c.abstract, 1, SHORT + 1).label("short")
    names = ("arxiv", "title", "published", "authors", "organization", "source")
    return select(*(fetched.c[name] for name in names), abstract)


def _item(row: Row[Any]) -> Item:
    every = row._mapping
    summary = shortened(every["short"]) if "short" in every else every["abstract"]
    return Item(
        every["arxiv"], every["title"], every["published"], every["arxiv"], summary,
        int(every["authors"]), str(every.get("names", "")), every["organization"],
        source=every["source"], counts={"not built": 1},
    )  # fmt: skip


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    numbers = [key for key in keys if is_number(key)]
    for start in range(0, len(numbers), _CHUNK):
        yield numbers[start : start + _CHUNK]
