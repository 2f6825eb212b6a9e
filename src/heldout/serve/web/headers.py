"""Middleware: security headers, known hosts, and bodies of a bounded size."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heldout.serve.settings import Settings

LARGEST_BODY = 64 * 1024
"""Bytes that a request may carry: the longest comment, several times over."""

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
        self.hosts = {own.hostname, "localhost", "127.0.0.1", "::1", settings.host}
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
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # Chunked bodies do not say how long they are; to the reader this one ends here.
            return {"type": "http.disconnect"} if read > LARGEST_BODY else message

        await self.app(scope, bounded, self._with_headers(send))

    def _refused(self, headers: Headers) -> PlainTextResponse | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
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
