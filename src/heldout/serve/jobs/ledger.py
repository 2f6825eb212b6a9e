"""What a server knows of the run that it carries out, brought to the database bit by bit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from heldout.serve.jobs.progress import Progress, read
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.database import StorageError
from heldout.serve.storage.jobs import Job

BEAT_S = 10.0
"""How often a run that says nothing is said to go on."""


class Ledger:
    """Lines, progress and process of a run; what the database cannot take now, it gets later.

    Args:
        site: the site.
        job: as it was claimed.
    """

    def __init__(self, site: Site, job: Job) -> None:
        self.site, self.job = site, job
        self.lost = False
        self._lines: list[str] = []
        self._next, self._sure = -1, False  # number of the next line; -1: not asked for yet
        self._progress, self._lock = Progress(), threading.Lock()
        self._kept_at, self._changed = 0.0, True

    def seen(self, line: str) -> None:
        """Look at a line for how far the run is; called by the thread that reads."""
        with self._lock:
            self._progress = read(self._progress, self.job.wanted.slug, line)

    def note(self, pid: int | None = None, **kept: Any) -> None:
        """Note what is to be kept beside the lines."""
        changed = {**self.job.kept, **kept}
        self.job = replace(self.job, pid=pid or self.job.pid, kept=changed)
        self._changed = True

    def keep(self, lines: Sequence[str]) -> bool:
        """Write what is new, if anything; False when the database cannot take it now."""
        self._take(lines)
        if not self._changed and time.monotonic() - self._kept_at < BEAT_S:
            return True
        try:
            with self.site.database.write(visible=False) as connection:
                said = self._numbered(connection)
                ours = stored.keep(connection, self.job, said, time.time())
        except StorageError:
            self._sure = False
            return False
        self._kept(said, ours)
        return True

    def finish(self, into: str, lines: Sequence[str]) -> bool:
        """Write the end; False when the database cannot take it now."""
        self._take(lines)
        try:
            with self.site.database.write() as connection:
                said = self._numbered(connection)
                ours = stored.finish(connection, self.job, into, said, time.time())
        except StorageError:
            self._sure = False
            return False
        self._kept(said, ours)
        return True

    def asked_to_end(self) -> bool:
        """Whether somebody wants the run to end; False while nobody can be asked."""
        try:
            with self.site.database.read() as connection:
                now = stored.one(connection, self.job.id)
        except StorageError:
            return False
        if now is None or (now.state, now.started_at) != ("running", self.job.started_at):
            self.lost = True
        return now is not None and now.cancel

    def _take(self, lines: Sequence[str]) -> None:
        self._lines += lines
        with self._lock:
            far = {"done": self._progress.done, "total": self._progress.total}
        if lines or any(self.job.kept.get(k) != v for k, v in far.items()):
            self.note(**far)

    def _numbered(self, connection: Connection) -> list[tuple[int, str]]:
        if not self._sure:
            # Lines of an earlier start come before ours; of a write whose answer was lost, the
            # first of those that wait may have been kept.
            last = stored.last_line(connection, self.job.id)
            if self._next >= 0:
                del self._lines[: last + 1 - self._next]
            self._next, self._sure = last + 1, True
        return list(enumerate(self._lines, self._next))

    def _kept(self, said: Sequence[tuple[int, str]], ours: bool) -> None:
        self._next += len(said)
        self._lines, self._changed = [], False
        self._kept_at, self.lost = time.monotonic(), self.lost or not ours
