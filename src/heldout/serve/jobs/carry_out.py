"""One run from its claim to its end: a group of processes, watched until it is over."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from heldout.core.errors import InputError
from heldout.serve.jobs.ledger import Ledger
from heldout.serve.jobs.outcome import outcome
from heldout.serve.jobs.output import Output
from heldout.serve.jobs.process import end, end_marked, machine, since, size, start
from heldout.serve.jobs.queue import Limits, folder_of, limits_of
from heldout.serve.site import Site
from heldout.serve.storage.jobs import Job, Wanted

Command = Callable[[Wanted, Path], Sequence[str]]
"""From what is wanted and a folder to an argument list."""
_LOOK_S = 5.0  # how often the files of a run are counted
_LOG = logging.getLogger(__name__)


def by() -> dict[str, object]:
    """Return what names this server to those who find a run of it without it."""
    return {"machine": machine(), "server": os.getpid(), "since": since(os.getpid())}


def carry_out(site: Site, job: Job, command: Command, stopping: threading.Event) -> None:
    """Do a run, and note its end; returns when that is kept, or the server ends.

    Args:
        site: the site.
        job: as it was claimed.
        command: makes the argument list.
        stopping: the server ends; the run is interrupted then, and goes on with the next start.
    """
    ledger, limits, folder = Ledger(site, job), limits_of(site), folder_of(site, job.id)
    if job.kept.get("starts") == 1:
        shutil.rmtree(folder, ignore_errors=True)  # of another database's run of that number
    try:
        process = start(command(job.wanted, folder), folder, os.environ)
    except (OSError, InputError) as error:
        _LOG.warning("run %d: %s", job.id, error)
        ledger.note(why="The run could not be started; the operator's log says why.")
        _write_end(ledger, "failed", [], stopping)
        return
    ledger.note(process.pid, process_since=since(process.pid))
    assert process.stdout is not None
    said = Output(process.stdout, limits.lines, ledger.seen)
    try:
        why = _watched(ledger, process, said, limits, folder, stopping)
    finally:
        # Also when this fails: nothing may go on that nobody watches.
        end(process.pid, limits.grace, process.poll)
        end_marked(folder)
    with suppress(subprocess.TimeoutExpired):
        process.wait(limits.grace)
    said.join(2.0)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    if ledger.lost:
        return
    into, reason = _ending(why, process.returncode, job, limits)
    if into not in ("interrupted", "cancelled"):
        ledger.note(results=outcome(folder, job.wanted))
    ledger.note(why=reason)
    _write_end(ledger, into, said.taken(), stopping)


def _watched(
    ledger: Ledger, process: subprocess.Popen[bytes], said: Output, limits: Limits, folder: Path,
    stopping: threading.Event,
) -> str:  # fmt: skip
    # Returns why it is to be ended, or an empty string when it has ended by itself.
    until = time.monotonic() + limits.seconds[ledger.job.wanted.scale]
    look = 0.0
    while True:
        ledger.keep(said.taken())
        with suppress(subprocess.TimeoutExpired):
            process.wait(limits.tick)
            return ""
        now = time.monotonic()
        if stopping.is_set():
            return "stopping"
        if ledger.asked_to_end():
            return "cancelled"
        if ledger.lost:
            return "lost"
        if now > until:
            return "long"
        if now > look:
            look = now + _LOOK_S
            if size(folder) > limits.run_bytes:
                return "large"


def _ending(why: str, code: int | None, job: Job, limits: Limits) -> tuple[str, str]:
    minutes = limits.seconds[job.wanted.scale] / 60
    told = {
        "stopping": ("interrupted", ""),
        "cancelled": ("cancelled", ""),
        "long": ("failed", f"It took longer than the {minutes:g} minutes that a run may take."),
        "large": ("failed", f"Its files took more than {limits.run_bytes / 2**20:.0f} MB."),
    }
    if why in told:
        return told[why]
    if code == 0:
        return "done", ""
    if code == 1:
        return "failed", "A seed raised an error, or is missing; the lines below say which."
    if code is not None and code < 0:
        return "failed", "Something else on the machine ended it, perhaps for want of memory."
    return "failed", "It ended before everything was measured; its last lines say why."


def _write_end(ledger: Ledger, into: str, lines: Sequence[str], stopping: threading.Event) -> None:
    # While the database takes nothing, the end waits. A server that ends meanwhile leaves the run
    # as if it had been killed: the next one finds it, and nothing that was measured is lost.
    waited = 0.1
    while not ledger.finish(into, lines):
        lines = []
        if stopping.wait(waited):
            ledger.finish(into, lines)
            return
        waited = min(2 * waited, 5.0)
