"""Middleware that keeps finished pages until something on them changes.

A page is kept as bytes with marks where each visitor's form token belongs and where it says whether
they have voted, so one copy serves all visitors. Kept pages of an older generation (see
`Database.generation`) are made anew; while the database cannot be reached they are still shown.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heldout.serve.site import Site
from heldout.serve.web.forms import (
    COOKIE,
    MARK,
    VOTED,
    cookie_header,
    form_token,
    new_visitor,
    visitor_in,
)

_MARK = MARK.encode()
_VOTED = re.compile(re.escape(_MARK) + rb"voted:([\w./-]{1,80});")  # becomes "true" or "false"
_LARGEST = 512 * 1024
_LONGEST_KEY = 2000
_OLDEST_S = 3600  # trending decays with time, without any change
_ASK_S = 0.9  # shorter than `Database` believes its counter

Key = tuple[str, bytes]


@dataclass(frozen=True)
class _Visitor:
    number: str | None
    voted: frozenset[bytes]


@dataclass(frozen=True)
class _Page:
    generation: int
    made_at: float
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Pages:
    """Finished pages, the least recently seen dropped first.

    Args:
        most: bytes of all pages together.
    """

    def __init__(self, most: int = 24 * 2**20) -> None:
        self.most, self._size = most, 0
        self._pages: OrderedDict[Key, _Page] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> _Page | None:
        """Return a page, however old."""
        with self._lock:
            found = self._pages.get(key)
            if found:
                self._pages.move_to_end(key)
            return found

    def put(self, key: Key, page: _Page) -> None:
        """Keep a page."""
        with self._lock:
            old = self._pages.pop(key, None)
            self._size += _size(key, page) - (_size(key, old) if old else 0)
            self._pages[key] = page
            while self._size > self.most:
                name, dropped = self._pages.popitem(last=False)
                self._size -= _size(name, dropped)


def _size(key: Key, page: _Page) -> int:
    # Addresses are a visitor's to choose, and long ones with short pages would take the memory.
    return len(page.body) + len(key[0]) + len(key[1]) + 1000


class Kept:
    """Answers GET and HEAD from kept pages, and puts each visitor's form token in.

    Pages say that they may be kept by the header `x-kept: yes`, which is not sent on.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site, self.pages = app, site, Pages()
        self._asked_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._head(scope, receive, send)
            return
        visitor = _visitor(self.site, scope)
        if scope["method"] != "GET":
            await self.app(scope, receive, _Marked(self, None, None, 0, visitor, send))
            return
        key = (scope["path"], scope.get("query_string", b""))
        page, generation = self.pages.get(key), await self._generation()
        if page and page.generation == generation and time.time() - page.made_at < _OLDEST_S:
            await _sent(self.site, page, visitor, send)
            return
        await self.app(scope, receive, _Marked(self, key, page, generation, visitor, send))

    async def _generation(self) -> int:
        # A database across a network that does not answer must not stop all other visitors, so
        # the question that may wait is asked elsewhere; between two of them the answer is known,
        # or has just been changed here, which it is asked for at once.
        now = time.monotonic()
        if now - self._asked_at < _ASK_S:
            return self.site.database.generation()
        self._asked_at = now
        return await asyncio.to_thread(self.site.database.generation)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As GET, of which the server leaves the body out; a stream would go on for nobody.
        ended = False

        async def without_body(message: Message) -> None:
            nonlocal ended
            if ended:
                raise OSError("HEAD has no body")
            if message["type"] == "http.response.body":
                ended, message = True, {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self({**scope, "method": "GET"}, receive, without_body)
        except (ClientDisconnect, OSError):
            if not ended:
                raise


class _Marked:
    # Collects a page with the mark in it, keeps it when it may be kept, and sends it with the
    # token in the mark's place. Everything else, streams above all, goes through as it comes.
    def __init__(
        self, kept: Kept, key: Key | None, old: _Page | None, generation: int,
        visitor: _Visitor, send: Send,
    ) -> None:  # fmt: skip
        self.kept, self.key, self.old, self.generation = kept, key, old, generation
        self.visitor, self.send = visitor, send
        self.start: Message | None = None
        self.parts: list[bytes] = []
        self.through = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            self.through = not headers.get("content-type", "").startswith("text/html")
            self.start = message
            if self.through:
                await self.send(message)
            return
        if self.through or self.start is None:
            await self.send(message)
            return
        self.parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        page, keep = self._finished(self.start)
        if keep and self.key:
            self.kept.pages.put(self.key, page)
        if page.status == 503 and self.old:
            page = self.old  # better the page of a while ago than none
        await _sent(self.kept.site, page, self.visitor, self.send)

    def _finished(self, start: Message) -> tuple[_Page, bool]:
        headers = MutableHeaders(raw=list(start["headers"]))
        keep = headers.get("x-kept") == "yes" and "set-cookie" not in headers
        for name in ("x-kept", "content-length"):
            del headers[name]
        page = _Page(
            self.generation, time.time(), start["status"], headers.raw, b"".join(self.parts)
        )
        short = self.key is not None and len(self.key[0]) + len(self.key[1]) < _LONGEST_KEY
        return page, keep and short and page.status == 200 and len(page.body) < _LARGEST


def _visitor(site: Site, scope: Scope) -> _Visitor:
    cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))
    voted = cookies.get(VOTED, "").encode(errors="replace").split(b"|")
    return _Visitor(visitor_in(site.secret, cookies.get(COOKIE)), frozenset(voted))


async def _sent(site: Site, page: _Page, visitor: _Visitor, send: Send) -> None:
    body, headers = page.body, list(page.headers)
    if _MARK in body:
        body = _VOTED.sub(lambda m: b"true" if m[1] in visitor.voted else b"false", body)
        fresh = None if visitor.number else new_visitor(site.secret)
        number = visitor.number or (fresh or "").partition(".")[0]
        body = body.replace(_MARK, form_token(site.secret, number).encode())
        if fresh:
            headers.append((b"set-cookie", cookie_header(site, fresh).encode()))
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"private, no-cache"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
