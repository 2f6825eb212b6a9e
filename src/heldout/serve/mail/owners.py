"""Who holds a message: the names of senders, and whether they still run."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets

_PROCESS = secrets.token_hex(4)


def owner_here() -> str:
    """Return the name under which this process claims messages: machine, process, chance."""
    return f"{_machine()}:{os.getpid()}:{_PROCESS}"


def gone(owner: str) -> bool:
    """Whether the sender of a name ran on this machine and does not any more.

    A wrong yes does no harm: the other one then fails before its final dot.

    >>> gone(owner_here()), gone("another:1:ab"), gone(f"{_machine()}:{2**22 + 1}:ab")
    (False, False, True)
    """
    machine, _, rest = owner.partition(":")
    number, _, process = rest.partition(":")
    if machine != _machine() or not number.isdigit():
        return False
    if int(number) == os.getpid():
        return process != _PROCESS  # numbers come again, in containers above all
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
