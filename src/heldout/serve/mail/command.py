"""`heldout serve digest`: look at an issue, send it, and see what may not have arrived."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from heldout.core.errors import InputError
from heldout.serve.command import exit_code

if TYPE_CHECKING:
    from heldout.serve.mail.compose import Letterhead
    from heldout.serve.mail.pace import Outcome
    from heldout.serve.site import Site
    from heldout.serve.storage.deliveries import Delivery

EXIT_CODES = """Exit codes: 0 done; 1 the mail server or the database could not be reached, or some
messages wait for another try (the same command goes on; nobody gets an issue twice), or some are
uncertain; 2 bad input; 130 stopped by hand."""

UNDER_WAY_S = 900.0
"""What is being handed over for longer than this, no sender is at work on any more, wherever."""
_NAME = "heldout serve digest"
_STOPPED = "Stopped. The same command goes on; nobody gets an issue twice."


@dataclass(frozen=True)
class Options:
    """The digest: new papers, changed verdicts and what trends, to those who confirmed.

    An issue tells what came after the last one, has the name of its day or week, and is sent once
    to each subscriber, also when sending is broken off and started again. Mail server and sender:
    HELDOUT_SMTP_HOST, _PORT, _USER, _PASSWORD, _SECURITY (starttls, tls or none);
    HELDOUT_MAIL_FROM, _REPLY_TO, _UNSUBSCRIBE; and HELDOUT_URL for the links.
    """

    preview: bool = False
    """Print the issue as it would be sent now; sends nothing."""
    html: Path | None = None
    """With --preview: also write it as HTML to this file."""
    send: bool = False
    """Make the issue unless it was made, and send what is due."""
    period: Literal["daily", "weekly"] | None = None
    """Which one. Not given: both to send, weekly to preview."""
    keep_trying: float = 0.0
    """With --send: minutes to go on with what the server refuses for now."""
    uncertain: bool = False
    """List messages of which it is not known whether the server took them: the connection or the
    sender died in the moment between. They are not sent again by themselves."""
    resend: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NUMBER|all")] = ()
    """Send uncertain messages again, by their numbers in that list; some may then arrive twice."""
    data: Path | None = None
    """Folder of the page; as for `heldout serve`."""
    database: str | None = None
    """sqlite:///FILE or postgresql://USER@HOST/NAME; as for `heldout serve`."""


def run(arguments: Sequence[str]) -> int:
    """Run `heldout serve digest` and return the exit code; see `EXIT_CODES`."""
    said = f"{cleandoc(Options.__doc__ or '')}\n\n{EXIT_CODES}"
    read = partial(tyro.cli, Options, args=list(arguments), prog=_NAME, description=said)
    return exit_code(_NAME, lambda: _run(read()), _STOPPED)


def _run(options: Options) -> int:
    chosen = [options.preview, options.send, options.uncertain, bool(options.resend)]
    if sum(chosen) != 1:
        raise InputError(
            f"{sum(chosen)} of --preview, --send, --uncertain, --resend", "one of them",
            "heldout serve digest --preview",
        )  # fmt: skip
    if options.html and not options.preview:
        raise InputError("--html without --preview", "both", "--preview --html digest.html")
    if options.keep_trying < 0 or (options.keep_trying and not options.send):
        raise InputError(
            f"--keep-trying {options.keep_trying:g}",
            "minutes, with --send",
            "--send --keep-trying 30",
        )
    from heldout.serve.app import make_site
    from heldout.serve.settings import from_environment

    site = make_site(from_environment(os.environ, data=options.data, database=options.database))
    try:
        if options.preview:
            return _preview(site, options)
        if options.send:
            return _send(site, options)
        return _list(site) if options.uncertain else _resend(site, options.resend)
    finally:
        site.database.close()


def _preview(site: Site, options: Options) -> int:
    from heldout.serve.mail.compose import preview
    from heldout.serve.mail.digest import issue

    _warn_of_links(site)
    made = issue(site, options.period or "weekly", time.time())
    text, html = preview(site, made)
    print(f"Subject: {made.subject}\n\n{text.strip()}")
    if made.empty:
        since, until = _time(made.since), _time(made.until)
        print(
            f"\nNothing is new from {since} to {until}, so this issue would not be sent. What came "
            "in the ten minutes before now is for the next one.", file=sys.stderr,
        )  # fmt: skip
    if options.html:
        try:
            options.html.write_text(html, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"--html {options.html} ({error.strerror})", "a file that can be written",
                "--html digest.html",
            ) from error  # fmt: skip
        print(f"\nWritten: {options.html}", file=sys.stderr)
    return 0


def _send(site: Site, options: Options) -> int:
    from heldout.serve.mail import periods
    from heldout.serve.mail.background import make_issue, tidy
    from heldout.serve.mail.keep_trying import send_until
    from heldout.serve.storage import verdicts

    head = _letterhead(site)
    now = time.time()
    _warn_of_links(site)
    with site.database.read() as connection:
        unseen = verdicts.unseen(connection, site.library)
    if unseen:
        with site.database.write() as connection:
            verdicts.keep(connection, unseen, now)
    tidy(site, now)
    names = []
    for period in [options.period] if options.period else periods.PERIODS:
        made, count = make_issue(site, period, now)
        names.append(made.name)
        if made.empty:
            print(f"{made.name}: nothing new, not sent")
        elif count:
            print(f"{made.name}: {made.subject}; {count} subscribers")
    until = now + 60 * options.keep_trying
    outcome = send_until(site, head, until, time.time, _wait)
    return _told(site, names, outcome)


def _warn_of_links(site: Site) -> None:
    if not site.settings.url:
        print(f"HELDOUT_URL is not set: links lead to {site.settings.origin}.", file=sys.stderr)


def _told(site: Site, names: Sequence[str], outcome: Outcome) -> int:
    from heldout.serve.storage import deliveries

    waiting = False
    doubtful = _uncertain(site)
    with site.database.read() as connection:
        for name in names:
            counts = deliveries.counts(connection, name)
            if counts:
                words = (f"{n} {'held' if s == 'sending' else s}" for s, n in counts.items())
                print(f"{name}: {', '.join(sorted(words))}")
            waiting |= bool(counts.get("waiting") or counts.get("sending"))
        due = deliveries.next_due(connection)
    if outcome.stopped:
        print(f"{_NAME}: the mail server: {outcome.stopped}", file=sys.stderr)
    if waiting:
        at = "" if due is None or due <= time.time() else f" (next try from {_time(due)})"
        print(f"Some wait; the same command goes on{at}.", file=sys.stderr)
    if doubtful:
        print(f"{len(doubtful)} uncertain: heldout serve digest --uncertain", file=sys.stderr)
    return 1 if outcome.stopped or waiting or doubtful else 0


def _list(site: Site) -> int:
    found = _uncertain(site)
    for one in found:
        why = f": {one.error}" if one.error else ""
        print(f"{one.id}\t{one.issue}\t{one.email}\t{_time(one.changed_at)}\t{one.message_id}{why}")
    if not found:
        print("None: of every message it is known whether the server took it.")
    return 1 if found else 0


def _resend(site: Site, asked: Sequence[str]) -> int:
    from heldout.serve.mail.keep_trying import send_until
    from heldout.serve.storage import deliveries

    found = {str(one.id): one for one in _uncertain(site)}
    unknown = [name for name in asked if name != "all" and name not in found]
    if unknown:
        raise InputError(
            f"--resend {' '.join(unknown)}", "numbers of uncertain messages, or all",
            "heldout serve digest --uncertain",
        )  # fmt: skip
    chosen = list(found.values()) if "all" in asked else [found[name] for name in asked]
    now = time.time()
    with site.database.write(visible=False) as connection:
        queued = deliveries.resend(connection, chosen, now)
    print(f"{queued} queued")
    outcome = send_until(site, _letterhead(site), now, time.time, _wait)
    return _told(site, (), outcome)


def _uncertain(site: Site) -> list[Delivery]:
    from heldout.serve.mail.owners import gone
    from heldout.serve.storage import deliveries

    before = time.time() - UNDER_WAY_S
    with site.database.read() as connection:
        found = deliveries.handing_over(connection)
    return [d for d in found if d.error or d.changed_at < before or gone(d.owner)]


def _letterhead(site: Site) -> Letterhead:
    from heldout.serve.mail.compose import letterhead

    if not site.settings.mail.host:
        raise InputError(
            "no HELDOUT_SMTP_HOST", "a mail server",
            "HELDOUT_SMTP_HOST=mail.example.org HELDOUT_MAIL_FROM='Heldout <papers@example.org>'",
        )  # fmt: skip
    return letterhead(site.settings, os.environ)


def _time(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M UTC}"


def _wait(seconds: float) -> None:
    time.sleep(seconds)
