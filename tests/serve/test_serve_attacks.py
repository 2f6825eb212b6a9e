"""Attacks by what is written: scripts and statements in every field, and forms of other sites."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.site import Site
from heldout.serve.storage import comments
from heldout.serve.storage.tables import fetched
from heldout.serve.web.forms import MARK, form_token, local_path, new_visitor
from heldout.serve.web.headers import Guarded

from .one_paper import ORIGIN, PAPER, counts, post, token

pytestmark = pytest.mark.one_paper
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
HOSTILE = (
    SCRIPT, "'; DROP TABLE votes; --", "' OR 1=1 --", "1); DELETE FROM comments; --", "%' UNION",
    "{{ 7 * 7 }}{% raw %}", "%%form-token%%", "${jndi:ldap://evil.org}", "../../etc/passwd",
    "a\r\nSet-Cookie: a=b\r\n\r\n<html>", "\u202e\u0000\ufffe", "%", "\\", "x" * 3000,
)  # fmt: skip


class Harm(HTMLParser):
    """Finds what a page of ours never has: foreign scripts, handlers, inline code, bases."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        source = given.get("src") or ""
        if tag in ("script", "img", "link", "iframe", "object", "embed", "base", "form"):
            target = source or given.get("href") or given.get("action") or "none"
            elsewhere = not target.startswith("/") or target.startswith("//")
            if elsewhere and given.get("rel") != "canonical":
                self.found.append(f"{tag} {target}")
        self.found += [name for name in given if name.startswith("on") or name == "style"]
        if (given.get("href") or "").lower().startswith(("javascript:", "data:")):
            self.found.append("href")


# ---- what is written, asked and fetched


def test_no_text_of_a_stranger_becomes_part_of_a_page(site: Site, client: TestClient) -> None:
    with site.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM fetched")
        for number, text in enumerate(HOSTILE):
            text = text.replace("\0", "")
            connection.execute(insert(fetched).values(
                arxiv=f"2611.{number:05}", version=1, title=text, abstract=text, authors=1,
                names=text, organization=text, categories=text[:50], published="2026-11-22",
                source="arxiv", fetched_at=1.0,
            ))  # fmt: skip
            comments.add(connection, f"2611.{number:05}", text[:60], text, f"{number}:", 1.0)
    paths = ["/", "/?sort=oldest", PAPER, "/about"]
    paths += [f"/papers/2611.{n:05}" for n in range(len(HOSTILE))]
    paths += [f"/papers/2611.{n:05}/comments" for n in range(len(HOSTILE))]
    for path in paths:
        made = client.get(path)
        assert (made.status_code, Harm(made.text).found) == (200, []), path
        assert "alert(1)" not in made.text or "&lt;script&gt;alert(1)" in made.text
        assert MARK not in made.text and ">49<" not in made.text
    assert Harm(SCRIPT).found and Harm("<a href=javascript:x>").found  # it can find them


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_only_words(text: str, site: Site, client: TestClient) -> None:
    mark = token(client)
    sent = {"form_token": mark, "text": text, "name": text[:60], "back": text, "vote": text}
    for path in (PAPER + "/comments", PAPER + "/vote", f"/papers/{text[:40]!r}/vote"):
        made = post(client, path, sent)
        assert made.status_code < 500
        assert Harm(made.text).found == []
        assert made.headers.get("location", PAPER).startswith(PAPER)
        assert "a" not in made.cookies
    for path, name in (
        ("/", "sort"), ("/", "day"), ("/", "page"), ("/", "package"), ("/", "verdict"),
        ("/search", "q"), (PAPER + "/comments", "before"), (PAPER + "/comments", "sent"),
    ):  # fmt: skip
        made = client.get(path, params={name: text})
        assert made.status_code in (200, 404, 422), (path, name)
        assert Harm(made.text).found == []
    assert len(client.get(PAPER).text) > 1000  # every table is still there


def test_a_mark_that_is_written_is_no_mark(site: Site, client: TestClient) -> None:
    mark = token(client)
    post(client, PAPER + "/comments", {"form_token": mark, "text": "%%form-token%% %%form-0%%"})
    page = client.get(PAPER).text
    assert "%%form-token%% %%form-0%%" in page and MARK not in page


# ---- forms of other sites


def refused(client: TestClient, mark: str, **more: Any) -> bool:
    made = [
        post(client, PAPER + path, {"form_token": mark, "text": "x", "vote": "up"}, **more)
        for path in ("/vote", "/comments")
    ]
    return {m.status_code for m in made} == {403}


def test_forms_of_other_sites_are_refused(site: Site, client: TestClient) -> None:
    mark = token(client)
    for name, value in (
        ("origin", "https://evil.org"), ("origin", "null"), ("origin", "http://127.0.0.1:9"),
        ("origin", "https://127.0.0.1:8000"), ("origin", ""), ("origin", "http://[bad"),
        ("origin", "http://127.0.0.1:8000.evil.org"), ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"), ("sec-fetch-site", "Same-Origin, cross-site"),
    ):  # fmt: skip
        assert refused(client, mark, headers={name: value}), value
    assert counts(site) == (0, 0)
    own = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
    assert not refused(client, mark, headers=own)
    assert counts(site) == (1, 1)


def test_tokens_are_their_visitors(site: Site, client: TestClient) -> None:
    mark = token(client)
    cookie = client.cookies["heldout_visitor"]
    number = cookie.partition(".")[0]
    for wrong in ("", "0" * 32, mark[:-1] + ("0" if mark[-1] != "0" else "1"), mark * 2, "é" * 32,
                  form_token(b"another secret", number)):  # fmt: skip
        assert refused(client, wrong)
    for made_up in ("", f"{number}.", number, f"{number}.{'0' * 32}", f"a.{cookie.split('.')[1]}",
                    new_visitor(b"another"), new_visitor(site.secret), "é", "." * 500):  # fmt: skip
        client.cookies.clear()
        assert refused(client, mark, headers={"cookie": f"heldout_visitor={made_up}".encode()})
    assert counts(site) == (0, 0)
    # Another visitor's token, with a cookie of one's own, and with none.
    other = TestClient(client.app, base_url=ORIGIN)
    token(other)
    assert refused(other, mark)
    client.cookies.clear()
    assert refused(client, mark)
    assert counts(site) == (0, 0)


def test_tokens_differ_each_time_and_are_all_good(site: Site, client: TestClient) -> None:
    marks = [token(client) for _ in range(3)]
    assert len(set(marks)) == 3
    for mark in marks:
        assert post(client, PAPER + "/vote", {"form_token": mark, "vote": "up"}).status_code == 303


def test_no_other_method_votes(site: Site, client: TestClient) -> None:
    mark = token(client)
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"):
        made = client.request(method, PAPER + "/vote", params={"form_token": mark})
        assert made.status_code in (404, 405), method
    for name in ("x-http-method-override", "x-method-override", "x-http-method"):
        assert client.get(PAPER + "/vote", headers={name: "POST"}).status_code in (404, 405)
        post(client, PAPER + "/vote", {"form_token": mark, "vote": "up"}, headers={name: "DELETE"})
    client.get(PAPER + "?_method=POST&vote=up")
    assert counts(site) == (0, 1)


# ---- where answers lead


@pytest.mark.parametrize(
    "back",
    ["https://evil.org", "//evil.org", "/\\evil.org", "\\\\evil.org", "/\t/evil.org", "///evil.org",
     "/\r\nLocation: //evil.org", "javascript:alert(1)", "http:evil.org", " //evil.org", "evil",
     "/\u0000", "/\x7f", "/\x85/evil.org", "/ok\r\nSet-Cookie: a=b", "/" + "x" * 3000, "/\ud800"],
)  # fmt: skip
def test_no_answer_leads_elsewhere(back: str, client: TestClient) -> None:
    assert local_path(back, "/mine") == "/mine"
    if "\0" in back or "\ud800" in back:
        return
    made = post(client, PAPER + "/vote", {"form_token": token(client), "back": back})
    assert (made.status_code, made.headers["location"]) == (303, PAPER)
    assert "evil" not in str(made.headers) and "a" not in made.cookies


def test_addresses_within_are_followed() -> None:
    for path in ("/", "/papers/a?x=1&y=%2F#z", "/search?q=é", "/a//b", "/?u=https://a.org"):
        assert local_path(path) == path


def test_a_kept_page_carries_nothing_of_another_visitor(site: Site, client: TestClient) -> None:
    first = token(client)
    assert "set-cookie" not in client.get(PAPER).headers
    other = TestClient(client.app, base_url=ORIGIN)
    made = other.get(PAPER)
    second = re.findall(r'name="form_token" value="([0-9a-f]{32})"', made.text)
    assert first not in made.text and made.headers["set-cookie"].startswith("heldout_visitor=")
    assert client.cookies["heldout_visitor"] != other.cookies["heldout_visitor"]
    assert made.headers["cache-control"] == "private, no-cache"
    assert post(other, PAPER + "/vote", {"form_token": second[0], "vote": "up"}).status_code == 303
    assert refused(client, second[0])


def test_a_page_behind_https_believes_no_http(tmp_path: Path, site: Site) -> None:
    settings = replace(site.settings, url="https://papers.example.org", host="0.0.0.0")
    own = replace(site, settings=settings, parts={}, starting=[], stopping=[])
    client = TestClient(create_app(own), base_url="https://papers.example.org")
    page = client.get(PAPER)
    assert "; Secure" in page.headers["set-cookie"] and "HttpOnly" in page.headers["set-cookie"]
    assert page.headers["strict-transport-security"]
    mark = re.findall(r'name="form_token" value="([0-9a-f]{32})"', page.text)[0]
    for origin, status in (
        ("http://papers.example.org", 403), ("https://papers.example.org", 303),
        ("https://papers.example.org:444", 403),
    ):  # fmt: skip
        made = post(client, PAPER + "/vote", {"form_token": mark, "vote": "up"},
                    headers={"origin": origin})  # fmt: skip
        assert made.status_code == status
    assert client.get("/", headers={"host": "evil.org"}).status_code == 421
    assert Guarded(create_app, replace(settings, url="")).any_host  # nobody has said its name
