"""`heldout serve` as it is, but every answer says how long it took within: Server-Timing.

The time runs from the request's arrival at the application to the moment when the answer's last
byte is given to the server, so middleware, waiting for a thread, and compression are in it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from heldout.serve import app as made
from heldout.serve import command


class Timed:
    """Holds an answer back until it is whole, and adds the time to it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, head = time.perf_counter(), {}

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
                return
            if head:
                took = 1000 * (time.perf_counter() - start)
                told = (b"server-timing", f"app;dur={took:.3f}".encode())
                await send({**head, "headers": [*head["headers"], told]})
                head.clear()
            await send(message)

        await self.app(scope, receive, sending)


def main() -> int:
    """Serve."""
    plain = made.create_app
    made.create_app = lambda site: Timed(plain(site))  # type: ignore[assignment,return-value]
    return command.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
