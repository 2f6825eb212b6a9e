"""One request over the network: what is sent, how much is read, and where it may lead."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import metadata, version
from urllib.parse import urljoin, urlsplit

import httpx

from heldout.serve.fetch.kept import Reply
from heldout.serve.fetch.pace import FetchError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_AGAIN = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_MOVED = {301, 302, 303, 307, 308}
_LONGEST_REFUSAL = 64 * 1024


class Passing(Exception):
    """A failure that may pass: the server is busy, or the network is."""

    def __init__(self, said: str, wait: float = 0.0, unreachable: bool = False) -> None:
        super().__init__(said)
        self.wait, self.unreachable = wait, unreachable


class Unreadable(Exception):
    """A reply that is not what the format says; it may be whole the next time."""


class Moved(Exception):
    """The server sends us on."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class Rejected(FetchError):
    """The server says that the request is wrong (4xx)."""

    def __init__(self, name: str, status: int, content: bytes) -> None:
        super().__init__(f"{name} refused the request (HTTP {status})")
        self.status, self.content = status, content


@dataclass(frozen=True)
class Source:
    """Whom to ask, and how often."""

    name: str
    """For messages."""
    url: str
    """Address without parameters."""
    hosts: frozenset[str]
    """Hosts, beside its own, to which it may send us on."""
    kinds: frozenset[str]
    """Content types of its format."""
    pause: float = 1.0
    """Seconds from one request to the next."""
    keep_s: float = 0.0
    """Seconds for which a reply is used again without asking."""


@dataclass(frozen=True)
class Bounds:
    """How long and how much to read."""

    timeout: float = 30.0
    """Seconds for connecting, and for each piece of a reply."""
    deadline: float = 180.0
    """Seconds for a whole reply."""
    most_bytes: int = 20 * 1024 * 1024
    """Largest reply, unpacked."""


def agent() -> str:
    """Return how we introduce ourselves, so that a server's keeper can find out who asks.

    >>> agent().startswith("heldout/")
    True
    """
    urls = metadata("heldout").get_all("Project-URL") or []
    where = [url.rpartition(",")[2].strip() for url in urls]
    return f"heldout/{version('heldout')} ({f'+{where[0]}' if where else 'heldout papers fetch'})"


def connection(url: str, bounds: Bounds) -> httpx.Client:
    """Return what asks the host of an address; making one costs more than a request."""
    parts = urlsplit(url)
    # A proxy from the environment cannot reach this machine's own servers.
    return httpx.Client(
        timeout=bounds.timeout,
        trust_env=parts.hostname not in _LOOPBACK,
        # Reading all certificates takes longer than a request that needs none.
        verify=parts.scheme == "https",
        limits=httpx.Limits(max_connections=1),
    )


def receive(
    client: httpx.Client, source: Source, url: str, known: Reply | None, bounds: Bounds
) -> Reply:
    """Ask once, and return the reply; `known` with a new time when it is still current.

    Raises:
        Passing: worth another try.
        Moved: asked to look elsewhere, at an address that is allowed.
        Rejected: the request is wrong.
        FetchError: sent to an address that is not allowed, or the reply is too long.
    """
    # gzip alone: what it can blow up to is known, and small beside what newer methods can.
    headers = {"User-Agent": agent(), "Accept-Encoding": "gzip",
               "Accept": ", ".join(sorted(source.kinds))}  # fmt: skip
    if known and known.etag:
        headers["If-None-Match"] = known.etag
    if known and known.modified:
        headers["If-Modified-Since"] = known.modified
    try:
        with client.stream("GET", url, headers=headers) as response:
            return _judged(source, url, known, bounds, response)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Passing(f"cannot be reached ({error})", unreachable=True) from error
    except httpx.TimeoutException as error:
        raise Passing(f"sent nothing for {bounds.timeout:.0f} s") from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise Passing(f"the reply broke off ({error})") from error
    except httpx.InvalidURL as error:
        raise FetchError(f"{source.name}: an address that cannot be asked ({error})") from error


def _judged(
    source: Source, url: str, known: Reply | None, bounds: Bounds, response: httpx.Response
) -> Reply:
    status, told = response.status_code, response.headers
    if status == 304 and known:
        return replace(known, at=time.time())
    if status in _MOVED:
        raise Moved(allowed(source, url, told.get("Location", "")))
    if status in _AGAIN:
        raise Passing(f"HTTP {status}", wait=seconds_of(told.get("Retry-After", "")))
    if 400 <= status < 500:
        raise Rejected(source.name, status, _body(source, response, bounds, _LONGEST_REFUSAL))
    if status != 200:
        raise Passing(f"HTTP {status}")
    kind = told.get("Content-Type", "").partition(";")[0].strip().lower()
    content = _body(source, response, bounds, bounds.most_bytes)
    return Reply(
        url, content, kind, time.time(), told.get("ETag", "")[:500],
        told.get("Last-Modified", "")[:100], _max_age(told.get("Cache-Control", "")),
    )  # fmt: skip


def _body(source: Source, response: httpx.Response, bounds: Bounds, most: int) -> bytes:
    start, pieces, size = time.monotonic(), [], 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > most:
            raise FetchError(
                f"{source.name} sent more than {most / 1e6:.1f} MB in one reply; not read further"
            )
        if time.monotonic() - start > bounds.deadline:
            raise Passing(f"the reply took more than {bounds.deadline:.0f} s")
        pieces.append(piece)
    return b"".join(pieces)


def allowed(source: Source, url: str, location: str) -> str:
    """Return the address that a redirect leads to, if it may lead there.

    Raises:
        FetchError: another host, another protocol, or less secure than before.
    """
    here = urlsplit(url)
    try:
        there = urljoin(url, location)
        parts = urlsplit(there)
        same = parts.netloc == here.netloc or parts.netloc in source.hosts
    except ValueError:
        same, there = False, ""
    secure = same and (parts.scheme == "https" or parts.scheme == here.scheme == "http")
    if not location or not secure:
        raise FetchError(
            f"{source.name} sends us on to {location[:200]!r}, which is not one of its addresses;"
            " not followed"
        )
    return there


def seconds_of(retry_after: str) -> float:
    """Return the seconds that a Retry-After header asks for, 0 when it asks for none.

    >>> seconds_of("120"), seconds_of("soon"), seconds_of("Fri, 31 Dec 1999 23:59:59 GMT")
    (120.0, 0.0, 0.0)
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return 0.0
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return max(0.0, (found - datetime.now(UTC)).total_seconds())


def _max_age(cache_control: str) -> float:
    words = [w.strip().lower() for w in cache_control.split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0.0
    ages = [w[8:] for w in words if w.startswith("max-age=")]
    return min(float(ages[0]), 86400.0) if ages and ages[0].isdigit() and len(ages[0]) < 9 else 0.0
