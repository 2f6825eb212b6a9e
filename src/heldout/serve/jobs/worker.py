"""Threads that do what is in the queue, and see to runs whose server went away."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from heldout.serve.jobs import queue
from heldout.serve.jobs.carry_out import Command, by, carry_out
from heldout.serve.jobs.process import end, end_marked, exists, machine, size
from heldout.serve.jobs.queue import folder_of, limits_of
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.database import StorageError
from heldout.serve.storage.jobs import Job

SILENT_S = 120.0
"""After how long without a sign a run of another machine counts as one without its server."""
_LOOK_S = 2.0  # between two looks at the queue, which other servers may have added to
_RECOVER_S = 10.0
_TIDY_S = 3600.0
_DAY_S = 86400.0
_LOG = logging.getLogger(__name__)


class Worker:
    """A thread that does one run after the other.

    Args:
        site: the site.
        command: makes a run's argument list; see `queue.command`.
        tidies: whether it is the one that sees to lost and old runs as well.
    """

    def __init__(self, site: Site, command: Command = queue.command, tidies: bool = True) -> None:
        self.site, self.command, self.tidies = site, command, tidies
        self.wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
        self._recovered = self._tidied = float("-inf")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the run that goes on is interrupted, and goes on when a server starts again."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(limits_of(self.site).grace + 20.0)

    def ask_to_stop(self) -> None:
        """Begin to end, without waiting for it."""
        self._stopping.set()
        self.wake.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            job = None
            try:
                job = self._next()
                if job is not None:
                    carry_out(self.site, job, self.command, self._stopping)
                    continue
            except StorageError as error:
                _LOG.warning("runs wait for the database: %s", error)
            except Exception:  # one run's failure must not be the end of all others
                _LOG.exception("run %s", job.id if job else "not known")
                self._put_back(job)
            self.wake.wait(_LOOK_S)
            self.wake.clear()

    def _put_back(self, job: Job | None) -> None:
        # Nobody else would find it, since its server is still there.
        while job is not None:
            try:
                with self.site.database.write() as connection:
                    stored.put_back(connection, job, time.time())
                return
            except StorageError:
                if self._stopping.wait(_LOOK_S):
                    return

    def _next(self) -> Job | None:
        now = time.monotonic()
        if self.tidies and now - self._recovered > _RECOVER_S:
            self._recovered = now
            recover(self.site)
        if self.tidies and now - self._tidied > _TIDY_S:
            self._tidied = now
            tidy(self.site, time.time())
        at_once = limits_of(self.site).at_once
        with self.site.database.read() as connection:
            if not stored.claimable(connection, at_once):
                return None
        with self.site.database.write(visible=False) as connection:
            return stored.claim(connection, time.time(), by(), at_once)


def recover(site: Site) -> list[int]:
    """End what is left of runs whose server was killed, and let them wait again.

    What their finished seeds have measured is in their folders, so they go on from there.

    Returns:
        The runs that were found.
    """
    with site.database.read() as connection:
        found = [job for job in stored.running(connection) if is_lost(job, time.time())]
    for job in found:
        own = job.kept.get("by", {}).get("machine") == machine()
        if own and job.pid and exists(job.pid, str(job.kept.get("process_since", ""))):
            end(job.pid, limits_of(site).grace)
        if own:
            # Also those that the server had started and not yet noted, or that left the group.
            end_marked(folder_of(site, job.id))
        with site.database.write() as connection:
            into = stored.put_back(connection, job, time.time())
        _LOG.warning("run %d had lost its server; now it is %s", job.id, into or "another's")
    return [job.id for job in found]


def is_lost(job: Job, now: float) -> bool:
    """Whether the server of a run that goes on is no longer there."""
    by = job.kept.get("by", {})
    if by.get("machine") == machine():
        return not exists(int(by["server"]), str(by.get("since", "")))
    return now - float(job.kept.get("beat", job.started_at or 0.0)) > SILENT_S


def tidy(site: Site, now: float) -> None:
    """Remove old runs, and folders that no run has or that take more than all may."""
    limits, place = limits_of(site), site.settings.data / "runs"
    with site.database.write(visible=False) as connection:
        gone = stored.forget(connection, now - limits.kept_days * _DAY_S)
    for number in gone:
        shutil.rmtree(folder_of(site, number), ignore_errors=True)
    with site.database.read() as connection:
        active = stored.active(connection)
    folders = [p for p in place.glob("*") if p.is_dir() and p.name.isdigit()]
    folders = [p for p in folders if int(p.name) not in active]
    left = {p: size(p) for p in folders}
    for path in sorted(folders, key=_age):
        # A folder that is neither old nor too much is kept even if the database has been replaced.
        if sum(left.values()) <= limits.all_bytes and now - _age(path) < limits.kept_days * _DAY_S:
            break
        left.pop(path)
        shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def begin(site: Site, command: Command | None = None) -> None:
    """Start a site's workers, as many as runs may go on at once.

    Args:
        site: the site; what is in its `parts` as "run command" makes the commands, if anything.
        command: goes before that.
    """
    made = command or site.parts.get("run command", queue.command)
    many = limits_of(site).at_once
    workers = [Worker(site, made, tidies=number == 0) for number in range(many)]
    site.parts["workers"] = workers
    for worker in workers:
        worker.start()


def ask_to_finish(site: Site) -> None:
    """Begin to end a site's workers, without waiting for it."""
    for worker in site.parts.get("workers", ()):
        worker.ask_to_stop()


def finish(site: Site) -> None:
    """End a site's workers."""
    ask_to_finish(site)
    for worker in site.parts.pop("workers", ()):
        worker.stop()
