"""Pages that are kept: one copy for all visitors, and nothing of any one of them in it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.serve.site import Site
from heldout.serve.web.forms import MARK
from heldout.serve.web.kept import Kept, Pages, _Page

from .one_paper import PAPER, asked, nothing

pytestmark = [pytest.mark.one_paper, pytest.mark.sqlite_only]


def counted_app(headers_sent: list[tuple[bytes, bytes]], status: int = 200) -> tuple[Any, list]:
    calls: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["path"])
        sent = [(b"content-type", b"text/html"), *headers_sent]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        body = f"<p>{len(calls)} {MARK} {MARK}voted:a_b;{MARK}voted:c;".encode()
        await send({"type": "http.response.body", "body": body})

    return inner, calls


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
