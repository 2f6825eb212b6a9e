"""A server on this machine that speaks as arXiv and Hugging Face do, and fails as they do.

Shapes of our own making, after https://info.arxiv.org/help/api/user-manual.html and
https://huggingface.co/docs/hub/en/api#get-apidailypapers.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

ATOM = "application/atom+xml; charset=utf-8"
JSON = "application/json; charset=utf-8"
_RANGE = re.compile(r"submittedDate:\[(\d{12}) TO (\d{12})\]")


@dataclass(frozen=True)
class Paper:
    """What the fake servers know of a paper."""

    number: str
    at: datetime
    version: int = 1
    title: str = "Flat minima\n  generalize"
    abstract: str = "  We study $\\alpha$ & generalization\nin nets.\n"
    authors: tuple[str, ...] = ("Ada Lind", "Omar Ito")
    affiliation: str = ""
    organization: str = ""
    comment: str = ""
    category: str = "cs.LG"


@dataclass(frozen=True)
class Answer:
    """What is sent."""

    content: bytes
    kind: str = ATOM
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Feeds:
    """Both servers. `before(n, feeds)` may change the list, or answer in their place."""

    papers: list[Paper] = field(default_factory=list)
    before: Callable[[int, Feeds], Answer | None] = lambda n, feeds: None
    etags: bool = False
    requests: list[tuple[float, str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def answer(self, url: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        n = len(self.requests)
        told = {k.lower(): v for k, v in headers.items()}
        self.requests.append((time.monotonic(), parts.path, given, told))
        if made := self.before(n, self):
            return made
        made = self.arxiv(given) if parts.path.endswith("/query") else self.huggingface(given)
        if self.etags:
            etag = f'"{hashlib.sha256(made.content).hexdigest()[:16]}"'
            if headers.get("If-None-Match") == etag:
                return Answer(b"", made.kind, 304, {"ETag": etag})
            return Answer(made.content, made.kind, made.status, {"ETag": etag})
        return made

    def arxiv(self, given: Mapping[str, str]) -> Answer:
        found = sorted(self.papers, key=lambda p: (p.at, p.number), reverse=True)
        if span := _RANGE.search(given.get("search_query", "")):
            first, last = f"{span[1]}00", f"{span[2]}00"
            found = [p for p in found if first <= f"{p.at:%Y%m%d%H%M%S}" <= last]
        start, size = int(given.get("start", 0)), int(given.get("max_results", 10))
        return Answer(atom(found[start : start + size], len(found), start, size))

    def huggingface(self, given: Mapping[str, str]) -> Answer:
        found = [p for p in self.papers if f"{p.at:%Y-%m-%d}" == given.get("date")]
        size, page = int(given.get("limit", 50)), int(given.get("p", 0))
        items = [_daily(p) for p in found[page * size : (page + 1) * size]]
        return Answer(json.dumps(items).encode(), JSON)


def atom(papers: list[Paper], total: int, start: int = 0, size: int = 10) -> bytes:
    entries = "".join(_entry(p) for p in papers)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <link href="http://arxiv.org/api/query?start={start}" rel="self" type="application/atom+xml"/>
  <title type="html">ArXiv Query: start={start}</title>
  <id>http://arxiv.org/api/abc</id>
  <updated>2026-11-22T00:00:00-05:00</updated>
  <opensearch:totalResults xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">{total}</opensearch:totalResults>
  <opensearch:startIndex xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">{start}</opensearch:startIndex>
  <opensearch:itemsPerPage xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">{size}</opensearch:itemsPerPage>
{entries}</feed>
""".encode()


def error_page(said: str) -> bytes:
    entry = f"""<entry><id>http://arxiv.org/api/errors#{escape(said.replace(" ", "_"))}</id>
    <title>Error</title><summary>{escape(said)}</summary>
    <updated>2026-11-22T00:00:00-05:00</updated>
    <author><name>arXiv api core</name></author></entry>"""
    return atom([], 1).replace(b"</feed>", entry.encode() + b"</feed>")


def _entry(p: Paper) -> str:
    at = f"{p.at:%Y-%m-%dT%H:%M:%SZ}"
    inside = f"<arxiv:affiliation {_NS}>{escape(p.affiliation)}</arxiv:affiliation>"
    authors = "".join(
        f"<author><name>{escape(name)}</name>{inside if p.affiliation else ''}</author>"
        for name in p.authors
    )
    comment = f"<arxiv:comment {_NS}>{escape(p.comment)}</arxiv:comment>" if p.comment else ""
    return f"""  <entry>
    <id>http://arxiv.org/abs/{p.number}v{p.version}</id>
    <updated>{at}</updated><published>{at}</published>
    <title>{escape(p.title)}</title>
    <summary>{escape(p.abstract)}</summary>
    {authors}{comment}
    <link href="http://arxiv.org/abs/{p.number}v{p.version}" rel="alternate" type="text/html"/>
    <arxiv:primary_category {_NS} term="{p.category}" scheme="http://arxiv.org/schemas/atom"/>
    <category term="{p.category}" scheme="http://arxiv.org/schemas/atom"/>
    <category term="68T07, 62G08" scheme="http://arxiv.org/schemas/atom"/>
    <category term="stat.ML" scheme="http://arxiv.org/schemas/atom"/>
  </entry>
"""


_NS = 'xmlns:arxiv="http://arxiv.org/schemas/atom"'


def _daily(p: Paper) -> dict[str, object]:
    at = f"{p.at:%Y-%m-%dT%H:%M:%S}.000Z"
    inner = {
        "id": p.number, "title": p.title, "summary": p.abstract, "publishedAt": at, "upvotes": 3,
        "authors": [{"_id": "0", "name": name, "hidden": False} for name in p.authors],
    }  # fmt: skip
    made = {"paper": inner, "publishedAt": at, "title": p.title, "numComments": 1}
    if p.organization:
        made["organization"] = {"_id": "1", "name": "short", "fullname": p.organization}
    return made


def paper(i: int, **given: object) -> Paper:
    """The i-th paper of November 2026: one an hour."""
    at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=i)
    return Paper(**{"number": f"2611.{i + 1:05d}", "at": at, "title": f"Paper {i}", **given})


@contextmanager
def serving(feeds: Feeds) -> Iterator[str]:
    """Serve on a free port; gives the address, to which /api/query and /api/daily_papers belong."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made = feeds.answer(self.path, self.headers)
            self.send_response(made.status)
            headers = {"Content-Type": made.kind, "Content-Length": str(len(made.content))}
            for name, value in {**headers, **made.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.content)
            # A length that was given and not kept: the reply breaks off.
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
