"""The server's side of a connection, which does not wait for slow clients for ever.

uvicorn times out connections between requests only; one that sends its headers byte by byte, or
never reads its answer, would hold its place as long as it likes.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 15.0
"""Seconds in which the headers of a request must have come; for bodies see `web.headers`."""
UNREAD_S = 60.0
"""Seconds after which a client that reads nothing of its answer is left."""


class Impatient(H11Protocol):
    """To be given to uvicorn as `http=Impatient`."""

    _headers: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_or_not()

    def data_received(self, data: bytes) -> None:
        """Read on; a few bytes more give no more time."""
        super().data_received(data)
        self._wait_or_not()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait_or_not()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop to wait: it has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        for timer in (self._headers, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _wait_or_not(self) -> None:
        between = self.cycle is None or self.cycle.response_complete
        if between and self._headers is None:
            self._headers = self.loop.call_later(HEADERS_S, self.transport.close)
        elif not between and self._headers is not None:
            self._headers.cancel()
            self._headers = None
