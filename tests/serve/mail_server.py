"""A mail server that keeps what it is sent, and refuses, hangs or hangs up as a test wants."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from sqlalchemy import insert, select

from heldout.serve.app import make_site
from heldout.serve.items import Library
from heldout.serve.mail.background import make_issue
from heldout.serve.mail.compose import Letterhead, letterhead
from heldout.serve.mail.pace import Outcome, Pace
from heldout.serve.mail.sending import send_due
from heldout.serve.settings import Mail, Settings
from heldout.serve.site import Site
from heldout.serve.storage.database import Database
from heldout.serve.storage.tables import deliveries, fetched, subscribers

NOW = 1_795_334_400.0  # Sunday 22 November 2026, 08:00 UTC


class Mailbox:
    """What a server was sent. `rcpt` and `data` are asked for an answer; None: taken.

    An answer "hang" is none within a minute, "hang up" an end of the connection.
    """

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.asked: list[str] = []
        self.open: set[int] = set()
        self.rcpt: Callable[[str], str | None] = lambda _: None
        self.data: Callable[[str], str | None] = lambda _: None

    async def handle_RCPT(self, server: Any, _: Any, envelope: Any, to: str, __: Any) -> str:
        self.asked.append(to)
        answer = await self._answer(server, self.rcpt(to))
        if answer is None:
            envelope.rcpt_tos.append(to)
        return answer or "250 OK"

    async def handle_DATA(self, server: Any, _: Any, envelope: Any) -> str:
        to = envelope.rcpt_tos[0]
        answer = await self._answer(server, self.data(to))
        if answer is None:
            made = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append((to, made))
        return answer or "250 OK"

    async def _answer(self, server: Any, wanted: str | None) -> str | None:
        if wanted == "hang":
            await asyncio.sleep(60)
        if wanted == "hang up":
            server.transport.abort()
            return "421 gone"
        return wanted

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for to, mail in self.mails if to == address]

    def counts(self) -> Counter[str]:
        return Counter(to for to, _ in self.mails)

    def idle(self) -> None:
        """Wait until everybody has left, and so until what the dead have sent is dealt with."""
        until = time.monotonic() + 120
        while self.open and time.monotonic() < until:
            time.sleep(0.01)
        assert not self.open

    def wait(self, count: int, seconds: float = 120.0) -> None:
        until = time.monotonic() + seconds
        while len(self.mails) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.mails) >= count, f"{len(self.mails)} mails instead of {count}"


class _Counted(SMTP):
    # Of a connection that becomes a secret one the beginning is told twice.
    def connection_made(self, transport: Any) -> None:
        self.event_handler.open.add(id(self))
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.event_handler.open.discard(id(self))


class _Controller(Controller):
    # On a socket that is bound already: a port that was only found free may be another's by now.
    def __init__(self, mailbox: Mailbox, bound: socket.socket, **options: Any) -> None:
        self.bound = bound
        host, port = bound.getsockname()
        super().__init__(mailbox, hostname=host, port=port, ready_timeout=120.0, **options)

    def factory(self) -> SMTP:
        return _Counted(self.handler, **self.SMTP_kwargs)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self.bound, ssl=self.ssl_context)


@contextmanager
def serving(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port = int(bound.getsockname()[1])
    controller = _Controller(mailbox, bound, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop(no_assert=True)


def settings_with(tmp_path: Path, database: str, port: int, **mail: Any) -> Settings:
    given = {"security": "none", "sender": "Heldout <papers@example.org>", **mail}
    return Settings(
        tmp_path / "data", database, url="https://papers.example.org",
        secret="test secret 0123456789", mail=Mail("127.0.0.1", port, **given),
    )  # fmt: skip


@contextmanager
def site_with(tmp_path: Path, database: str, port: int, **mail: Any) -> Iterator[Site]:
    made = make_site(settings_with(tmp_path, database, port, **mail))
    yield made
    made.database.close()


def another(site: Site) -> Site:
    """The same site as a process of its own has it."""
    return Site(site.settings, Database(site.settings.database_url), site.library, site.secret)


def bare(site: Site) -> Site:
    """The site without papers of the library."""
    return replace(site, library=Library({}, {}))


def head(site: Site) -> Letterhead:
    return letterhead(site.settings, {})


def send(site: Site, pace: Pace | None = None, at: float = NOW + 1, **more: Any) -> Outcome:
    return send_due(site, head(site), pace, clock=lambda: at, **more)


def subscribe(site: Site, count: int, period: str = "daily", first: int = 0) -> None:
    rows = [
        {"email": f"s{n}@example.com", "period": period, "state": "confirmed", "nonce": f"{n:032x}",
         "created_at": NOW - 9e5, "confirmed_at": NOW - 9e5}
        for n in range(first, first + count)
    ]  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(subscribers), rows)


def add_paper(site: Site, number: str, title: str = "A title", at: float = NOW - 7200) -> None:
    row = {"arxiv": number, "version": 1, "title": title, "abstract": "What was done.",
           "authors": 3, "names": "", "organization": "", "categories": "",
           "published": "2026-11-20", "source": "arxiv", "fetched_at": at}  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), [row])


def ready(site: Site, count: int) -> str:
    """A daily issue with one paper, and so many who wait for it."""
    subscribe(site, count)
    add_paper(site, "2611.00001")
    made, rows = make_issue(site, "daily", NOW)
    assert rows == count
    return made.name


def states(site: Site) -> Counter[str]:
    with site.database.read() as connection:
        return Counter(connection.execute(select(deliveries.c.state)).scalars())


def rows(site: Site) -> list[Any]:
    joined = deliveries.join(subscribers, subscribers.c.id == deliveries.c.subscriber)
    wanted = select(deliveries, subscribers.c.email).select_from(joined).order_by(deliveries.c.id)
    with site.database.read() as connection:
        return list(connection.execute(wanted))


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own, which can be killed; return its number."""
    number = os.fork()
    if number:
        return number
    try:
        work()
    finally:
        os._exit(0)
