"""Verdicts that were ever shown here, so that a page can tell how they have changed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from heldout.papers.catalogue import claims, record_path
from heldout.serve.items import Library, record
from heldout.serve.storage.database import insert_unless
from heldout.serve.storage.tables import verdicts

_ENDS = 2048  # bytes at either end of a record that hold its verdict and its code's hash
_WORD = re.compile(rb'"verdict": "([a-z ]+)"')
_HASH = re.compile(rb'"code_hash": "([0-9a-f]+)"\s*\}\s*\Z')


@dataclass(frozen=True)
class Seen:
    """A record as it was when it was first shown here."""

    slug: str
    """Paper."""
    claim: str
    """Claim."""
    verdict: str
    """Its word."""
    code_hash: str
    """Of the code that made the record."""
    version: str
    """Of Heldout, when the record was made."""
    value: float | None
    """Mean over seeds; None where it is not finite, as for the ends of its interval."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end."""
    n: int
    """Seeds."""
    scale: str
    """tiny, small or full."""
    seen_at: float
    """UTC seconds since 1970."""

    @property
    def said(self) -> str:
        """The rest of a line of history, after the verdict.

        >>> Seen("a", "b", "holds", "", "0.1.0", 0.5, 0.4, 0.6, 5, "small", 0.0).said
        '0.5 [0.4, 0.6], n = 5, small, version 0.1.0, here since 1 January 1970'
        """
        ends = [f"{end:.3g}" if end is not None else "?" for end in (self.low, self.high)]
        number = "" if self.value is None else f"{self.value:.3g} [{', '.join(ends)}], "
        day = time.gmtime(self.seen_at)
        return (
            f"{number}n = {self.n}, {self.scale}, version {self.version or 'not known'}, "
            f"here since {day.tm_mday} {time.strftime('%B %Y', day)}"
        )


@dataclass(frozen=True)
class Change:
    """A claim whose verdict is another one than at some time, or that had none then."""

    slug: str
    """Paper."""
    claim: str
    """Claim."""
    before: str
    """Verdict at that time; empty for a claim that is new here."""
    after: str
    """Verdict now."""
    at: float
    """When the record with it was first seen here."""


def remember(connection: Connection, library: Library, now: float) -> int:
    """Keep what the shipped records say, as far as it is new here, and return how many are new.

    Args:
        connection: to write with.
        library: whose papers' records are looked at.
        now: UTC seconds since 1970.
    """
    return keep(connection, unseen(connection, library), now)


def unseen(
    connection: Connection, library: Library, ended: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Return rows for the shipped records that are not kept yet.

    Cost: 4 kB of every record, and the whole of those that are new.

    Args:
        connection: to read with.
        library: whose records.
        ended: whether nobody waits for them any more; then some may be missing.
    """
    columns = (verdicts.c.slug, verdicts.c.claim, verdicts.c.code_hash, verdicts.c.verdict)
    known = {tuple(row) for row in connection.execute(select(*columns))}
    found = (row for row in _rows(library, known) if row is not None)
    return list(takewhile(lambda _: not ended(), found))


def keep(connection: Connection, rows: list[dict[str, Any]], now: float) -> int:
    """Keep rows of `unseen`; those that another process has kept meanwhile are passed over."""
    statement = insert_unless(connection, verdicts).on_conflict_do_nothing()
    statement = statement.returning(verdicts.c.id)
    made = (connection.execute(statement.values(**row, seen_at=now)) for row in rows)
    return sum(len(found.all()) for found in made)


def history(connection: Connection, slug: str) -> dict[str, list[Seen]]:
    """Return what was seen of a paper, by claim, oldest first."""
    found: dict[str, list[Seen]] = {}
    wanted = select(verdicts).where(verdicts.c.slug == slug)
    for row in connection.execute(wanted.order_by(verdicts.c.seen_at, verdicts.c.id)):
        seen = Seen(**{name: row._mapping[name] for name in Seen.__dataclass_fields__})
        found.setdefault(seen.claim, []).append(seen)
    return found


def changed(connection: Connection, since: float) -> list[Change]:
    """Return the claims whose verdict is not the one they had at a time, oldest change first.

    Args:
        connection: to read with.
        since: UTC seconds since 1970; records seen later than this are what may be new.
    """
    recent = select(verdicts.c.slug).where(verdicts.c.seen_at > since)
    rows = connection.execute(
        select(verdicts.c.slug, verdicts.c.claim, verdicts.c.verdict, verdicts.c.seen_at)
        .where(verdicts.c.slug.in_(recent))
        .order_by(verdicts.c.seen_at, verdicts.c.id)
    )
    before: dict[tuple[str, str], str] = {}
    after: dict[tuple[str, str], tuple[str, float]] = {}
    for slug, claim, word, at in rows:
        key = (str(slug), str(claim))
        if at <= since:
            before[key] = str(word)
        elif word != after.get(key, ("", 0.0))[0]:
            after[key] = (str(word), float(at))
    found = [Change(*key, before.get(key, ""), word, at) for key, (word, at) in after.items()]
    return sorted((c for c in found if c.before != c.after), key=lambda c: (c.at, c.slug, c.claim))


def _rows(library: Library, known: set[tuple[Any, ...]]) -> Iterator[dict[str, Any] | None]:
    for slug in library.items:
        for claim in claims(slug):
            name = claim.id
            told = _told(Path(record_path(slug, name)))
            if told is None or (slug, name, *told) in known:
                continue
            yield _row(slug, name, known)


def _told(path: Path) -> tuple[str, str] | None:
    # Hash and verdict from a record's ends; ("", "") when they are not where they are expected,
    # which no row has, so the record is read. None: there is no record.
    try:
        with path.open("rb") as file:
            head = file.read(_ENDS)
            size = file.seek(0, 2)
            file.seek(max(0, size - _ENDS))
            tail = file.read()
    except OSError:
        return None
    word, code = _WORD.search(head), _HASH.search(tail)
    return (code[1].decode(), word[1].decode()) if word and code else ("", "")


def _row(slug: str, claim: str, known: set[tuple[Any, ...]]) -> dict[str, Any] | None:
    content = record(slug, claim)
    if content is None or not isinstance(content.get("verdict"), str):
        return None
    code, word = str(content.get("code_hash", "")), content["verdict"]
    if (slug, claim, code, word) in known:
        return None
    effect = content.get("effect") or {}
    versions = (content.get("environment") or {}).get("versions") or {}
    return {
        "slug": slug, "claim": claim, "verdict": word[:20], "code_hash": code[:80],
        "version": str(versions.get("heldout", ""))[:40],
        "value": effect.get("value"), "low": effect.get("ci_low"), "high": effect.get("ci_high"),
        "n": int(effect.get("n") or 0), "scale": str(content.get("scale", ""))[:10],
    }  # fmt: skip
