"""A polite reader of feeds: known by name, slow, patient, and content with what it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import tenacity

from heldout.core.errors import InputError
from heldout.serve.fetch.kept import Reply, keep, recall, tidy
from heldout.serve.fetch.pace import FetchError, turn
from heldout.serve.fetch.transport import (
    Bounds,
    Moved,
    Passing,
    Source,
    Unreadable,
    connection,
    receive,
)

T = TypeVar("T")
_HOPS = 3


@dataclass
class Client:
    """Asks sources; one for each fetch."""

    folder: Path
    """Where replies, locks and times are kept."""
    tries: int = 5
    """Requests in all, when the server fails or says to wait; 3 when it cannot be reached."""
    first_wait: float = 3.0
    """Seconds before the second try; the later ones wait longer, up to a minute, at random."""
    longest_wait: float = 300.0
    """Seconds that a server may ask us to wait."""
    bounds: Bounds = Bounds()
    """How long and how much to read."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    """How to wait."""
    asked: int = 0
    """Requests that were sent."""
    reused: int = 0
    """Replies that were taken from disk, whether the server was asked about them or not."""

    def __post_init__(self) -> None:
        tidy(self.folder)
        self._open: dict[str, httpx.Client] = {}

    def close(self) -> None:
        """Close the connections."""
        for client in self._open.values():
            client.close()
        self._open.clear()

    def get(
        self,
        source: Source,
        parameters: Mapping[str, str],
        read: Callable[[Reply], T],
        again: bool = False,
    ) -> T:
        """Ask, and return what `read` makes of the reply.

        Args:
            source: whom.
            parameters: of the request.
            read: raises `Unreadable` for a reply that is worth another try; such a reply is not
                kept.
            again: ask even when a kept reply is fresh.

        Raises:
            FetchError: unreachable, still failing after every try, or something else than asked.
            Rejected: the server says that the request itself is wrong.
        """
        url = str(httpx.URL(source.url, params=dict(parameters)))
        known = recall(self.folder, url)
        if known and not again and 0 <= time.time() - known.at < max(source.keep_s, known.max_age):
            try:
                made = read(known)
            except Unreadable:
                known = None  # kept by a version that read it otherwise
            else:
                self.reused += 1
                return made
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((Passing, Unreadable)),
            stop=self._enough,
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            found: T = retrying(self._once, source, url, read, known)
            return found
        except Passing as error:
            asked = f" and asks for {error.wait:.0f} s of patience" if error.wait else ""
            raise FetchError(
                f"{source.name} ({urlsplit(url).netloc}): {error}{asked}; {_LATER}"
            ) from error
        except Unreadable as error:
            raise FetchError(f"{source.name} {error}; {_LATER}") from error

    def _once(self, source: Source, url: str, read: Callable[[Reply], T], known: Reply | None) -> T:
        reply = self._followed(source, url, known)
        if known and reply.content is known.content:
            self.reused += 1
        if reply.kind not in source.kinds:
            raise Unreadable(
                f"sent {reply.kind or 'a reply without content type'} where "
                f"{' or '.join(sorted(source.kinds))} was asked for"
            )
        made = read(reply)
        keep(self.folder, replace(reply, url=url))
        return made

    def _followed(self, source: Source, url: str, known: Reply | None) -> Reply:
        for _ in range(_HOPS + 1):
            # Each hop is a request of its own, and takes its own turn.
            with turn(self.folder, urlsplit(source.url).netloc, source.pause, sleep=self.sleep):
                self.asked += 1
                try:
                    return receive(self._to(url), source, url, known, self.bounds)
                except Moved as moved:
                    url = moved.url
        raise FetchError(f"{source.name} sends us on and on; the last address was {url[:200]}")

    def _to(self, url: str) -> httpx.Client:
        host = url.partition("://")[0] + urlsplit(url).netloc  # one with TLS, one without
        if host not in self._open:
            self._open[host] = connection(url, self.bounds)
        return self._open[host]

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Passing) and error.wait > self.longest_wait:
            return True
        unreachable = isinstance(error, Passing) and error.unreachable
        return state.attempt_number >= (min(self.tries, 3) if unreachable else self.tries)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, Passing) else 0.0
        # Jitter, so that many clients that failed together do not come back together.
        growing = tenacity.wait_exponential(multiplier=self.first_wait, max=60.0)(state)
        return max(asked, growing + tenacity.wait_random(0, self.first_wait)(state))


_LATER = "try again later; what was stored stays"


def base_of(environment: Mapping[str, str], name: str, default: str) -> str:
    """Return the address of a source: the default, or the one that the environment gives.

    Raises:
        InputError: not an http(s) address, or one with a password.

    >>> base_of({}, "HELDOUT_ARXIV_URL", "https://a.org/x")
    'https://a.org/x'
    """
    given = environment.get(name, "").strip()
    if not given:
        return default
    try:
        parts = urlsplit(given)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(f"{name}={given}", "http(s)://host[:port]/path", f"unset {name}")
    return given


def pause_of(environment: Mapping[str, str], url: str, default: str, pause: float) -> float:
    """Return the seconds between requests: the source's rule, which only another host may relax.

    >>> pause_of({"HELDOUT_FETCH_PAUSE": "0"}, "http://localhost/", "https://a.org/", 3.0)
    0.0
    >>> pause_of({"HELDOUT_FETCH_PAUSE": "0"}, "https://a.org/", "https://a.org/", 3.0)
    3.0
    """
    try:
        given = float(environment["HELDOUT_FETCH_PAUSE"])
    except (KeyError, ValueError):
        return pause
    if not 0 <= given <= 60:
        return pause
    elsewhere = urlsplit(url).hostname != urlsplit(default).hostname
    return given if elsewhere else max(pause, given)
