"""The server's end: everything is asked to end at once, and nobody waits for long."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn

from heldout.serve.site import Site

STOPPING_S = 3
"""Seconds in which answers on their way may end once the page is to stop."""


class Leaving(uvicorn.Server):
    """A server whose site knows at once that it is to stop.

    Args:
        config: of uvicorn.
        site: that is served.
    """

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self.site = site

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note it; answers that wait for something look at that. Takes no lock: any may be held."""
        self.site.ending = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let runs, figures and mail end while the last answers are on their way."""
        self.site.leave()
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C waits for no visitor, but leaves no run behind either
            await self.lifespan.shutdown()
