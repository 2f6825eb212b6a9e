"""Middleware that keeps finished pages until something on them changes.

A page is kept as bytes with a mark where each visitor's form token belongs, so one copy serves all
visitors. Kept pages of an older generation (see `Database.generation`) are made anew; while the
database cannot be reached they are still shown.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heldout.serve.site import Site
from heldout.serve.web.forms import COOKIE, MARK, cookie_header, form_token, new_visitor, visitor_in

_MARK = MARK.encode()
_LARGEST = 512 * 1024
_OLDEST_S = 3600  # trending decays with time, without any change


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

    def __init__(self, most: int = 48 * 2**20) -> None:
        self.most, self._size = most, 0
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> _Page | None:
        """Return a page, however old."""
        with self._lock:
            found = self._pages.get(key)
            if found:
                self._pages.move_to_end(key)
            return found

    def put(self, key: str, page: _Page) -> None:
        """Keep a page."""
        with self._lock:
            old = self._pages.pop(key, None)
            self._size += len(page.body) - (len(old.body) if old else 0)
            self._pages[key] = page
            while self._size > self.most:
                _, dropped = self._pages.popitem(last=False)
                self._size -= len(dropped.body)


class Kept:
    """Answers GET from kept pages, and puts each visitor's form token in.

    Pages say that they may be kept by the header `x-kept: yes`, which is not sent on.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site, self.pages = app, site, Pages()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cookie = Headers(scope=scope).get("cookie", "")
        visitor = visitor_in(self.site.secret, cookie_parser(cookie).get(COOKIE))
        fresh = None if visitor else new_visitor(self.site.secret)
        token = form_token(self.site.secret, visitor or (fresh or "").partition(".")[0]).encode()
        if scope["method"] != "GET":
            await self.app(scope, receive, _Marked(self, None, 0, token, fresh, send))
            return
        key = f"{scope['path']}?{scope.get('query_string', b'').decode('latin-1')}"
        page, generation = self.pages.get(key), self.site.database.generation()
        if page and page.generation == generation and time.time() - page.made_at < _OLDEST_S:
            await _sent(self.site, page, token, fresh, send)
            return
        await self.app(scope, receive, _Marked(self, key, generation, token, fresh, send))


class _Marked:
    # Collects a page with the mark in it, keeps it when it may be kept, and sends it with the
    # token in the mark's place. Everything else, streams above all, goes through as it comes.
    def __init__(
        self, kept: Kept, key: str | None, generation: int, token: bytes, fresh: str | None,
        send: Send,
    ) -> None:  # fmt: skip
        self.kept, self.key, self.generation = kept, key, generation
        self.token, self.fresh, self.send = token, fresh, send
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
        headers = MutableHeaders(raw=list(self.start["headers"]))
        keep = headers.get("x-kept") == "yes"
        for name in ("x-kept", "content-length"):
            del headers[name]
        page = _Page(
            self.generation, time.time(), self.start["status"], headers.raw, b"".join(self.parts)
        )
        if keep and self.key and page.status == 200 and len(page.body) < _LARGEST:
            self.kept.pages.put(self.key, page)
        await _sent(self.kept.site, page, self.token, self.fresh, self.send)


async def _sent(site: Site, page: _Page, token: bytes, fresh: str | None, send: Send) -> None:
    body, headers = page.body, list(page.headers)
    if _MARK in body:
        body = body.replace(_MARK, token)
        headers.append((b"cache-control", b"private, no-cache"))
        if fresh:
            headers.append((b"set-cookie", cookie_header(site, fresh).encode()))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
