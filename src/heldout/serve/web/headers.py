"""Middleware: security headers, known hosts, and bodies of a bounded size and time."""

from __future__ import annotations

import asyncio
import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heldout.serve.settings import Settings
from heldout.serve.web.errors import problem

_LOG = logging.getLogger(__name__)
CUT_OFF = "The page is being stopped. Please come back in a moment."
UNFORESEEN = "An error that was not foreseen. The operator's log has it."
"""All that a visitor learns of an error within."""
LARGEST_BODY = 64 * 1024
"""Bytes that a request may carry: the longest comment, several times over."""
LONGEST_S = 30.0
"""Seconds in which a body must have come."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; manifest-src 'self'"
)
"""No script, style or image from elsewhere, and none within the page."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}


class Guarded:
    """Sets the headers, and refuses other hosts and large bodies before anything reads them.

    A page that is bound to loopback would otherwise answer to any name that a foreign page lets
    point to it (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        own = urlsplit(settings.origin)
        self.hosts = {own.hostname, "localhost", "127.0.0.1", "::1", settings.host.lower()}
        self.any_host = not settings.loopback and not settings.url
        self.secure = own.scheme == "https"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(headers)
        if refused:
            await refused(scope, receive, self._with_headers(send))
            return
        body = _Body(receive, self._with_headers(send))
        try:
            await self.app(scope, body.receive, body.send)
        except asyncio.CancelledError:  # the page stops, and has waited for this answer
            _LOG.warning("cut off by the stop: %s %r", scope["method"], scope["path"])
            if not body.answered:
                made = problem(Request(scope), 503, CUT_OFF)
                await made(scope, receive, body.send)
        except Exception:
            # Answered here, since outside of this the page would go without the headers.
            if not body.answered:
                made = problem(Request(scope), 500, UNFORESEEN)
                await made(scope, receive, body.send)
            raise  # into the server's log

    def _refused(self, headers: Headers) -> PlainTextResponse | None:
        length = headers.get("content-length", "0")
        # "²" is a digit too, and a number of thousands of digits takes long to read.
        digits = length.isascii() and length.isdigit() and len(length) < 10
        if not digits or int(length) > LARGEST_BODY:
            return PlainTextResponse(f"A body may have {LARGEST_BODY} bytes.\n", 413)
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            host = None
        if not self.any_host and host not in self.hosts:
            return PlainTextResponse("This page is not served under that name.\n", 421)
        return None

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self.secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        return sending


class _Body:
    # What a request carries, counted and timed. Too much or too slow is an error where it is read,
    # and so a page; once an answer has begun, it is as if the client had left.
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.read, self.whole, self.answered = 0, False, False
        self.until: float | None = None

    async def receive(self) -> Message:
        if self.whole:
            return await self._receive()  # waits for the client to leave, for as long as it takes
        now = time.monotonic()
        self.until = self.until or now + LONGEST_S  # from the first one who wants to read
        try:
            async with asyncio.timeout(max(0.0, self.until - now)):
                message = await self._receive()
        except TimeoutError:
            return self._refuse(408, f"The request took longer than {LONGEST_S:.0f} s to arrive.")
        self.read += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.read > LARGEST_BODY:
            return self._refuse(413, f"A body may have {LARGEST_BODY} bytes.")
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        await self._send(message)

    def _refuse(self, status: int, why: str) -> Message:
        if self.answered:
            return {"type": "http.disconnect"}
        raise HTTPException(status, why, {"connection": "close"})
