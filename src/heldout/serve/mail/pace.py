"""How long a sender waits, how often it tries, and what came of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from heldout.serve.mail import smtp


@dataclass(frozen=True)
class Pace:
    """How long to wait, and how often to try. Times are in seconds."""

    lease: float = 300.0
    """How long a claim lasts; a sender that takes longer loses it before the final dot."""
    retry: float = 300.0
    """After the first refusal for now; twice as long after each other one, and up to a quarter
    more or less by chance."""
    longest_retry: float = 4 * 3600.0
    """At most so long."""
    attempts: int = 12
    """Then a mail is given up: after some 30 hours."""
    refusals: int = 3
    """After so many digests in a row that were given up, an address is set aside."""
    refused_at_first: int = 5
    """When the server refuses so many for good and has taken none, it is the server."""
    lost: int = 3
    """After so many broken connections in a row, too."""
    per_connection: int = 50
    """Mails on one connection."""
    timeouts: smtp.Timeouts = field(default_factory=smtp.Timeouts)
    """Of the conversation."""


@dataclass
class Outcome:
    """What became of the messages that were due."""

    sent: int = 0
    """The server has taken them."""
    later: int = 0
    """Refused for now, to be tried again."""
    failed: int = 0
    """Refused for good, or too often."""
    uncertain: int = 0
    """The connection broke at the final dot."""
    stopped: str = ""
    """Why nothing more was tried; empty: nothing is due any more."""


def backoff(first: float, longest: float, attempts: int) -> float:
    """Return how long to wait after an attempt: doubled each time, a quarter more or less.

    >>> 0.75 * 40 <= backoff(10, 1000, 3) <= 1.25 * 40
    True
    """
    # By chance, so that many that failed together do not come back together.
    most: float = min(longest, first * 2.0 ** min(attempts - 1, 60))
    return most * random.SystemRandom().uniform(0.75, 1.25)
