"""Attacks by what is sent: bodies, lengths, names, paths and clients that are out of order."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any
from urllib.parse import unquote

import pytest
import uvicorn
from starlette.testclient import TestClient

from heldout.serve.site import Site
from heldout.serve.web import headers, patience

from .one_paper import ORIGIN, PAPER, asked, comments_of, counts, nothing, token

pytestmark = pytest.mark.one_paper


def raw(client: TestClient, body: bytes, kind: str = "application/x-www-form-urlencoded",
        **more: str) -> Any:  # fmt: skip
    named = {"content-type": kind, **more}
    return client.post(
        PAPER + "/comments", content=body, follow_redirects=False,
        headers={k: v if isinstance(v, bytes) else v.encode("latin-1") for k, v in named.items()},
    )  # fmt: skip


def test_bodies_that_are_no_forms(site: Site, client: TestClient) -> None:
    start = f"form_token={token(client)}&text=".encode()
    part = b'--b\r\nContent-Disposition: form-data; name="text"; filename="a"\r\n\r\nx\r\n--b--'
    for expected, body, kind in (
        (413, start + b"x" * 70_000, ""), (413, b"&a=" * 100_000, ""), (400, b"a=&" * 5000, ""),
        (400, start + b"%00", ""), (400, start + b"x&%00=1", ""),
        (415, part, "multipart/form-data; boundary=b"),
        (415, b"{}", "application/json"), (415, b"", "text/plain"), (415, start + b"x", "é"),
        (415, part, "multipart/form-data; boundary=b; charset=unicode_escape"),
    ):  # fmt: skip
        made = raw(client, body, kind.encode() or b"application/x-www-form-urlencoded")  # type: ignore[arg-type]
        assert made.status_code == expected, (body[:80], kind)
        assert "content-security-policy" in made.headers
    assert counts(site) == (0, 0)


def test_odd_encodings_are_read_or_refused(site: Site, client: TestClient) -> None:
    start = f"form_token={token(client)}&text=".encode()
    odd = (b"%", b"a%zz%", b"%ff%fe", b"%ED%A0%80a", b"\xff\xfea", b"a;text=b", b"+%2B%E2%82%AC")
    for number, body in enumerate(odd):
        made = raw(client, start + body, **{"x-forwarded-for": f"192.0.2.{number}"})
        assert made.status_code in (303, 422)
    for comment in comments_of(site):
        comment.text.encode()  # no half of a surrogate pair has come in
    assert raw(client, start + b"a&text=b").status_code == 303
    assert comments_of(site)[0].text == "b"  # of two fields of one name the last


@pytest.mark.sqlite_only
@pytest.mark.parametrize("length", ["-1", "abc", "²", "9" * 5000, "1, 2", "0x10", "65537", " "])
def test_lengths_that_cannot_be(length: str, client: TestClient) -> None:
    made = raw(client, b"a=b", **{"content-length": length})
    assert made.status_code == 413


@pytest.mark.sqlite_only
def test_a_body_without_an_end_is_cut(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    async def endless() -> dict:
        nonlocal read
        read += 4096
        return {"type": "http.request", "body": b"x" * 4096, "more_body": True}

    assert asked(app, endless, PAPER + "/vote")[0]["status"] == 413
    assert read <= headers.LARGEST_BODY + 4096

    monkeypatch.setattr(headers, "LONGEST_S", 0.2)
    pieces = 0

    async def slow() -> dict:
        nonlocal pieces
        pieces += 1
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    assert asked(app, slow, PAPER + "/vote")[0]["status"] == 408
    assert pieces < 10

    async def leaves() -> dict:
        return {"type": "http.disconnect"}

    assert asked(app, leaves, PAPER + "/vote")[0]["status"] == 400


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.org", 421), ("127.0.0.1.evil.org", 421), ("evil.org:8000", 421), ("", 421),
     ("[::1", 421), ("127.0.0.1@evil.org", 421), ("localhost.evil.org", 421), ("LOCALHOST", 200),
     ("localhost:1", 200), ("[::1]:8000", 200)],
)  # fmt: skip
def test_foreign_names_for_this_machine_are_refused(
    host: str, status: int, client: TestClient
) -> None:
    made = client.get("/about", headers={"host": host})
    assert made.status_code == status
    if status == 421:
        assert "heldout_visitor" not in made.cookies


@pytest.mark.parametrize(
    "path",
    ["/papers/..%2f..%2fetc%2fpasswd", "/papers/%2e%2e/%2e%2e/", "/papers/..", "/assets/../app.py",
     "/assets/x/..%2f..%2fapp.py", "/assets/x/%2e%2e", "/papers/data_diet%00", "/papers/%00/vote",
     "/papers/data_diet/records/..%2f..%2fx.json", "/papers/data_diet/records/%2e%2e.json",
     "//evil.org",
     "/papers/" + "a/" * 2000, "/%ff%fe", "/papers/\\..\\..", "/papers/data_diet%0d%0aa:b",
     "/assets/x/secret", "/papers/C:/x/comments", "/papers/~/comments"],
)  # fmt: skip
def test_paths_lead_to_pages_only(path: str, app: Any) -> None:
    # Called as a server would, since a client tidies up the addresses that it is given.
    start, body = asked(app, nothing, unquote(path), "GET", **{"accept-encoding": "identity"})
    if start["status"] == 307:  # without the slash at the end, on this page all the same
        assert dict(start["headers"])[b"location"].startswith(f"{ORIGIN}/".encode())
    else:
        assert start["status"] in (404, 422)
    text = body["body"].decode()
    assert "root:" not in text and "Traceback" not in text
    assert b"a" not in dict(start["headers"])


@pytest.mark.sqlite_only
def test_all_answers_have_the_headers(client: TestClient, app: Any) -> None:
    for made in (
        client.get("/"), client.get("/nothing"), client.head(PAPER), client.post(PAPER + "/vote"),
        client.get("/", headers={"host": "evil.org"}), raw(client, b"x" * 70_000),
    ):  # fmt: skip
        assert made.headers["content-security-policy"] == headers.POLICY
        assert made.headers["x-content-type-options"] == "nosniff"
        assert made.headers["x-frame-options"] == "DENY"
        assert "x-kept" not in made.headers
    assert "unsafe" not in headers.POLICY and "http:" not in headers.POLICY


@pytest.mark.sqlite_only
def test_an_error_within_says_nothing_of_the_machine(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr("heldout.serve.feed.items_page", breaks)
    made = client.get("/?sort=oldest&package=data")
    assert made.status_code == 500 and "secret" not in made.text
    assert made.headers["content-security-policy"] == headers.POLICY


class Server(uvicorn.Server):
    """Answers "ok", with four megabytes for who asks for /large."""

    def __init__(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = b"ok" * (2**21 if scope["path"] == "/large" else 1)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for start in range(0, len(body), 2**16):
                part = body[start : start + 2**16]
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        super().__init__(
            uvicorn.Config(app, port=0, http=patience.Impatient, lifespan="off", log_level="error")
        )
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        until = time.monotonic() + 60
        while not self.started:
            assert time.monotonic() < until
            time.sleep(0.02)
        self.port: int = self.servers[0].sockets[0].getsockname()[1]

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port))
        made.settimeout(120)
        return made

    def stop(self) -> None:
        self.should_exit = True
        self.thread.join(120)


def test_slow_clients_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "UNREAD_S", 0.6)
    server = Server()
    try:
        deaf, quick = server.connect(), server.connect()
        deaf.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        quick.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in quick.recv(1000)
        monkeypatch.setattr(patience, "HEADERS_S", 0.6)  # only now: those two were to be in time
        silent, dripping = server.connect(), server.connect()
        begun = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - the connection ends at some byte
            for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 2000:
                dripping.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - begun < 60
        assert silent.recv(1) == b""
        own = deaf.getsockname()
        until = time.monotonic() + 60
        while any(c.client == own for c in set(server.server_state.connections)):
            assert time.monotonic() < until
            time.sleep(0.05)
        got = 0
        with pytest.raises(OSError):  # noqa: PT012
            while part := deaf.recv(2**16):
                got += len(part)
            raise OSError("ended")
        assert got < 2**22
        for made in (silent, dripping, deaf, quick):
            made.close()
    finally:
        server.stop()
