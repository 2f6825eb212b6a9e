"""SQLite that is locked, full or gone: it is said, and what was confirmed is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage import engine as engine_module
from heldout.serve.storage.database import Database, StorageError

from .one_paper import LIBRARY, ORIGIN, PAPER, SECRET, comments_of, counts, post, token


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    database = Database("sqlite://")  # each test has a database of its own to break
    yield Site(Settings(data=tmp_path, proxies=1), database, LIBRARY, SECRET.encode())
    database.close()


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
