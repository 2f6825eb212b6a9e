"""kill -9 of `heldout serve` at any moment: what it had confirmed is there when it starts again."""

from __future__ import annotations

import os
import random
import re
import select
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import select as wanted

from heldout.serve.mail import links
from heldout.serve.storage.database import Database
from heldout.serve.storage.subscribers import Subscriber
from heldout.serve.storage.tables import comments, deliveries, subscribers, votes

from .mail_server import Mailbox, serving
from .one_paper import SECRET

PAPERS = ("data_diet", "wide_cnn", "benign_xor", "grokking_stability")
VISITORS = 3
"""Who visit at the same time, one after the other for each of them."""


@dataclass
class Page:
    """A page in a process of its own, and what it has confirmed in all its lives."""

    folder: Path
    url: str
    mail_port: int
    confirmed: set[tuple[str, str, str]] = field(default_factory=set)
    port: int = 0

    def start(self) -> subprocess.Popen[bytes]:
        own = {k: v for k, v in os.environ.items() if not k.startswith("HELDOUT_")}
        own |= {
            "HELDOUT_EMBEDDING_MODEL": "none", "HELDOUT_SECRET": SECRET, "HELDOUT_PROXIES": "1",
            "HELDOUT_COMMENTS": "open", "HELDOUT_MAIL_FROM": "papers@example.org",
            "HELDOUT_SMTP_HOST": "127.0.0.1", "HELDOUT_SMTP_PORT": str(self.mail_port),
            "HELDOUT_SMTP_SECURITY": "none", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "heldout.cli", "serve", "--port", "0",
                   "--data", str(self.folder), "--database", self.url]  # fmt: skip
        made = subprocess.Popen(command, env=own, stdout=subprocess.PIPE)
        assert made.stdout
        ready, _, _ = select.select([made.stdout], [], [], 300)
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", made.stdout.readline() if ready else b"")
        if not found:
            made.kill()
            made.wait()
        assert found, "the page did not start"
        self.port = int(found[1])
        return made


class Visitor:
    """Votes, comments and subscribes, and notes what the page has confirmed."""

    def __init__(self, page: Page, number: int) -> None:
        self.page, self.number = page, number
        self.cookie = self.mark = ""

    def visit(self, database: Database) -> None:
        paper, name = PAPERS[self.number % len(PAPERS)], str(self.number)
        made, text = self.ask("GET", f"/papers/{paper}")
        self.cookie = made.headers["set-cookie"].partition(";")[0]
        self.mark = re.findall(r'name="form_token" value="([0-9a-f]{32})"', text)[0]
        self.send(f"/papers/{paper}/vote", 303, ("vote", paper, name), vote="up")
        words = f"comment {name}"
        self.send(f"/papers/{paper}/comments", 303, ("comment", paper, words), text=words)
        email = f"v{name}@example.com"
        self.send("/subscribe", 303, ("asked", email, ""), email=email, period="daily")
        with database.read() as connection:  # the link that is in the mail
            row = connection.execute(wanted(subscribers).where(subscribers.c.email == email)).one()
        person = Subscriber(row.id, row.email, row.period, row.state, row.nonce)
        link = links.confirm_token(SECRET.encode(), person, time.time())
        self.send("/subscribe/confirm", 200, ("subscribed", email, ""), t=link)

    def send(self, path: str, good: int, what: tuple[str, str, str], **fields: str) -> None:
        made, text = self.ask("POST", path, {"form_token": self.mark, **fields})
        assert made.status == good, (path, made.status, text)
        self.page.confirmed.add(what)

    def ask(
        self, method: str, path: str, fields: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection("127.0.0.1", self.page.port, timeout=300)
        connection.request(method, path, urlencode(fields) if fields else None, {
            "cookie": self.cookie, "content-type": "application/x-www-form-urlencoded",
            "x-forwarded-for": f"192.0.2.{self.number}",
        })  # fmt: skip
        made = connection.getresponse()
        text = made.read().decode()
        connection.close()
        return made, text


def live(page: Page, first: int, many: int, wait: float) -> None:
    """Start the page, let visitors come, and kill it while it answers them."""
    process = page.start()
    database = Database(page.url)

    def come(number: int) -> None:
        while number < 250:
            try:
                Visitor(page, number).visit(database)
            except (OSError, HTTPException):
                assert process.returncode is not None or killed, "it went away by itself"
                return
            number += VISITORS

    killed = False
    enough = len(page.confirmed) + many
    try:
        with ThreadPoolExecutor(VISITORS) as pool:
            coming = [pool.submit(come, first + n) for n in range(VISITORS)]
            until = time.monotonic() + 300
            while len(page.confirmed) < enough and time.monotonic() < until:
                assert not any(c.done() for c in coming)
                time.sleep(0.001)
            time.sleep(wait)
            killed = True
            process.kill()
            process.wait()
            for one in coming:
                one.result()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        database.close()
    assert len(page.confirmed) >= enough


def lost(url: str, confirmed: set[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """What was confirmed and is not there."""
    database = Database(url)
    with database.read() as connection:
        said = {tuple(r) for r in connection.execute(wanted(comments.c.paper, comments.c.text))}
        cast = Counter(connection.execute(wanted(votes.c.paper)).scalars())
        people = {r.email: r for r in connection.execute(wanted(subscribers))}
        mailed = set(connection.execute(wanted(deliveries.c.subscriber)).scalars())
        if database.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()
    gone: list[tuple[str, ...]] = []
    for paper, many in Counter(p for kind, p, _ in confirmed if kind == "vote").items():
        # One whose answer the kill cut off may be there too, but none that was confirmed not.
        gone += [("vote", paper)] * max(many - cast[paper], 0)
    for kind, key, words in confirmed:
        if kind == "comment" and (key, words) not in said:
            gone.append((kind, words))
        if kind == "asked" and (key not in people or people[key].id not in mailed):
            gone.append((kind, key))
        if kind == "subscribed" and (key not in people or people[key].state != "confirmed"):
            gone.append((kind, key))
    return gone


def test_nothing_that_was_confirmed_is_lost(tmp_path: Path, database_url: str) -> None:
    rng = random.Random()  # any moment: another one each time
    with serving(Mailbox()) as mail_port:
        page = Page(tmp_path / "data", database_url, mail_port)
        for life in range(2):
            live(page, 1 + 100 * life, rng.randrange(10, 30), rng.uniform(0.0, 0.02))
            assert lost(database_url, page.confirmed) == []
        kinds = {kind for kind, _, _ in page.confirmed}
        assert kinds == {"vote", "comment", "asked", "subscribed"}
        made_up = {("vote", "data_diet", f"x{n}") for n in range(99)} | {
            ("comment", "data_diet", "never said"), ("asked", "x@example.com", ""),
            ("subscribed", "x@example.com", ""),
        }  # fmt: skip
        found = {kind for kind, _ in lost(database_url, page.confirmed | made_up)}
        assert found == kinds  # a loss would be seen
