"""How often one network may do what costs something, counted in memory over a moving window."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from heldout.serve.site import Site, site_of
from heldout.serve.web.forms import signed

MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Limit:
    """How often, what is said when it is too often."""

    windows: tuple[tuple[int, int], ...]
    """(times, seconds), the shortest window first."""
    says: str
    """To the visitor."""


LIMITS = {
    "vote": Limit(((30, MINUTE), (300, DAY)), "That is more votes than one network may give."),
    "vote on a paper": Limit(((5, DAY),), "Your network has given this paper all the votes it may "
                             "today: five, since several people can share one."),
    "comment": Limit(((5, 10 * MINUTE), (30, DAY)), "That is more comments than one network may "
                     "write in so short a time."),
    "preview": Limit(((30, MINUTE),), "That is more previews than can be made in a minute."),
    "subscribe": Limit(((5, HOUR), (20, DAY)), "That is more subscriptions than one network may "
                       "ask for."),
    "run": Limit(((10, HOUR),), "That is more runs than one network may start in an hour."),
    "search": Limit(((120, MINUTE),), "That is more searches than can be answered in a minute."),
    "api": Limit(((600, MINUTE),), "That is more than 600 requests in a minute."),
}  # fmt: skip
"""Everything that is limited. A network is an IPv4 address, or the /64 of an IPv6 address."""

_MOST_KEYS = 50_000


@dataclass
class Counter:
    """What has happened lately, by network; forgotten when the page's process ends."""

    store: MemoryStorage = field(default_factory=MemoryStorage)
    """Of the library `limits`."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while counting, since the store lets two threads pass at once."""

    def hit(self, times: int, seconds: int, *names: str) -> float:
        """Count one; return 0, or the seconds to wait when it was too many and was not counted."""
        item, window = RateLimitItemPerSecond(times, seconds), MovingWindowRateLimiter(self.store)
        with self.lock:
            if len(self.store.events) > _MOST_KEYS:
                self._tidy()
            if window.hit(item, *names):
                return 0.0
            until = float(window.get_window_stats(item, *names).reset_time)
        return max(1.0, until - time.time())

    def _tidy(self) -> None:
        # The store empties what has passed but keeps the keys, one for each address it ever saw.
        events = self.store.events
        for key in [k for k, found in list(events.items()) if not found]:
            events.pop(key, None)


def limited(request: Request, what: str, *more: str) -> None:
    """Count one request of a visitor's network; refuse it when there were too many.

    Args:
        request: of the visitor.
        what: a name in `LIMITS`.
        more: what is counted apart, such as the paper.

    Raises:
        HTTPException: 429 with Retry-After.
    """
    site = site_of(request)
    counter, limit, who = counter_of(site), LIMITS[what], network_key(site, request)
    for times, seconds in limit.windows:
        wait = counter.hit(times, seconds, what, who, *more)
        if wait:
            raise HTTPException(
                429, f"{limit.says} Try again in {_words(wait)}.",
                {"Retry-After": str(math.ceil(wait))},
            )  # fmt: skip


def counter_of(site: Site) -> Counter:
    """Return the site's counter."""
    found: Counter = site.parts.setdefault("limits", Counter())
    return found


def network_key(site: Site, request: Request, now: float | None = None) -> str:
    """Return a visitor's network as a keyed hash that is another one each day.

    With neither the secret nor the day can two of them be joined, or turned into an address.
    """
    day = int((time.time() if now is None else now) // DAY)
    return signed(site.secret, "network", f"{day} {network_of(address_of(request))}")


def address_of(request: Request) -> str:
    """Return the address that a request comes from, as far as it can be believed.

    With `settings.proxies` = n, it is the n-th entry of X-Forwarded-For from the right: that one
    was written by the outermost of our own proxies, and all to the left of it by anybody.
    """
    peer = request.client.host if request.client else ""
    hops = site_of(request).settings.proxies
    if hops <= 0:
        return peer
    told = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    if len(told) < hops:
        return peer  # it came around a proxy
    return _parsed(told[-hops]) or peer


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and the /64 of an IPv6 address, which one visitor has whole.

    >>> network_of("2001:db8:1:2:3::4"), network_of("::ffff:192.0.2.7"), network_of("x")
    ('2001:db8:1:2::/64', '192.0.2.7', 'x')
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ip_network((found, 64), strict=False))
    return str(found)


def _parsed(text: str) -> str:
    # Some proxies write the port: "192.0.2.7:1234", "[2001:db8::1]:1234".
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _words(seconds: float) -> str:
    if seconds <= 1:
        return "a second"
    for size, name in ((HOUR, "hour"), (MINUTE, "minute")):
        if seconds > size:
            return f"{math.ceil(seconds / size)} {name}s"
    return "a minute" if seconds > 30 else f"{math.ceil(seconds)} seconds"
