"""A database file that is damaged, deleted or replaced while the page is served."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.serve import feed
from heldout.serve.app import create_app, make_site
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage import trends, verdicts, votes
from heldout.serve.storage.database import Database, StorageError

PAPER = "/papers/data_diet"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    made = make_site(Settings(data=tmp_path / "data", secret="test secret 0123456789"))
    made.starting.clear()
    yield made
    made.database.close()


def file_of(site: Site) -> Path:
    return site.settings.data / "heldout.db"


def client_of(site: Site) -> TestClient:
    # Nothing beside the requests: no thread that has a connection of its own.
    app = create_app(site)
    site.starting.clear()
    return TestClient(app, base_url=site.settings.origin, raise_server_exceptions=False)


def vote(client: TestClient, which: str) -> Any:
    token = re.findall(r'name="form_token" value="([0-9a-f]{32})"', client.get(PAPER).text)[0]
    fields = {"form_token": token, "vote": which}
    return client.post(PAPER + "/vote", data=fields, follow_redirects=False)


def voted(site: Site) -> int:
    with site.database.read() as connection:
        return votes.count(connection, ["data_diet"]).get("data_diet", 0)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_no_vote_is_taken_into_a_file_that_is_gone(
    how: str, own: Site, caplog: pytest.LogCaptureFixture
) -> None:
    file, client = file_of(own), client_of(own)
    assert vote(client, "up").status_code == 303
    away = file.with_suffix(".away")
    if how == "replaced":
        shutil.copy(file, file.with_suffix(".copy"))
    os.rename(file, away)  # the connection that is open goes on with this one
    if how == "replaced":
        os.rename(file.with_suffix(".copy"), file)
    with caplog.at_level(logging.ERROR):
        answer = vote(client, "down")
        assert answer.status_code == 503 and "Nothing that you sent was kept" in answer.text
        assert client.get("/healthz").status_code == 503
    told = [r.getMessage() for r in caplog.records if "deleted or replaced" in r.getMessage()]
    assert len(told) == 1 and str(file) in told[0]  # once, and not with every visitor
    with pytest.raises(StorageError, match="deleted or replaced"), own.database.read():
        pass
    assert client.get("/about").status_code == 200
    os.replace(away, file)
    assert voted(own) == 1 and client.get("/healthz").status_code == 200


def test_a_file_that_goes_within_a_change_confirms_nothing(own: Site) -> None:
    file = file_of(own)
    with own.database.write() as connection:
        votes.cast(connection, "data_diet", "a", 1.0)
    with (
        pytest.raises(StorageError, match="deleted or replaced"),
        own.database.write() as connection,
    ):
        votes.cast(connection, "data_diet", "b", 1.0)
        os.rename(file, file.with_suffix(".away"))
    os.rename(file.with_suffix(".away"), file)
    assert voted(own) == 1


def test_a_damaged_file_is_a_clear_page(own: Site) -> None:
    file, client = file_of(own), client_of(own)
    assert client.get(PAPER).status_code == 200
    own.database.close()
    plain = sqlite3.connect(file)
    plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    plain.close()
    content = file.read_bytes()
    with file.open("r+b") as handle:  # its first page is whole, all others are not
        handle.seek(4096)
        handle.write(b"\x9e" * (len(content) - 4096))
    fresh = client_of(replace(own, parts={}, starting=[], stopping=[]))
    for path in ("/", "/papers/2401.00001", "/api/papers", "/atom.xml", "/healthz"):
        answer = fresh.get(path)
        assert answer.status_code == 503, path
        assert "Traceback" not in answer.text and "malformed" not in answer.text
    assert fresh.get("/about").status_code == 200
    file.write_bytes(b"no database, " * 1000)
    own.database.close()
    assert fresh.get("/api/papers").status_code == 503
    with pytest.raises(StorageError, match="cannot be used: file is not a database"):
        Database(f"sqlite:///{file}").upgrade()


def test_what_ships_with_a_fresh_page_does_not_trend(site: Site) -> None:
    now = 1_800_000_000.0
    with site.database.write() as connection:
        rows = verdicts.unseen(connection, site.library)
        assert verdicts.keep(connection, rows[:-1], now) > 1
        assert trends.happened(connection, now - 1) == []
        assert verdicts.keep(connection, rows[-1:], now + 86400) == 1
    site.parts.pop("feed", None)
    found = feed.trending(site, now + 86400)
    assert [key for key, _ in found] == [rows[-1]["slug"]]
