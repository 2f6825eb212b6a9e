"""A database that is locked, full or gone: it is said, and what was confirmed is kept."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.items import Item, Library
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage import comments, votes
from heldout.serve.storage import engine as engine_module
from heldout.serve.storage.database import Database, StorageError

PAPER = "/papers/data_diet"
ORIGIN = "http://127.0.0.1:8000"
ITEM = Item("data_diet", "Data diet", "2021-07-15", "2107.07075", "Less data.", package="data")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    database = Database("sqlite://")  # each test has a database of its own to break
    library = Library({ITEM.key: ITEM}, {ITEM.arxiv: ITEM.key})
    yield Site(Settings(data=tmp_path, proxies=1), database, library, b"test secret 0123456789")
    database.close()


def token(client: TestClient) -> str:
    return re.findall(r'name="form_token" value="([0-9a-f]{32})"', client.get(PAPER).text)[0]


def post(client: TestClient, path: str, data: dict[str, str], **more: Any) -> Any:
    return client.post(path, data=data, follow_redirects=False, **more)


def comments_of(site: Site) -> list[comments.Comment]:
    with site.database.read() as connection:
        return comments.listed(connection)


def counts(site: Site) -> tuple[int, int]:
    with site.database.read() as connection:
        return len(comments_of(site)), sum(votes.count(connection, ["data_diet"]).values())


def test_a_locked_database_is_told_and_nothing_is_half_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_MS", 50)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    database.upgrade()
    own = replace(site, database=database, parts={}, starting=[], stopping=[])
    client = TestClient(create_app(own), base_url=ORIGIN)
    mark = token(client)
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    made = post(client, PAPER + "/vote", {"form_token": mark})
    assert (made.status_code, made.headers["retry-after"]) == (503, "30")
    assert "Nothing that you sent was kept" in made.text
    assert post(client, PAPER + "/comments", {"form_token": mark, "text": "x"}).status_code == 503
    assert client.get(PAPER).status_code == 200
    other.execute("ROLLBACK")
    other.close()
    assert counts(own) == (0, 0)
    made = post(client, PAPER + "/vote", {"form_token": token(client)})
    assert made.status_code == 303 and counts(own) == (0, 1)
    database.close()


def test_a_full_disk_is_told_and_nothing_is_half_kept(tmp_path: Path, site: Site) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    database.upgrade()
    with database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    database.close()

    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    room = [pages + 2]

    @event.listens_for(database.engine, "checkout")
    def bound(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={room[0]}")

    own = replace(site, database=database, parts={}, starting=[], stopping=[])
    client = TestClient(create_app(own), base_url=ORIGIN)
    mark = token(client)
    answers = []
    for number in range(5):
        text = f"{number} " + "x" * 4900
        made = post(client, PAPER + "/comments", {"form_token": mark, "text": text},
                    headers={"x-forwarded-for": f"192.0.2.{number}"})  # fmt: skip
        answers.append(made.status_code)
    assert answers[-1] == 503 and "send it again in a minute" in made.text
    assert len(comments_of(own)) == answers.count(303)  # as many as were confirmed
    room[0] = pages + 100
    assert post(client, PAPER + "/comments", {"form_token": mark, "text": "now"}).status_code == 303
    database.close()


def test_a_database_that_is_gone_is_told(tmp_path: Path, site: Site) -> None:
    (tmp_path / "sub").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'sub' / 'a.db'}")
    database.upgrade()
    own = replace(site, database=database, parts={}, starting=[], stopping=[])
    client = TestClient(create_app(own), base_url=ORIGIN)
    mark = token(client)
    database.close()
    for path in (tmp_path / "sub").iterdir():
        path.unlink()
    (tmp_path / "sub").rmdir()
    with pytest.raises(StorageError), database.read():
        pass
    assert post(client, PAPER + "/vote", {"form_token": mark}).status_code == 503
    assert client.get("/about").status_code == 200


SERVER = """
import sys, uvicorn
from pathlib import Path
from heldout.serve.app import create_app
from heldout.serve.items import Item, Library
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage.database import Database
folder, port = Path(sys.argv[1]), int(sys.argv[2])
database = Database(f"sqlite:///{folder / 'heldout.db'}")
database.upgrade()
item = Item("data_diet", "Data diet", "2021-07-15", "2107.07075", "Less data.", package="data")
settings = Settings(data=folder, port=port, proxies=1)
site = Site(settings, database, Library({item.key: item}, {}), b"test secret 0123456789")
uvicorn.run(create_app(site), port=port, proxy_headers=False, log_level="warning")
"""


def visit(port: int, number: int, confirmed: list[tuple[str, str]]) -> None:
    # One visitor, who votes and comments; what the page has confirmed is noted down.
    def ask(method: str, path: str, fields: dict[str, str], cookie: str) -> Any:
        sent = {
            "host": f"127.0.0.1:{port}", "cookie": cookie, "x-forwarded-for": f"192.0.2.{number}",
            "content-type": "application/x-www-form-urlencoded",
        }  # fmt: skip
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, urlencode(fields) if fields else None, sent)
        made = connection.getresponse()
        body = made.read().decode()
        connection.close()
        return made, body

    made, page = ask("GET", PAPER, {}, "")
    cookie = made.headers["set-cookie"].partition(";")[0]
    mark = re.findall(r'name="form_token" value="([0-9a-f]{32})"', page)[0]
    made, _ = ask("POST", PAPER + "/vote", {"form_token": mark, "vote": "up"}, cookie)
    if made.status == 303:
        confirmed.append(("vote", str(number)))
    text = f"comment {number}"
    made, _ = ask("POST", PAPER + "/comments", {"form_token": mark, "text": text}, cookie)
    if made.status == 303:
        confirmed.append(("comment", text))


def test_what_was_confirmed_outlives_a_kill(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(tmp_path), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    confirmed: list[tuple[str, str]] = []

    def keep_on(number: int) -> None:
        while number < 250:
            try:
                visit(port, number, confirmed)
            except (OSError, HTTPException):
                return  # it was killed
            number += 3

    try:
        until = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.1)
        with ThreadPoolExecutor(3) as pool:
            for first in range(3):
                pool.submit(keep_on, first)
            while len(confirmed) < 20 and time.monotonic() < until:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)  # while others are being answered
    finally:
        process.kill()
        process.wait()
    assert len(confirmed) >= 20
    database = Database(f"sqlite:///{tmp_path / 'heldout.db'}")
    with database.read() as connection:
        texts = {c.text for c in comments.listed(connection, most=1000)}
        voted = votes.count(connection, ["data_diet"])["data_diet"]
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()
    assert {text for kind, text in confirmed if kind == "comment"} <= texts
    # A vote may be kept whose confirmation the kill has cut off, but none that was confirmed lost.
    assert voted >= sum(kind == "vote" for kind, _ in confirmed)
