"""Who may start and end runs: this machine, or who knows the operator's token."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from limits import RateLimitItemPerSecond
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.web.limits import counter_of, network_key

WRONG, WITHIN_S = 5, 600
"""Wrong tokens of one network, and in how long."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host", "via")


def is_local(site: Site, request: Request) -> bool:
    """Whether a request comes from this machine, by the address of its connection.

    Headers cannot make it local. They can make it foreign: a proxy on this machine connects from
    here for everybody, and so it is as well when the page has a public address.
    """
    client = request.client.host if request.client else ""
    told = any(name in request.headers for name in _FORWARDED)
    return is_loopback(client) and not told and not behind_proxy(site.settings)


def behind_proxy(settings: Settings) -> bool:
    """Whether connections from this machine may be those of a proxy."""
    if settings.proxies > 0:
        return True
    name = urlsplit(settings.url).hostname or "" if settings.url else ""
    return bool(name) and name != "localhost" and not is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's to itself.

    >>> [is_loopback(a) for a in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "x")]
    [True, True, True, False, False]
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def may(site: Site, request: Request, fields: Mapping[str, str]) -> bool:
    """Whether a request may start or end runs.

    Raises:
        HTTPException: 429 after too many wrong tokens of the same network; then even a right one
            is not looked at.
    """
    if is_local(site, request):
        return True
    given = bearer(request) or fields.get("token", "")
    if not site.settings.token or not given:
        return False
    counter, who = counter_of(site), network_key(site, request)
    item, window = (
        RateLimitItemPerSecond(WRONG, WITHIN_S),
        MovingWindowRateLimiter(counter.store),
    )
    with counter.lock:  # also while comparing, or many at once would each be the first
        if not window.test(item, "run token", who):
            raise HTTPException(
                429, "Too many wrong tokens came from your network. Try again later.",
                {"Retry-After": str(math.ceil(WITHIN_S))},
            )  # fmt: skip
        right = _same(given, site.settings.token)
        if not right:
            window.hit(item, "run token", who)
    return right


def bearer(request: Request) -> str:
    """Return the token of the header Authorization, which no page of another site can send."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _same(one: str, other: str) -> bool:
    # Of equal length as digests, so that the time says nothing about the token's.
    a, b = (hashlib.sha256(t.encode("utf-8", "surrogatepass")).digest() for t in (one, other))
    return hmac.compare_digest(a, b)
