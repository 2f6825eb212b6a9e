"""A run's processes: started as a group of their own, found again, and ended with all children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

MARK = "HELDOUT_RUN_FOLDER"
"""Variable of a run's processes that names its folder, by which they are found again."""
NICE = 10
_PROC = Path("/proc")
_ONE_CORE = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}  # fmt: skip
_PLAIN = {
    "PYTHONUNBUFFERED": "1",  # lines when they are said
    "PYTHONSAFEPATH": "1",  # nothing of the folder can stand in for a module
    "COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb",
}  # fmt: skip


def start(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a run's command in its folder, on one core and after everything else on the machine.

    The server's own secrets are not in its environment.

    Raises:
        OSError: the command cannot be started.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    kept = {
        k: v for k, v in environment.items() if not k.startswith("HELDOUT_") or k == "HELDOUT_DATA"
    }
    made = subprocess.Popen(
        list(argv),
        cwd=folder,
        env={**kept, **_ONE_CORE, **_PLAIN, "TMPDIR": str(temporary), MARK: str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with suppress(OSError):  # it may be over already
        os.setpriority(os.PRIO_PGRP, made.pid, NICE)
    return made


@cache
def machine() -> str:
    """Return what names the machine since it was started, and the space that its numbers are in."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append((_PROC / "sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink(_PROC / "self/ns/pid"))
    return " ".join(parts)


def since(pid: int) -> str:
    """Return when a process of this machine was started; empty when it is gone, or not known.

    With it a process is told from a later one that got the same number.

    >>> since(os.getpid()) == since(os.getpid()), since(2**22 + 1)
    (True, '')
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (OSError, ValueError):
        return ""
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return "" if fields[0] in ("Z", "X") else fields[19]


def exists(pid: int, started: str) -> bool:
    """Whether a process of this machine is still the one that was started then.

    Without /proc it is asked for its number only.
    """
    if _PROC.is_dir() and started:
        return since(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def end(pid: int, grace: float, reaped: Callable[[], object] = lambda: None) -> None:
    """End a group of processes: asked first, made to after `grace` seconds.

    Args:
        pid: leader of the group.
        grace: seconds.
        reaped: called while waiting; collects the leader's exit code where it is our child.
    """
    for what, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 1.0)):
        until = time.monotonic() + seconds
        try:
            os.killpg(pid, what)
            while time.monotonic() < until:
                reaped()
                os.killpg(pid, 0)
                time.sleep(0.02)
        except OSError:  # nobody is left
            return


def end_marked(folder: Path) -> int:
    """Kill every process that carries a run's mark, in its group or not; return how many."""
    wanted, found = f"{MARK}={folder}".encode(), 0
    for place in _PROC.glob("[0-9]*"):
        try:
            marked = wanted in (place / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or not ours
            continue
        if marked and int(place.name) != os.getpid():
            with suppress(OSError):
                os.kill(int(place.name), signal.SIGKILL)
                found += 1
    return found


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder; of what vanishes meanwhile nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total
