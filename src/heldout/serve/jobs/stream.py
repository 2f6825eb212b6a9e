"""A run's lines and state as they come: Server-Sent Events.

Lines are events "line" whose id is the line's number, so that a browser that comes back says with
Last-Event-ID what it has; "state" tells what has changed otherwise, and "end" is the last.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from heldout.serve.jobs.queue import limits_of
from heldout.serve.jobs.view import as_json, looked_up
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.database import StorageError

LONGEST_S = 300.0
"""After which a browser comes back: so no stream that is dead without a sign is held for ever."""
BEAT_S = 10.0
"""How often something is sent at least."""
_TICK_S = 0.4
_AT_ONCE = 200
_BACK_MS = 2000


@dataclass
class Streams:
    """How many go on."""

    most: int
    """Of all."""
    each: int
    """Of one network."""
    now: Counter[str] = field(default_factory=Counter)
    """By network."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while counting."""

    def enter(self, who: str) -> bool:
        """Count one more; False when that would be too many."""
        with self.lock:
            if self.now.total() >= self.most or self.now[who] >= self.each:
                return False
            self.now[who] += 1
            return True

    def leave(self, who: str) -> None:
        """Count one less."""
        with self.lock:
            self.now[who] -= 1
            if self.now[who] <= 0:
                del self.now[who]


def streams_of(site: Site) -> Streams:
    """Return the streams of a site."""
    limits = limits_of(site)
    found: Streams = site.parts.setdefault(
        "run streams", Streams(limits.streams, limits.streams_each)
    )
    return found


class Events(StreamingResponse):
    """A stream that is counted until it ends, whoever ends it.

    Args:
        site: the site.
        number: of the run.
        after: number of the last line that the browser has.
        who: network, entered in `streams_of` already.
    """

    media_type = "text/event-stream"

    def __init__(self, site: Site, number: int, after: int, who: str) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events(site, number, after), headers=headers)
        self.site, self.who = site, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; somebody who takes nothing for long is left."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S + 2 * BEAT_S):
                    await super().__call__(scope, receive, send)
        finally:
            streams_of(self.site).leave(self.who)


async def events(site: Site, number: int, after: int) -> AsyncIterator[str]:
    """Give the events of a run until it is over, or a browser should come back.

    Args:
        site: the site.
        number: of the run.
        after: number of the last line that is known already; -1: none.
    """
    yield f"retry: {_BACK_MS}\n\n"
    until, beat, told = time.monotonic() + LONGEST_S, time.monotonic(), ""
    while time.monotonic() < until and not site.ending:  # browsers come back
        try:
            state, over, lines = await asyncio.to_thread(_news, site, number, after)
        except StorageError:
            state, over, lines = told, False, []
        made = [f"id: {n}\nevent: line\ndata: {text}\n\n" for n, text in lines]
        if state != told:
            made.append(f"event: state\ndata: {state}\n\n")
            told = state
        if over and len(lines) < _AT_ONCE:
            yield "".join([*made, f"event: end\ndata: {state}\n\n"])
            return
        after = lines[-1][0] if lines else after
        if made or time.monotonic() - beat > BEAT_S:
            beat = time.monotonic()
            yield "".join(made) or ": still here\n\n"
        if len(lines) < _AT_ONCE:
            await asyncio.sleep(_TICK_S)


def last_seen(request: Request) -> int:
    """Return the number of the last line that a browser has; -1 for none, or anything odd."""
    told = request.headers.get("last-event-id") or request.query_params.get("after", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else -1


def _news(site: Site, number: int, after: int) -> tuple[str, bool, list[tuple[int, str]]]:
    # The state is read before the lines: the last lines are kept together with the end.
    seen = looked_up(site, number)
    with site.database.read() as connection:
        lines = stored.lines(connection, number, after, _AT_ONCE)
    if seen is None:
        return json.dumps({"id": number, "state": "gone", "over": True}), True, lines
    return json.dumps(as_json(seen)), seen.job.over, lines
