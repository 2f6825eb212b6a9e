"""At most one request at a time, and not too soon after the last one, across processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from heldout.core.errors import HeldoutError

_PATIENCE_S = 300.0  # for another process that is asking the same host


class FetchError(HeldoutError):
    """A feed could not be reached, or did not send what its format says."""


@contextmanager
def turn(
    folder: Path,
    host: str,
    pause: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Iterator[None]:
    """Wait until a host may be asked, and keep others from asking it until the end.

    The lock is the operating system's: a process that is killed leaves it free.

    Args:
        folder: where lock and time are kept; all processes that share it share the pace.
        host: whom to ask.
        pause: seconds from one request to the next.
        sleep: how to wait.
        now: seconds since 1970.

    Raises:
        FetchError: the folder cannot be written, or another process asks for minutes.
    """
    name = "".join(c if c.isalnum() or c in ".-" else "_" for c in host)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=_PATIENCE_S)
        lock.acquire()
    except Timeout as error:
        raise FetchError(
            f"another process has been asking {host} for minutes; wait for it"
        ) from error
    except OSError as error:
        raise FetchError(f"{folder} cannot be written ({error.strerror}); try --data") from error
    try:
        stamp = folder / f"{name}.time"
        # A clock that was set back must not mean a wait of years.
        wait = min(_read(stamp) + pause - now(), pause)
        if wait > 0:
            sleep(wait)
        with suppress(OSError):  # a disk that is full: our own lock still keeps the order
            stamp.write_text(f"{now():.3f}")
        yield
    finally:
        lock.release()


def _read(stamp: Path) -> float:
    try:
        return float(stamp.read_text())
    except (OSError, ValueError):
        return 0.0  # first time, or a process died while it wrote
