"""Fetched papers: written in batches, each paper once, never an older version over a newer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, or_, select

from heldout.serve.fetch.entry import Entry
from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import fetched

_FIELDS = (
    "version", "title", "abstract", "authors", "names", "organization", "categories", "published",
    "source",
)  # fmt: skip


def stored(connection: Connection, numbers: Sequence[str]) -> dict[str, Entry]:
    """Return the papers that are here, by arXiv number; at most some thousand numbers at once."""
    if not numbers:
        return {}
    columns = [fetched.c.arxiv, *(fetched.c[name] for name in _FIELDS)]
    rows = connection.execute(select(*columns).where(fetched.c.arxiv.in_(numbers)))
    return {row.arxiv: Entry(**row._mapping) for row in rows}


def upsert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add papers, or bring those that are here up to date; the first `fetched_at` stays.

    Of two writers at once the newer version wins, whoever comes last.

    Args:
        connection: within a transaction.
        rows: every column of `fetched` but `id`.
    """
    if not rows:
        return
    made = insert_unless(connection, fetched)
    given = made.excluded
    newer = given.version > fetched.c.version
    fills = and_(given.version == fetched.c.version, _differs(given))
    changes: dict[str, Any] = {name: given[name] for name in _FIELDS}
    changes["organization"] = case(
        (given.organization == "", fetched.c.organization), else_=given.organization
    )
    connection.execute(
        made.on_conflict_do_update(
            index_elements=[fetched.c.arxiv], set_=changes, where=or_(newer, fills)
        ),
        # In one order for all writers, or two at once could each wait for the other's rows.
        sorted(rows, key=lambda row: str(row["arxiv"])),
    )


def _differs(given: Any) -> Any:
    return or_(*(given[name] != fetched.c[name] for name in _FIELDS))
