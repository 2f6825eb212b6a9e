"""Pages that are kept: one copy for all visitors, and nothing of any one of them in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.items import Item, Library
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage.database import Database
from heldout.serve.web.forms import MARK
from heldout.serve.web.kept import Kept, Pages, _Page

PAPER = "/papers/data_diet"
ITEM = Item("data_diet", "Data diet", "2021-07-15", "2107.07075", "Less data.", package="data")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kept")
    database = Database(f"sqlite:///{folder / 'heldout.db'}")
    database.upgrade()
    library = Library({ITEM.key: ITEM}, {ITEM.arxiv: ITEM.key})
    yield Site(Settings(data=folder), database, library, b"test secret 0123456789")
    database.close()


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    return TestClient(create_app(site), base_url=site.settings.origin)


def asked(app: Any, body: Any, path: str = "/", method: str = "POST", **more: str) -> list[dict]:
    """What an application sends when it is called as a server would."""
    sent: list[dict] = []
    named = {"host": "127.0.0.1:8000", "content-type": "application/x-www-form-urlencoded", **more}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "scheme": "http", "client": ("192.0.2.1", 1), "server": ("127.0.0.1", 1),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in named.items()],
    }  # fmt: skip

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, body, send))
    return sent


def counted_app(headers_sent: list[tuple[bytes, bytes]], status: int = 200) -> tuple[Any, list]:
    calls: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["path"])
        sent = [(b"content-type", b"text/html"), *headers_sent]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        body = f"<p>{len(calls)} {MARK} {MARK}voted:a_b;{MARK}voted:c;".encode()
        await send({"type": "http.response.body", "body": body})

    return inner, calls


async def nothing() -> dict:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("sent", "status", "times"),
    [([(b"x-kept", b"yes")], 200, 1), ([], 200, 3), ([(b"x-kept", b"yes")], 404, 3),
     ([(b"x-kept", b"yes")], 500, 3), ([(b"x-kept", b"yes"), (b"set-cookie", b"a=b")], 200, 3)],
)  # fmt: skip
def test_only_good_pages_that_allow_it_are_kept(
    sent: list[tuple[bytes, bytes]], status: int, times: int, site: Site
) -> None:
    inner, calls = counted_app(sent, status)
    kept = Kept(inner, site)
    made = [asked(kept, nothing, method="GET", cookie="heldout_voted=a_b|d") for _ in range(3)]
    assert len(calls) == times
    bodies = [m[1]["body"].decode() for m in made]
    assert all(b.endswith(" truefalse") for b in bodies)
    assert len({b.split()[1] for b in bodies}) == 3
    for start, body in made:
        named = dict(start["headers"])
        assert b"x-kept" not in named and named[b"content-length"] == b"%d" % len(body["body"])


def test_pages_of_different_addresses_are_different(site: Site) -> None:
    inner, calls = counted_app([(b"x-kept", b"yes")])
    kept = Kept(inner, site)
    for path in ("/a", "/a?b", "/a", "/A", "/a/", "/" + "x" * 3000, "/" + "x" * 3000):
        asked(kept, nothing, path, "GET")
    assert len(calls) == 6  # only the third was kept: long addresses are not


def test_posts_are_never_kept_nor_answered_from_kept_pages(site: Site) -> None:
    inner, calls = counted_app([(b"x-kept", b"yes")])
    kept = Kept(inner, site)
    for method in ("GET", "POST", "POST", "DELETE", "GET", "HEAD"):
        asked(kept, nothing, "/a", method)
    assert len(calls) == 4


def test_head_is_get_without_a_body(client: TestClient, site: Site) -> None:
    for path in (PAPER, "/", "/nothing"):
        head, get = client.head(path), client.get(path, headers={"accept-encoding": "identity"})
        assert head.status_code == get.status_code
        assert head.headers["content-length"] == str(len(get.content)) and head.content == b""


def test_a_stream_that_is_asked_for_by_head_ends(site: Site) -> None:
    pieces = 0

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        nonlocal pieces
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        while True:
            pieces += 1
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})

    made = asked(Kept(stream, site), nothing, "/a", "HEAD")
    assert (len(made), made[1].get("body"), pieces) == (2, b"", 2)


def test_kept_pages_have_a_bounded_size() -> None:
    pages = Pages(most=50_000)
    for number in range(500):
        pages.put((f"/{number}", b"q" * 900), _Page(1, 0.0, 200, [], b"x" * 100))
    assert pages.get(("/0", b"q" * 900)) is None and pages.get(("/499", b"q" * 900)) is not None
    assert pages._size <= 50_000 and len(pages._pages) <= 25
    pages.put(("/499", b"q" * 900), _Page(2, 0.0, 200, [], b"y"))
    assert pages._size == sum(len(p.body) + len(k[0]) + 900 + 1000 for k, p in pages._pages.items())


def test_while_the_database_is_gone_kept_pages_are_shown(site: Site) -> None:
    inner, calls = counted_app([(b"x-kept", b"yes")])
    kept = Kept(inner, site)
    asked(kept, nothing, "/a", "GET")
    with site.database.write():
        pass  # a change, so that the page is made anew
    kept.app, _ = counted_app([], 503)
    assert asked(kept, nothing, "/a", "GET")[0]["status"] == 200
    assert asked(kept, nothing, "/b", "GET")[0]["status"] == 503
