"""What two feeds and two days say of a paper, made one, and stored."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice

from heldout.serve.fetch.entry import Entry
from heldout.serve.storage.database import Database
from heldout.serve.storage.fetched_writes import stored, upsert

__all__ = ["Entry", "Stored", "merged", "store"]

_BATCH = 500


@dataclass(frozen=True)
class Stored:
    """What became of entries."""

    new: int = 0
    """Added."""
    updated: int = 0
    """Of a newer version than was here, or with an organization that was missing."""
    known: int = 0
    """Here already, just so."""
    library: int = 0
    """Papers of the library; not added."""
    withdrawn: tuple[str, ...] = ()
    """Numbers that were not added because their authors took them back."""

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            self.new + other.new,
            self.updated + other.updated,
            self.known + other.known,
            self.library + other.library,
            self.withdrawn + other.withdrawn,
        )


def merged(old: Entry, new: Entry) -> Entry:
    """Return one entry from two of the same paper.

    The newer version wins, of two that are equally new the first; what the winner lacks
    (organization, categories, names, abstract) the other one fills in, and the day of the first
    version is the earlier of the two.

    >>> a = Entry("2401.00001", 1, "A", "", 1, "2024-01-01")
    >>> b = Entry("2401.00001", 0, "a", "", 1, "2024-01-01", organization="B", source="huggingface")
    >>> merged(b, a).title, merged(b, a).organization, merged(b, a) == merged(a, b)
    ('A', 'B', True)
    """
    first, second = (new, old) if new.version > old.version else (old, new)
    return replace(
        first,
        abstract=first.abstract or second.abstract,
        authors=first.authors or second.authors,
        names=first.names or second.names,
        organization=first.organization or second.organization,
        categories=first.categories or second.categories,
        published=min(first.published, second.published),
    )


def store(
    database: Database,
    entries: Iterable[Entry],
    library: Collection[str] = (),
    now: float | None = None,
    dry: bool = False,
) -> Stored:
    """Add entries, in batches that are each kept whole or not at all.

    Storing the same entries again changes nothing, so a store that was killed can be repeated.

    Args:
        database: where.
        entries: in any order; several of one paper become one.
        library: arXiv numbers of papers that the library has.
        now: when they were fetched, in seconds since 1970; None: now.
        dry: only say what would become of them.

    Raises:
        StorageError: the database is gone, locked or full; earlier batches stay.
    """
    total = Stored()
    waiting = iter(entries)
    while batch := list(islice(waiting, _BATCH)):
        total += _store(database, batch, library, time.time() if now is None else now, dry)
    return total


def _store(
    database: Database, batch: list[Entry], library: Collection[str], now: float, dry: bool
) -> Stored:
    made: dict[str, Entry] = {}
    for entry in batch:
        held = made.get(entry.arxiv)
        made[entry.arxiv] = merged(held, entry) if held else entry
    ours = [number for number in made if number in library]
    for number in ours:
        del made[number]
    with database.read() as connection:
        new, updated, withdrawn = _sorted_out(made, stored(connection, list(made)))
    if (new or updated) and not dry:
        with database.write() as connection:
            # Once more, now that nobody else writes: another fetch may have come first.
            new, updated, withdrawn = _sorted_out(made, stored(connection, list(made)))
            upsert(connection, list(_rows([*new, *updated], now)))
    known = len(made) - len(new) - len(updated) - len(withdrawn)
    return Stored(len(new), len(updated), known, len(ours), tuple(withdrawn))


def _sorted_out(
    made: dict[str, Entry], here: dict[str, Entry]
) -> tuple[list[Entry], list[Entry], list[str]]:
    new: list[Entry] = []
    updated: list[Entry] = []
    withdrawn: list[str] = []
    for number, entry in made.items():
        old = here.get(number)
        if old:
            both = merged(old, entry)
            if replace(both, withdrawn=False) != old:
                updated.append(both)
        elif entry.withdrawn:
            withdrawn.append(number)
        else:
            new.append(entry)
    return new, updated, withdrawn


def _rows(entries: Iterable[Entry], now: float) -> Iterator[dict[str, object]]:
    for entry in entries:
        row = asdict(entry)
        del row["withdrawn"]  # its title and abstract say so
        yield {**row, "fetched_at": now}
