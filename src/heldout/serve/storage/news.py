"""What a feed reader is told: verdicts that have changed, and who wrote the fetched papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from heldout.serve.storage.tables import fetched, verdicts


@dataclass(frozen=True)
class Turn:
    """A record whose verdict is not that of the one before it."""

    slug: str
    """Paper."""
    claim: str
    """Claim."""
    before: str
    """The verdict until then."""
    after: str
    """The verdict from then on."""
    code_hash: str
    """Of the code that made the record; with paper, claim and verdict there is one such record."""
    at: float
    """When it was first seen here, UTC seconds since 1970."""


def turns(connection: Connection, most: int) -> list[Turn]:
    """Return the latest changes of verdicts, newest first.

    Args:
        connection: to read with.
        most: changes at most.
    """
    v = verdicts.c
    rows = connection.execute(
        select(v.slug, v.claim, v.verdict, v.code_hash, v.seen_at).order_by(v.seen_at, v.id)
    )
    last: dict[tuple[str, str], str] = {}
    found = []
    for slug, claim, word, code, at in rows:
        before = last.get((slug, claim), word)
        if before != word:
            found.append(Turn(slug, claim, before, word, code, at))
        last[slug, claim] = word
    return found[::-1][:most]


def last_seen(connection: Connection) -> dict[str, float]:
    """Return when each paper's newest record was first seen here."""
    v = verdicts.c
    rows = connection.execute(select(v.slug, func.max(v.seen_at)).group_by(v.slug))
    return {str(slug): float(at) for slug, at in rows}


def credits(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return names of authors and categories of some fetched papers, at most a few hundred."""
    f = fetched.c
    rows = connection.execute(select(f.arxiv, f.names, f.categories).where(f.arxiv.in_(keys)))
    return {str(key): (str(names), str(categories)) for key, names, categories in rows}


def count(connection: Connection) -> int:
    """Return how many papers were fetched."""
    return int(connection.execute(select(func.count()).select_from(fetched)).scalar() or 0)


def keys(connection: Connection, offset: int, limit: int) -> list[str]:
    """Return the numbers of some fetched papers, in the order in which they came."""
    rows = connection.execute(
        select(fetched.c.arxiv).order_by(fetched.c.id).offset(offset).limit(limit)
    )
    return [str(key) for (key,) in rows]
