"""Sending on, while a mail server refuses for now."""

from __future__ import annotations

import time
from collections.abc import Callable

from heldout.serve.mail.compose import Letterhead
from heldout.serve.mail.pace import Outcome, backoff
from heldout.serve.mail.sending import send_due
from heldout.serve.site import Site
from heldout.serve.storage import deliveries


def send_until(
    site: Site, head: Letterhead, until: float, clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:  # fmt: skip
    """Send what is due, and what becomes due before a time; return what became of it.

    Args:
        site: the site.
        head: of every message.
        until: UTC seconds since 1970; now: what is refused for now is left to the next call.
        clock: what time it is.
        sleep: waits some seconds.

    Raises:
        StorageError: the database cannot be reached.
    """
    total = send_due(site, head, clock=clock)
    pauses = 0
    while True:
        pauses = pauses + 1 if total.stopped else 0
        with site.database.read() as connection:
            due = deliveries.next_due(connection)
        at = clock() + backoff(10, 600, pauses) if total.stopped else due
        if at is None or at >= until:
            return total
        sleep(max(0.5, at - clock()))
        more = send_due(site, head, clock=clock)
        total.sent, total.failed = total.sent + more.sent, total.failed + more.failed
        total.later, total.stopped = more.later, more.stopped
        total.uncertain += more.uncertain
