"""The fetched papers as the index reads them: what is there, and the texts of some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

from sqlalchemy import func, select

from heldout.serve.items import Item
from heldout.serve.storage.database import Database
from heldout.serve.storage.fetched import by_key
from heldout.serve.storage.tables import fetched

_CHUNK = 500  # SQLite takes a bounded number of values in one statement


def size(database: Database) -> tuple[int, int]:
    """Return how many papers were fetched, and the highest row; cheap.

    Raises:
        StorageError: the database cannot be reached.
    """
    with database.read() as connection:
        count, last = connection.execute(select(func.count(), func.max(fetched.c.id))).one()
    return int(count), int(last or 0)


def stamps(database: Database) -> dict[int, int]:
    """Return a number for each row that changes with its text; cost: one pass over the table.

    Raises:
        StorageError: the database cannot be reached.
    """
    asked = select(
        fetched.c.id, fetched.c.arxiv, fetched.c.version,
        func.length(fetched.c.title), func.length(fetched.c.abstract),
    )  # fmt: skip
    found: dict[int, int] = {}
    with database.read() as connection:
        for row, *rest in connection.execution_options(yield_per=2000).execute(asked):
            found[int(row)] = crc32(repr(tuple(rest)).encode())
    return found


def texts(database: Database, rows: Sequence[int]) -> Iterator[tuple[int, str, str, str]]:
    """Give (row, arXiv number, title, abstract) of some rows; those that are gone are left out.

    Raises:
        StorageError: the database cannot be reached.
    """
    columns = (fetched.c.id, fetched.c.arxiv, fetched.c.title, fetched.c.abstract)
    for start in range(0, len(rows), _CHUNK):
        asked = select(*columns).where(fetched.c.id.in_(list(rows[start : start + _CHUNK])))
        with database.read() as connection:
            got = connection.execute(asked).all()
        for row, number, title, abstract in got:
            yield int(row), str(number), str(title), str(abstract)


def items(database: Database, numbers: Sequence[str]) -> dict[str, Item]:
    """Return what cards show of fetched papers, by arXiv number.

    Raises:
        StorageError: the database cannot be reached.
    """
    if not numbers:
        return {}
    with database.read() as connection:
        return by_key(connection, numbers)


def numbered(database: Database, numbers: Sequence[str]) -> dict[str, int]:
    """Return the rows of some arXiv numbers; of those that were not fetched nothing.

    Raises:
        StorageError: the database cannot be reached.
    """
    if not numbers:
        return {}
    asked = select(fetched.c.arxiv, fetched.c.id).where(fetched.c.arxiv.in_(list(numbers)))
    with database.read() as connection:
        return {str(number): int(row) for number, row in connection.execute(asked)}
