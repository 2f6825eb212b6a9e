"""`heldout papers fetch`: new papers for the feed, and what became of them."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from heldout.core.errors import InputError
from heldout.serve.command import exit_code
from heldout.serve.fetch.report import Report, counted, without_password

if TYPE_CHECKING:
    from heldout.serve.fetch.entry import Entry, Listed
    from heldout.serve.settings import Settings
    from heldout.serve.storage.database import Database

EXIT_CODES = """Exit codes: 0 everything asked for was read; 1 a feed or the database could not be
reached, or broke off (what was stored stays; the same command goes on from there); 2 bad input;
130 stopped by hand."""

_DAYS = 7
_ANNOUNCED_AFTER = 4  # days from submission to arXiv's list, over a long weekend
_EXAMPLE = 'heldout papers fetch "cat:cs.LG AND abs:generalization" --since 2026-11-01'
_NAME = "heldout papers fetch"
_STOPPED = "Stopped. What was stored stays; the same command goes on."


@dataclass(frozen=True)
class Options:
    """Add new papers from arXiv and Hugging Face to the feed, as "not built"."""

    query: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="QUERY")] = ""
    """In arXiv's language: ti:, au:, abs:, cat:, all:, AND, OR, ANDNOT, brackets, "phrases". Of
    Hugging Face's daily papers those are kept that may fit it."""
    since: Annotated[str, tyro.conf.arg(metavar="DAY")] = ""
    """First day, YYYY-MM-DD (UTC): of submission on arXiv, of being listed on Hugging Face. Seven
    days ago when not given."""
    source: Literal["both", "arxiv", "huggingface"] = "both"
    """Where to look."""
    limit: int | None = None
    """At most so many papers from each source, the newest."""
    data: Path | None = None
    """Folder of the feed; as for `heldout serve`."""
    database: str | None = None
    """sqlite:///FILE or postgresql://USER@HOST/NAME; as for `heldout serve`."""
    dry_run: bool = False
    """Store no papers; say what would become of them."""


def run(arguments: Sequence[str]) -> int:
    """Run `heldout papers fetch` and return the exit code; see `EXIT_CODES`."""
    said = f"{Options.__doc__}\n\n{EXIT_CODES}"
    read = partial(tyro.cli, Options, args=list(arguments), prog=_NAME, description=said)
    return exit_code(_NAME, lambda: _run(read(), arguments), _STOPPED)


def since_of(text: str, today: date) -> date:
    """Return the first day that is asked for.

    Raises:
        InputError: no day, or one to come.

    >>> since_of("2026-11-01", date(2026, 11, 22)), since_of("", date(2026, 11, 22))
    (datetime.date(2026, 11, 1), datetime.date(2026, 11, 15))
    """
    if not text:
        return today - timedelta(days=_DAYS)
    try:
        # Of the ways to write a day that Python knows, one: 20261101 could be meant otherwise.
        found = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        found = None
    if found is None or found > today:
        raise InputError(
            f"--since {text}" + (", which is still to come" if found else ""),
            f"a day as YYYY-MM-DD, not after {today}",
            _EXAMPLE,
        )
    return max(found, date(1991, 1, 1))


def _run(options: Options, arguments: Sequence[str]) -> int:
    from heldout.serve.fetch.query import parse
    from heldout.serve.items import Library
    from heldout.serve.settings import from_environment
    from heldout.serve.storage.database import Database

    today = datetime.now(UTC).date()
    since = since_of(options.since, today)
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit}", "1 or more, or none", "--limit 100")
    if options.query or options.source != "huggingface":
        parse(options.query)  # told before anybody is asked
    settings = from_environment(os.environ, data=options.data, database=options.database)
    start, report = time.monotonic(), Report(options.dry_run)
    database = _dry(settings) if options.dry_run else Database(settings.database_url)
    try:
        if not options.dry_run:
            settings.data.mkdir(parents=True, exist_ok=True)
            database.upgrade()
        _fetch(options, settings, database, set(Library.load().by_arxiv), since, today, report)
    except OSError as error:
        raise InputError(
            f"folder {settings.data} ({error.strerror})", "one that can be written", "--data DIR"
        ) from error
    finally:
        database.close()
    print("\n".join(report.said(time.monotonic() - start)))
    for line in report.failed:
        print(f"heldout papers fetch: {line}", file=sys.stderr)
    print("\n".join(_next(options, bool(report.failed), arguments, today)))
    return 1 if report.failed else 0


def _next(options: Options, failed: bool, arguments: Sequence[str], today: date) -> list[str]:
    if failed or options.dry_run:
        words = [without_password(a) for a in arguments if failed or a != "--dry-run"]
        return [f"Next: {shlex.join(['heldout', 'papers', 'fetch', *words])}"]
    places = [("--data", options.data), ("--database", options.database)]
    where = [word for name, value in places if value for word in (name, str(value))]
    where = [without_password(word) for word in where]
    after = str(today - timedelta(days=_ANNOUNCED_AFTER))
    later = [*([options.query] if options.query else []), "--since", after]
    later += ["--source", options.source, *where]
    return [
        f"Next: {shlex.join(['heldout', 'serve', *where])}",
        f"Later: {shlex.join(['heldout', 'papers', 'fetch', *later])}",
    ]


def _dry(settings: Settings) -> Database:
    # Looks at what is there without making it: a database that is missing is an empty one.
    from sqlalchemy import inspect, make_url

    from heldout.serve.storage.database import Database

    database = Database(settings.database_url)
    url = make_url(settings.database_url)
    there = database.name != "sqlite" or Path(url.database or "").is_file()
    if there:
        with database.read() as connection:
            there = inspect(connection).has_table("fetched")
    if not there:
        database.close()
        database = Database("sqlite://")
        database.upgrade()
    return database


def _fetch(
    options: Options, settings: Settings, database: Database, library: set[str], since: date,
    today: date, report: Report,
) -> None:  # fmt: skip
    from heldout.serve.fetch import arxiv, huggingface
    from heldout.serve.fetch.client import Client
    from heldout.serve.fetch.merge import store
    from heldout.serve.fetch.pace import FetchError
    from heldout.serve.fetch.query import parse

    client = Client(settings.data / "fetch")
    query = parse(options.query) if options.query else None
    feeds: list[tuple[str, Iterator[list[Listed]]]] = []
    if options.source != "huggingface":
        reading = arxiv.Reading(client, arxiv.feed(os.environ), options.query, since)
        feeds.append(("arXiv", reading.pages()))
    if options.source != "arxiv":
        days = huggingface.days(client, huggingface.feed(os.environ), since, today)
        feeds.append(("Hugging Face", days))
    gathered: dict[str, Entry] = {}
    withdrawn: set[str] = set()
    for name, pages in feeds:
        asked, reused, count = client.asked, client.reused, 0
        try:
            for entries in _limited(pages, options.limit, report):
                chosen = entries if name == "arXiv" else _fitting(query, entries, database)
                # Hugging Face does not tell what arXiv has just told.
                chosen = [e for e in chosen if e.withdrawn or e.arxiv not in withdrawn]
                withdrawn |= {e.arxiv for e in chosen if e.withdrawn}
                count += len(chosen)
                _progress(f"{name}: {count} papers")
                if options.dry_run:
                    _gather(gathered, chosen)
                else:
                    report.stored.append(store(database, chosen, library))
        except FetchError as error:
            report.failed.append(str(error))
        _progress("")
        requests, kept = client.asked - asked, client.reused - reused
        of = f" and {counted(kept, 'kept page')}" if kept else ""
        report.lines.append(
            f"{name}: {counted(count, 'paper')} read, {counted(requests, 'request')}{of}"
        )
    client.close()
    if options.dry_run:
        report.stored.append(store(database, gathered.values(), library, dry=True))


def _limited(
    pages: Iterator[list[Listed]], limit: int | None, report: Report
) -> Iterator[list[Entry]]:
    left = limit
    for page in pages:
        report.refused += [item for item in page if item.entry is None]
        entries = list(islice((i.entry for i in page if i.entry), left))
        yield entries
        if left is not None:
            left -= len(entries)
            if not left:
                return


def _fitting(query: object, entries: list[Entry], database: Database) -> list[Entry]:
    from heldout.serve.fetch.query import Query, matches
    from heldout.serve.storage.fetched_writes import stored

    if not isinstance(query, Query):
        return entries
    with database.read() as connection:
        here = stored(connection, [entry.arxiv for entry in entries])
    # One that is here already fits, whatever its words: it may lack what this feed tells.
    return [e for e in entries if e.arxiv in here or matches(query, e) is not False]


def _gather(gathered: dict[str, Entry], entries: list[Entry]) -> None:
    from heldout.serve.fetch.merge import merged

    for entry in entries:
        held = gathered.get(entry.arxiv)
        gathered[entry.arxiv] = merged(held, entry) if held else entry


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
