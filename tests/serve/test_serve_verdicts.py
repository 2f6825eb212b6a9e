"""The history of verdicts: every record once, and what has changed since a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.papers.catalogue import RECORDS, claims
from heldout.serve import history, items
from heldout.serve.app import create_app
from heldout.serve.items import Item, Library
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage import verdicts
from heldout.serve.storage.database import Database
from heldout.serve.storage.verdicts import Change

SLUG = "data_diet"
CLAIM = claims(SLUG)[0].id


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "records"
    shutil.copytree(Path(RECORDS) / SLUG, made, ignore=shutil.ignore_patterns("seeds"))

    def path(_: str, claim: str) -> str:
        return str(made / f"{claim}.json")

    monkeypatch.setattr(verdicts, "record_path", path)
    monkeypatch.setattr(items, "record_path", path)
    return made


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    database = Database(settings.database_url)
    database.upgrade()
    item = Item(SLUG, "Data diet", "2021-07-15", "2107.07075", "Less data.", package="data")
    library = Library({SLUG: item}, {item.arxiv: SLUG})
    yield Site(settings, database, library, b"test secret 0123456789")
    database.close()


def remember(site: Site, now: float) -> int:
    with site.database.write() as connection:
        return verdicts.remember(connection, site.library, now)


def rewrite(folder: Path, claim: str, **fields: Any) -> None:
    path = folder / f"{claim}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | fields, indent=1) + "\n")


def changes(site: Site, since: float) -> list[Change]:
    with site.database.read() as connection:
        return verdicts.changed(connection, since)


def test_every_record_is_kept_once_as_it_is(site: Site, folder: Path) -> None:
    files = sorted(folder.glob("*.json"))
    assert [remember(site, 10.0), remember(site, 20.0)] == [len(files), 0]
    with site.database.read() as connection:
        found = verdicts.history(connection, SLUG)
        assert verdicts.history(connection, "nothing") == {}
    assert set(found) == {path.stem for path in files}
    for path in files:
        (seen,), whole = found[path.stem], json.loads(path.read_text())
        effect = whole["effect"]
        assert asdict(seen) == {
            "slug": SLUG, "claim": whole["claim"], "verdict": whole["verdict"],
            "code_hash": whole["code_hash"], "scale": whole["scale"], "n": effect["n"],
            "version": whole["environment"]["versions"]["heldout"], "value": effect["value"],
            "low": effect["ci_low"], "high": effect["ci_high"], "seen_at": 10.0,
        }  # fmt: skip


def test_what_is_known_is_not_read_whole(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(site, 10.0)
    read: list[str] = []
    monkeypatch.setattr(verdicts, "record", lambda slug, claim: read.append(claim))
    assert remember(site, 20.0) == 0
    assert read == []
    rewrite(folder, CLAIM, code_hash="0123456789abcdef")
    remember(site, 30.0)
    assert read == [CLAIM]


def test_shipped_records_are_told_by_their_ends() -> None:
    told = {p: verdicts._told(p) for p in Path(RECORDS).glob("*/*.json")}
    for path, (code, word) in ((p, t or ("", "")) for p, t in told.items()):
        whole = json.loads(path.read_text())
        if "claim" in whole:  # others belong to audits
            assert (code, word) == (whole["code_hash"], whole["verdict"])


def test_changes_are_told_from_what_was_before(site: Site, folder: Path) -> None:
    other = claims(SLUG)[1].id
    was = json.loads((folder / f"{CLAIM}.json").read_text())["verdict"]
    (folder / f"{other}.json").rename(folder / "later")
    remember(site, 10.0)
    assert {c.before for c in changes(site, 5.0)} == {""}  # at first all are new
    assert changes(site, 10.0) == []

    turned = "fails" if was != "fails" else "holds"
    rewrite(folder, CLAIM, code_hash="aa", verdict=turned)
    remember(site, 20.0)
    assert changes(site, 10.0) == [Change(SLUG, CLAIM, was, turned, 20.0)]

    (folder / "later").rename(folder / f"{other}.json")
    new = json.loads((folder / f"{other}.json").read_text())["verdict"]
    remember(site, 30.0)
    added = Change(SLUG, other, "", new, 30.0)
    assert changes(site, 10.0) == [Change(SLUG, CLAIM, was, turned, 20.0), added]
    assert changes(site, 20.0) == [added]

    rewrite(folder, CLAIM, code_hash="bb", verdict=was)
    remember(site, 40.0)
    assert changes(site, 10.0) == [added]  # back where it was
    assert changes(site, 20.0) == [added, Change(SLUG, CLAIM, turned, was, 40.0)]
    with site.database.read() as connection:
        found = verdicts.history(connection, SLUG)[CLAIM]
    assert [s.verdict for s in found] == [was, turned, was]


def test_a_new_record_with_the_same_verdict_is_no_change(site: Site, folder: Path) -> None:
    remember(site, 10.0)
    rewrite(folder, CLAIM, code_hash="cc")
    assert remember(site, 20.0) == 1
    assert changes(site, 10.0) == []


def test_records_of_other_shapes(site: Site, folder: Path) -> None:
    names = [claim.id for claim in claims(SLUG)]
    content = json.loads((folder / f"{names[0]}.json").read_text())
    first = {"code_hash": content.pop("code_hash")}  # not at the end
    (folder / f"{names[0]}.json").write_text(json.dumps(first | content))
    (folder / f"{names[1]}.json").write_text("{")
    (folder / f"{names[2]}.json").write_text("[1]")
    (folder / f"{names[3]}.json").unlink()
    rewrite(folder, names[4], effect={"value": None, "n": 0}, environment={}, code_hash="dd")
    assert remember(site, 10.0) == len(names) - 3
    assert remember(site, 20.0) == 0
    with site.database.read() as connection:
        found = verdicts.history(connection, SLUG)
    assert found[names[0]][0].code_hash == first["code_hash"]
    (odd,) = found[names[4]]
    assert (odd.value, odd.low, odd.version) == (None, None, "")
    assert odd.said.startswith("n = 0, small, version not known, here since 1 January 1970")


def test_two_that_start_together_keep_each_record_once(site: Site, folder: Path) -> None:
    with site.database.read() as connection:
        rows = verdicts.unseen(connection, site.library)
    for expected in (len(rows), 0):
        with site.database.write() as connection:
            assert verdicts.keep(connection, rows, 10.0) == expected


def test_the_page_keeps_the_history_when_it_starts(
    site: Site, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    was = json.loads((folder / f"{CLAIM}.json").read_text())["verdict"]
    with TestClient(create_app(site), base_url=site.settings.origin):
        pass  # stopping waits for it
    rewrite(folder, CLAIM, code_hash="ee", verdict="inconclusive")
    assert history.remember(site) == 1
    found = history.part(site, site.library.items[SLUG])["history"][CLAIM]
    assert [s.verdict for s in found] == [was, "inconclusive"]
    assert history.part(site, Item("2107.1", "", "", "", ""))["history"] == {}


def test_a_database_that_is_gone_stops_nothing(
    site: Site, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE verdicts")
    if site.database.name == "sqlite":
        history._remember(site)
        assert "not brought up to date" in caplog.text
