"""The Atom feed, read as a feed reader does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from defusedxml import ElementTree
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.serve import history
from heldout.serve.site import Site
from heldout.serve.storage.tables import fetched, verdicts

SPACE = "{http://www.w3.org/2005/Atom}"
HOSTILE = '<script>alert(1)</script>]]> & "quotes" \'\x0b\x00\ufffe'
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(autouse=True)
def settled(site: Site) -> None:
    history.remember(site)


def feed(client: TestClient, query: str = "") -> Any:
    answer = client.get(f"/atom.xml{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/atom+xml")
    return ElementTree.fromstring(answer.content)


def texts(node: Any, name: str) -> list[str]:
    return [child.text or "" for child in node.findall(SPACE + name)]


def turn(site: Site, word: str, at: float, code: str) -> None:
    with site.database.write() as connection:
        connection.execute(insert(verdicts), [{
            "slug": "data_diet", "claim": "el2n_beats_random", "verdict": word, "code_hash": code,
            "version": "0.2", "n": 5, "scale": "small", "seen_at": at,
        }])  # fmt: skip


def test_it_is_valid(client: TestClient) -> None:
    root = feed(client)
    assert root.tag == f"{SPACE}feed"
    entries = root.findall(f"{SPACE}entry")
    ids = [texts(entry, "id") for entry in entries]
    assert all(len(found) == 1 and found[0].startswith("tag:127.0.0.1,2026:") for found in ids)
    assert len({found[0] for found in ids}) == len(ids) == 40
    for node in (root, *entries):
        assert len(texts(node, "title")) == len(texts(node, "updated")) == 1
        assert INSTANT.fullmatch(texts(node, "updated")[0])
        kinds = [(link.get("rel"), link.get("type")) for link in node.findall(f"{SPACE}link")]
        assert kinds.count(("alternate", "text/html")) == 1
    assert texts(root, "updated")[0] == max(texts(entry, "updated")[0] for entry in entries)
    assert root.find(f"{SPACE}author/{SPACE}name").text == "Heldout"
    itself = next(k for k in root.findall(f"{SPACE}link") if k.get("rel") == "self").get("href")
    assert itself == "http://127.0.0.1:8000/atom.xml"
    pages = [link.get("href") for link in root.iter(f"{SPACE}link")]
    assert client.get(pages[0]).status_code == 200 and client.get(pages[-1]).status_code == 200


def test_filters(client: TestClient, site: Site) -> None:
    found = feed(client, "?package=data")
    terms = [[c.get("term") for c in e.findall(f"{SPACE}category")] for e in found.iter(
        f"{SPACE}entry")]  # fmt: skip
    own = [i for i in site.library.items.values() if i.package == "data"]
    assert len(terms) == len(own) and all("data" in term for term in terms)
    assert texts(found, "id") != texts(feed(client), "id")
    assert client.get("/atom.xml?package=none").status_code == 422
    assert client.get("/atom.xml?verdict=none").status_code == 422


def test_a_changed_verdict_is_an_entry_whose_id_stays(client: TestClient, site: Site) -> None:
    before = {texts(e, "id")[0] for e in feed(client).iter(f"{SPACE}entry")}
    tag = client.get("/atom.xml").headers["etag"]
    turn(site, "fails", 4e9, "c1")
    turn(site, "fails", 4.1e9, "c2")  # the same word again is no change
    turn(site, "holds", 4.2e9, "c3")
    assert client.get("/atom.xml", headers={"if-none-match": tag}).status_code == 200
    found = {texts(e, "id")[0]: e for e in feed(client).iter(f"{SPACE}entry")}
    new = [found[i] for i in found if i not in before]
    assert [texts(e, "title")[0].split(":")[0] for e in new] == ["fails → holds", "holds → fails"]
    link = new[0].find(f"{SPACE}link").get("href")
    assert link.endswith("/papers/data_diet#claim-el2n_beats_random")
    assert set(found) >= before
    tag = client.get("/atom.xml").headers["etag"]
    assert client.get("/atom.xml", headers={"if-none-match": tag}).status_code == 304


def test_hostile_titles_stay_text(client: TestClient, site: Site) -> None:
    with site.database.write() as connection:
        hostile = HOSTILE.replace("\x00", "") if site.database.name == "postgresql" else HOSTILE
        connection.execute(insert(fetched), [{
            "arxiv": "2511.00001", "version": 1, "title": hostile, "abstract": hostile,
            "authors": 2, "names": f"Ünal, {hostile}", "organization": hostile, "categories":
            'cs.LG "><x/>', "published": "2199-11-03", "source": "arxiv", "fetched_at": 0.0,
        }])  # fmt: skip
    first = feed(client).find(f"{SPACE}entry")
    clean = '<script>alert(1)</script>]]> & "quotes" \''
    assert texts(first, "title") == texts(first, "summary") == [clean]
    names = [node.text for node in first.findall(f"{SPACE}author/{SPACE}name")]
    assert names == ["Ünal", clean]
    assert {node.tag for node in first.iter()} <= {
        SPACE + n for n in ("entry", "id", "title", "link", "updated", "published", "author",
                            "name", "category", "summary")
    }  # fmt: skip
