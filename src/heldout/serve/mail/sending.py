"""Sending what is due, each message once, whenever the sender is killed.

A message goes through four steps:

    1. claim      the row becomes "sending", for this sender and some minutes
    2. text       the server gets envelope and text, but not the final dot
    3. commit     the row becomes "handing over", if it is still this sender's
    4. dot        the server takes the mail; the row becomes "sent"

Killed before 3, the server has a text without an end and discards it; the row is free again when
the claim ends, or at once when the sender that held it is seen to be gone. Two senders can hold one
row when a claim ended under the first; only one of them gets through 3. Killed after 3, the mail
counts as sent and is never sent again by itself.

The window: between the commit in 3 and the server's answer in 4 (one write and one answer) nobody
can know whether the server took the mail, since SMTP has no way to ask. Such rows stay in "handing
over"; `heldout serve digest --uncertain` lists them and `--resend` sends them again, under the same
Message-ID. So a subscriber can miss an issue when a sender dies there, and never has two.
"""

from __future__ import annotations

import logging
import smtplib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from heldout.serve.mail import compose, periods, smtp
from heldout.serve.mail.compose import Letterhead
from heldout.serve.mail.digest import Digest, named
from heldout.serve.mail.owners import gone, owner_here
from heldout.serve.mail.pace import Outcome, Pace, backoff
from heldout.serve.site import Site
from heldout.serve.storage import deliveries, subscribers
from heldout.serve.storage.database import StorageError
from heldout.serve.storage.deliveries import Delivery

_LOG = logging.getLogger(__name__)
CONFIRMATIONS = "confirm-%"
"""Pattern of the names of mails that confirm."""


def send_due(
    site: Site, head: Letterhead, pace: Pace | None = None, issues: str = "%",
    stop: threading.Event | None = None, clock: Callable[[], float] = time.time,
) -> Outcome:  # fmt: skip
    """Send every message that is due, and return what became of them.

    Args:
        site: the site.
        head: of every message.
        pace: how long to wait, and how often to try.
        issues: pattern of the names of what may be sent.
        stop: ends it after the message at hand.
        clock: UTC seconds since 1970.

    Raises:
        StorageError: the database cannot be reached. A message at hand counts as sent if it was.
    """
    run = _Run(site, head, pace or Pace(), clock)
    with site.database.read() as connection:
        if deliveries.next_due(connection, issues) is None:
            return run.outcome
    with site.database.write(visible=False) as connection:
        deliveries.free(connection, gone, clock())
    try:
        while not run.outcome.stopped and not (stop and stop.is_set()):
            with site.database.write(visible=False) as connection:
                delivery = deliveries.claim(connection, run.owner, clock(), run.pace.lease, issues)
            if delivery is None:
                break
            _send(run, delivery)
    finally:
        _settle(run)
        if run.server is not None:
            smtp.goodbye(run.server)
    return run.outcome


@dataclass
class _Run:
    site: Site
    head: Letterhead
    pace: Pace
    clock: Callable[[], float]
    owner: str = field(default_factory=owner_here)
    outcome: Outcome = field(default_factory=Outcome)
    server: smtplib.SMTP | None = None
    on_connection: int = 0
    lost: int = 0
    # Refused for good before anything was taken: they fail when one is taken, or nothing is left.
    refused: list[tuple[Delivery, str]] = field(default_factory=list)
    issues: dict[str, Digest] = field(default_factory=dict)


def _send(run: _Run, delivery: Delivery) -> None:
    content = _content(run, delivery)
    if content is None:
        return
    try:
        server = _server(run)
        smtp.hand_over(server, run.head.sender.addr_spec, delivery.email, content,
                       partial(_commit, run, delivery), run.pace.timeouts)  # fmt: skip
    except smtp.ServerError as error:
        run.server = None
        run.outcome.stopped = str(error)
        _later(run, delivery, 0.0, str(error), counted=False)
    except smtp.TakenError:
        run.server = None
    except smtp.LostError as error:
        run.server, run.lost = None, run.lost + 1
        if run.lost >= run.pace.lost:
            run.outcome.stopped = str(error)
        _try_again(run, delivery, str(error))
    except smtp.UncertainError as error:
        run.server = None
        run.outcome.uncertain += 1
        _insist(run, partial(deliveries.doubt, delivery=delivery, error=str(error)))
        _LOG.warning("not known whether message %d was taken: %s", delivery.id, error)
    except smtp.RefusedError as error:
        run.lost = 0
        if run.server is not None and run.server.sock is None:
            run.server = None
        if error.lasting:
            _refused(run, delivery, str(error))
        else:
            _try_again(run, delivery, str(error))
    else:
        run.lost, run.outcome.sent = 0, run.outcome.sent + 1
        _insist(run, partial(deliveries.sent, delivery=delivery, now=run.clock()))
        _settle(run)


def _content(run: _Run, delivery: Delivery) -> bytes | None:
    # None: it is not to be sent, and the row says why.
    with run.site.database.read() as connection:
        who = subscribers.by_id(connection, delivery.subscriber)
    confirms = periods.period_of(delivery.issue) is None
    wanted = ("pending", "confirmed") if confirms else ("confirmed",)
    if who is None or who.state not in wanted:
        _fail(run, delivery, "not subscribed any more")
        return None
    now = run.clock()
    try:
        if confirms:
            made = compose.confirmation(run.site, run.head, who, delivery.message_id, now)
        else:
            if delivery.issue not in run.issues:
                run.issues[delivery.issue] = named(run.site, delivery.issue, now)
            made = compose.digest(
                run.site, run.head, who, run.issues[delivery.issue], delivery.message_id, now
            )
        return made.as_bytes()
    except StorageError:
        raise
    except Exception as error:  # one message that cannot be written must not hold all others up
        _LOG.exception("message %d cannot be written", delivery.id)
        _try_again(run, delivery, f"{type(error).__name__}: {error}")
        return None


def _server(run: _Run) -> smtplib.SMTP:
    if run.server is not None and run.on_connection >= run.pace.per_connection:
        smtp.goodbye(run.server)
        run.server = None
    if run.server is None:
        run.server, run.on_connection = smtp.connect(run.site.settings, run.pace.timeouts), 0
    run.on_connection += 1
    return run.server


def _commit(run: _Run, delivery: Delivery) -> bool:
    with run.site.database.write(visible=False) as connection:
        return deliveries.hand_over(connection, delivery, run.clock())


def _refused(run: _Run, delivery: Delivery, error: str) -> None:
    if run.outcome.sent:
        _fail(run, delivery, error)
        return
    run.refused.append((delivery, error))
    if len(run.refused) >= run.pace.refused_at_first:
        run.outcome.stopped = f"the server refuses everything: {error}"
        for held, said in run.refused:
            _try_again(run, held, said)
        run.refused.clear()


def _settle(run: _Run) -> None:
    while run.refused:
        _fail(run, *run.refused.pop(0))


def _try_again(run: _Run, delivery: Delivery, error: str) -> None:
    if delivery.attempts >= run.pace.attempts:
        _fail(run, delivery, f"given up after {delivery.attempts} attempts: {error}")
        return
    wait = backoff(run.pace.retry, run.pace.longest_retry, delivery.attempts)
    _later(run, delivery, wait, error)


def _later(
    run: _Run, delivery: Delivery, wait: float, error: str, counted: bool = True
) -> None:  # fmt: skip
    now = run.clock()
    run.outcome.later += 1
    _insist(run, partial(deliveries.later, delivery=delivery, now=now, due_at=now + wait,
                         error=error, counted=counted))  # fmt: skip


def _fail(run: _Run, delivery: Delivery, error: str) -> None:
    run.outcome.failed += 1
    _insist(run, partial(deliveries.fail, delivery=delivery, now=run.clock(), error=error))
    if periods.period_of(delivery.issue) is None:
        return
    with run.site.database.write(visible=False) as connection:
        most = run.pace.refusals
        if deliveries.refusals(connection, delivery.subscriber, most) >= most:
            subscribers.set_aside(connection, delivery.subscriber)


def _insist(run: _Run, note: Callable[..., bool]) -> None:
    # What the server has said should not be forgotten because the database is busy for a moment.
    for wait in (0.2, 1.0, 3.0, None):
        try:
            with run.site.database.write(visible=False) as connection:
                note(connection)
            return
        except StorageError:
            if wait is None:
                raise
            time.sleep(wait)
