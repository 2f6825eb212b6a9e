"""Making issues, and a thread of the page that sends what is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from heldout.serve.mail import periods
from heldout.serve.mail.compose import Letterhead, message_id
from heldout.serve.mail.digest import Digest, named
from heldout.serve.mail.pace import Pace, backoff
from heldout.serve.mail.sending import CONFIRMATIONS, send_due
from heldout.serve.site import Site
from heldout.serve.storage import deliveries, issues, subscribers
from heldout.serve.storage.database import StorageError

_LOG = logging.getLogger(__name__)
_EVERY_S = 10.0
_TIDY_S = 3600.0
_KEPT_S = 90 * 86400.0
_AT_HAND_S = 3.0
_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 3600.0


def make_issue(site: Site, period: str, now: float) -> tuple[Digest, int]:
    """Make the issue of a period, if it was not made before, with a row for each subscriber.

    Issue and rows are made together or not at all, by one of those who try; an empty issue has no
    rows. Those who confirm later get the next one.

    Args:
        site: the site.
        period: daily or weekly.
        now: UTC seconds since 1970.

    Returns:
        The issue, and how many rows were made now.

    Raises:
        StorageError: the database cannot be reached.
    """
    name = periods.issue_name(period, now)
    made = named(site, name, now)
    count = 0
    with site.database.write(visible=False) as connection:
        if issues.open_issue(connection, name, made.until) and not made.empty:
            identity = partial(_message_id, site, name)
            count = deliveries.enlist(connection, name, period, now, identity)
    return made, count


def tidy(site: Site, now: float) -> None:
    """Forget addresses that were never confirmed, and what was sent long ago.

    Raises:
        StorageError: the database cannot be reached.
    """
    with site.database.write(visible=False) as connection:
        subscribers.tidy(connection, now)
        deliveries.tidy(connection, now - _KEPT_S)
        issues.tidy(connection, now - _KEPT_S)


class Sender:
    """A thread that sends confirmations, and digests when they are due.

    Args:
        site: the site.
        head: of every message.
        digests: whether it also makes and sends digests.
        pace: how long to wait, and how often to try.
        clock: UTC seconds since 1970.
    """

    def __init__(
        self, site: Site, head: Letterhead, digests: bool, pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.site, self.head, self.digests = site, head, digests
        self.pace, self.clock = pace or Pace(), clock
        self._stop, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mail", daemon=True)
        self._tidied = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._woken.set()

    def ask_to_stop(self) -> None:
        """Begin to end, without waiting for it."""
        self._stop.set()
        self._woken.set()

    def stop(self) -> None:
        """End after the message at hand; one that takes longer than some seconds is broken off."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(_AT_HAND_S)

    def _work(self) -> None:
        pauses = 0
        while not self._stop.is_set():
            stopped = self._once()
            pauses = pauses + 1 if stopped else 0
            wait = backoff(_PAUSE_S, _LONGEST_PAUSE_S, pauses) if stopped else _EVERY_S
            if stopped:
                # Nobody wakes it: the server is not asked more often because visitors come.
                _LOG.warning("no mail for %.0f s: %s", wait, stopped)
                self._stop.wait(wait)
            else:
                self._woken.wait(wait)
            self._woken.clear()

    def _once(self) -> str:
        now = self.clock()
        try:
            if now - self._tidied > _TIDY_S:
                tidy(self.site, now)
                self._tidied = now
            if self.digests:
                self._make(now)
            which = "%" if self.digests else CONFIRMATIONS
            return send_due(self.site, self.head, self.pace, which, self._stop, self.clock).stopped
        except StorageError as error:
            return str(error)
        except Exception:  # a thread that ends would end all mail until the next start
            _LOG.exception("mail")
            return "an error that was not foreseen"

    def _make(self, now: float) -> None:
        for period in periods.PERIODS:
            if not periods.is_due(period, now):
                continue
            name = periods.issue_name(period, now)
            with self.site.database.read() as connection:
                known = issues.until(connection, name) is not None
            if not known:
                made, count = make_issue(self.site, period, now)
                _LOG.info("%s: %d subscribers%s", made.name, count, " (empty)" * made.empty)


def _message_id(site: Site, issue: str, subscriber: int) -> str:
    return message_id(site, str(subscriber), issue)
