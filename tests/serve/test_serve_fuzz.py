"""Requests that nobody means: any bytes in any address, query, form and header, and paths that lead
out. No answer is an error of the server's, none leads elsewhere, and each is of its kind."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote_from_bytes, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.serve.site import Site
from heldout.serve.storage.tables import fetched

MARK = "zq<\"'>&zq"  # what must never stand in a page as it is
TOLD = {200, 303, 304, 307, 308, 400, 403, 404, 405, 408, 413, 415, 421, 422, 429}
SMALL = settings(
    max_examples=40, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
PAGES = {
    "/": ("sort", "day", "week", "month", "package", "verdict", "page", "x"),
    "/search": ("q", "source", "package", "verdict", "page", "x"),
    "/atom.xml": ("package", "verdict"),
    "/papers/data_diet/comments": ("before", "sent"),
    "/papers/data_diet": ("v", "x"),
    "/api/papers": ("q", "sort", "since", "until", "package", "verdict", "limit", "offset"),
    "/api/records": ("slug", "verdict", "limit", "offset"),
    "/api/runs/1": ("after",),
    "/subscribe": ("email", "period"),
    "/runs": ("page",),
}
ODD = (
    b"", b"0", b"-1", b"1", b"2", b"999999", b"1000001", b"00000001", b"00000001" + b"9" * 5000,
    b"9" * 5000, b"1e9", b"NaN", b"inf", b"-0", b"+1", b"1.0", b"0x1", b"\xc2\xb2", b"\xd9\xa1",
    b"2026-11-22", b"2026-02-31", b"0000-00-00", b"0001-01-01", b"9999-12-31", b"2026-W47",
    b"2026-W54", b"0000-W01", b"9999-W53", b"2026-13", b"9999-12", b"0001-01", b"\0", b"a\0b",
    b"\xff", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf0\x9f\x98\x80" * 50, b"\xe2\x80\xae", b"\r\n",
    b"\r\nset-cookie: a=b", b"%", b"%%", b"%s%n", b"{{7*7}}", b"${7*7}", b"' OR 1=1 --", b"\\",
    b"a" * 3000, b"\"*:AND OR NOT(", b"NEAR(", b"[", b"(", b"~", b"^", b"holds", b"data",
    b"trending", b"oldest", b"newest", b"relevance", b"library", b"fetched", MARK.encode(),
)  # fmt: skip
PATHS = (
    "/papers/..", "/papers/../", "/papers/../..", "/papers/%2e%2e", "/papers/%2e%2e/%2e%2e",
    "/papers/..%2f..%2fetc%2fpasswd", "/papers/%2e%2e%2f%2e%2e%2fapp.py", "//evil.org",
    "//evil.org/", "//evil.org/%2e%2e", "///evil.org", "/%2f%2fevil.org", "/\\evil.org",
    "/%5cevil.org", "/%5c%5cevil.org", "/papers//evil.org", "/papers/%2f%2fevil.org",
    "/papers/http:%2f%2fevil.org", "/papers/https://evil.org/", "http://evil.org/",
    "/@evil.org", "/.evil.org", "/;//evil.org", "/assets/..%2f..%2fapp.py",
    "/assets/x/..%2f..%2f..%2fapp.py", "/assets/x/../app.py", "/assets/%00/style.css",
    "/assets/x/%2fetc%2fpasswd", "/papers/%00", "/papers/data_diet%00.svg", "/papers/%ff%fe",
    "/papers/%ed%a0%80", "/papers/%", "/papers/%zz", "/papers/data_diet;x=1", "/papers/data_diet/",
    "/papers/data_diet%2f", "/PAPERS/data_diet", "/papers/data_diet//comments", "/search/",
    "/papers/" + "a" * 5000, "/" + "../" * 200, "/papers/2107.07075v" + "9" * 5000, "*", "",
    "/papers/data_diet/records/..%2f..%2fwide_cnn%2fx.json", "/api/papers/..", "/api//papers",
    "/papers/data_diet/records/%2e%2e%2f%2e%2e.json", "/api/records/..%2f..%2fx/y", "/api/",
    "/api/papers/%00", "/api/papers/a%2fb%2fc", "/api/runs/-1", "/api/runs/" + "9" * 400,
    "/runs/%c2%b2", "/runs/999999999999999", "/sitemaps/99999.xml", "/sitemaps/-1.xml",
    "/sitemaps/%c2%b2.xml", "/confirm/%00", "/papers/\u202e.bib", "/papers/math.GT%2f0309136",
    "/papers/math.GT/0309136", "/papers/math.GT/../0309136",
)  # fmt: skip


@pytest.fixture(autouse=True)
def filled(site: Site) -> None:
    rows = [
        {"arxiv": f"2401.{n:05}", "version": 1, "title": f"On {MARK} {n}", "abstract": MARK,
         "authors": 1, "names": MARK, "organization": MARK, "categories": "cs.LG",
         "published": f"20{n % 25:02}-0{n % 9 + 1}-11", "source": "arxiv", "fetched_at": 1.0}
        for n in range(25)
    ]  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), rows)


class Answer:
    def __init__(self, messages: list[Any]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {n.decode().lower(): v.decode("latin-1") for n, v in messages[0]["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])


def ask(client: TestClient, target: str, method: str = "GET", body: bytes = b"",
        **headers: str | bytes) -> Answer:  # fmt: skip
    # As the server hands a request on, with nothing in its address made plain before.
    raw, _, query = target.encode("utf-8").partition(b"?")
    made = {"host": "127.0.0.1:8000", **headers}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(raw.decode("utf-8")), "raw_path": raw, "query_string": query,
        "root_path": "", "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
        "asgi": {"version": "3.0"}, "state": {},
        "headers": [(n.replace("_", "-").encode(), v if isinstance(v, bytes) else v.encode())
                    for n, v in made.items()],
    }  # fmt: skip
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    assert client.portal  # its loop goes on, and so do the threads that answer
    client.portal.call(client.app, scope, receive, send)
    return Answer(messages)


def fine(answer: Answer, target: str) -> None:
    assert answer.status in TOLD, (answer.status, target[:300])
    kind = answer.headers.get("content-type", "").partition(";")[0]
    text = answer.body.decode("utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "a=b" not in answer.headers.get("set-cookie", "")
    if "location" in answer.headers:
        where = urlsplit(answer.headers["location"])
        assert where.netloc in ("", "127.0.0.1:8000"), (answer.headers["location"], target)
        assert where.scheme in ("", "http") and "\\" not in where.path[:2]
        assert where.netloc or not where.path.startswith("//"), answer.headers["location"]
    if kind == "text/html":
        assert MARK not in text and "</html>" in text and ">49<" not in text, target
    elif kind == "application/json":
        found = json.loads(text)
        assert answer.status == 200 or set(found) == {"detail"}, target
    elif kind in ("application/atom+xml", "application/xml", "image/svg+xml"):
        ElementTree.fromstring(text)
    elif answer.status != 304 and text:
        assert kind.startswith(("text/plain", "application/x-bibtex", "text/css", "text/java"))
    if target.startswith("/api/") and answer.status >= 400 and answer.status not in (413, 421):
        assert kind == "application/json", (kind, target)


values = st.one_of(
    st.sampled_from(ODD), st.binary(max_size=40), st.text(max_size=40).map(
        lambda t: t.encode("utf-8", "surrogatepass")
    ), st.integers().map(lambda n: str(n).encode()), st.dates().map(lambda d: str(d).encode()),
)  # fmt: skip


def queried(client: TestClient, path: str, asked: list[tuple[str, bytes]], raw: bool) -> None:
    parts = [(n, v.decode("latin-1") if raw else quote_from_bytes(v)) for n, v in asked]
    target = f"{path}?" + "&".join(f"{n}={v}" for n, v in parts)
    fine(ask(client, re.sub(r"[\s#]", "+", target)), target)


def test_odd_queries_are_answered(client: TestClient) -> None:
    for path, names in PAGES.items():
        for name in names:
            for odd in ODD:
                queried(client, path, [(name, odd)], raw=False)


queries = st.sampled_from([*PAGES]).flatmap(
    lambda path: st.tuples(
        st.just(path), st.lists(st.tuples(st.sampled_from(PAGES[path]), values), max_size=5)
    )
)


@SMALL
@given(query=queries, raw=st.booleans())
def test_any_query_is_answered(client: TestClient, query: Any, raw: bool) -> None:
    queried(client, *query, raw)


def test_no_path_leads_out(client: TestClient) -> None:
    others = ("HEAD", "PUT", "DELETE", "OPTIONS", "BREW")
    for number, path in enumerate(PATHS):
        for method in ("GET", "POST", others[number % len(others)]):
            answer = ask(client, path, method)
            if method != "HEAD":
                fine(answer, path)
            assert answer.status in TOLD
            assert b"root:x:" not in answer.body and b"from __future__" not in answer.body


@SMALL
@example(name="data_diet")
@example(name="2401.00001v1")
@given(name=st.one_of(
    st.text(max_size=30), st.from_regex(r"[a-z_./%-]{1,30}"), st.from_regex(r"\d{4}\.\d{5}(v\d+)?"),
))  # fmt: skip
def test_any_name_of_a_paper_is_answered(client: TestClient, name: str) -> None:
    ends = ("", ".bib", "/badge.svg", "/comments", "/records.json", "/runs", "/records/x.json")
    for path in (*(f"/papers/{name}{end}" for end in ends), f"/api/papers/{name}"):
        safe = path.encode("utf-8", "surrogatepass")
        target = quote_from_bytes(safe, "/%.:;@").replace("?", "%3f")
        fine(ask(client, target), target)


FORMS = ("/papers/data_diet/vote", "/papers/data_diet/comments", "/papers/data_diet/runs",
         "/runs/1/cancel", "/subscribe", "/papers/2401.00001/vote")  # fmt: skip
KINDS = ("application/x-www-form-urlencoded", "multipart/form-data", "", "x",
         "multipart/form-data; boundary=", "application/json", "text/plain; charset=\u0000",
         "application/x-www-form-urlencoded; charset=utf-7")  # fmt: skip


@SMALL
@given(path=st.sampled_from(FORMS), kind=st.sampled_from(KINDS),
       body=st.one_of(values, st.lists(st.tuples(st.sampled_from(
           [b"form_token", b"text", b"vote", b"name", b"back", b"scale", b"email"]), values),
           max_size=6).map(lambda p: b"&".join(n + b"=" + v for n, v in p))))  # fmt: skip
def test_any_body_is_answered(client: TestClient, path: str, kind: str, body: bytes) -> None:
    size = str(len(body))
    answer = ask(client, path, "POST", body, content_type=kind, content_length=size)
    fine(answer, path)
    assert answer.status >= 400  # none of them was made by a page for this visitor


HEADERS = ("cookie", "if_none_match", "origin", "sec_fetch_site", "accept_encoding", "host",
           "last_event_id", "x_forwarded_for", "content_length", "range", "authorization",
           "if_modified_since")  # fmt: skip


@SMALL
@given(name=st.sampled_from(HEADERS), value=values,
       path=st.sampled_from([*PAGES, "/healthz", "/papers/data_diet/badge.svg"]))  # fmt: skip
def test_any_header_is_answered(client: TestClient, name: str, value: bytes, path: str) -> None:
    value = re.sub(rb"[\0\r\n]", b"", value)
    answer = ask(client, path, **{name: value})
    assert answer.status in TOLD and "content-security-policy" in answer.headers
    cookies = b"heldout_visitor=" + value + b"; heldout_voted=" + value
    fine_page = ask(client, "/papers/data_diet", cookie=cookies)
    fine(fine_page, "/papers/data_diet")
    assert fine_page.status == 200


def test_the_check_itself_can_fail() -> None:
    def made(status: int, text: str, **headers: str) -> Answer:
        told = {"content-type": "text/html", "content-security-policy": "default-src 'none'"}
        raw = [(n.encode(), v.encode()) for n, v in (told | headers).items()]
        return Answer([{"status": status, "headers": raw}, {"body": text.encode()}])

    fine(made(200, "<html></html>"), "/")
    for bad in (made(500, "</html>"), made(200, f"{MARK}</html>"), made(200, "half"),
                made(303, "</html>", location="//evil.org"),
                made(303, "</html>", location="https://127.0.0.1:8000.evil.org/")):  # fmt: skip
        with pytest.raises(AssertionError):
            fine(bad, "/")
