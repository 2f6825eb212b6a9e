"""The client: its manners towards servers, and its distrust of what they send."""

from __future__ import annotations

import gzip
import multiprocessing
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from heldout.core.errors import InputError
from heldout.serve.fetch import huggingface
from heldout.serve.fetch.arxiv import feed
from heldout.serve.fetch.client import Client
from heldout.serve.fetch.kept import keep, path_of, recall, tidy
from heldout.serve.fetch.pace import FetchError, turn
from heldout.serve.fetch.transport import Bounds, Source, allowed

from .fake_feeds import Answer, Feeds, paper, serving

KINDS = frozenset({"application/atom+xml"})


def source(address: str, pause: float = 0.0, keep_s: float = 0.0) -> Source:
    return Source("the feed", f"{address}/api/query", frozenset(), KINDS, pause, keep_s)


def make(folder: Path, waits: list[float] | None = None, **given: object) -> Client:
    said = waits.append if waits is not None else (lambda s: None)
    return Client(folder, **{"first_wait": 0.0, "sleep": said, **given})


def size(reply: object) -> int:
    return len(reply.content)


def test_it_says_who_it_is_and_what_it_can_read(tmp_path: Path) -> None:
    feeds = Feeds([paper(0)])
    with serving(feeds) as address:
        make(tmp_path).get(source(address), {"start": "0"}, size)
    told = feeds.requests[0][3]
    assert re.match(r"heldout/\d", told["user-agent"])
    assert told["accept"] == "application/atom+xml" and told["accept-encoding"] == "gzip"


def test_it_tries_again_after_failures_and_waits_as_it_is_told(tmp_path: Path) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    failures = [
        Answer(b"", status=503, headers={"Retry-After": "7"}),
        Answer(b"", status=429, headers={"Retry-After": soon}),
        Answer(b"", status=500),
    ]
    feeds = Feeds([paper(0)], before=lambda n, f: failures[n] if n < 3 else None)
    waits: list[float] = []
    with serving(feeds) as address:
        assert make(tmp_path, waits).get(source(address), {}, size) > 500
    assert waits[0] == 7 and 40 < waits[1] <= 50 and waits[2] == 0 and len(feeds.requests) == 4


def test_its_own_waits_grow_and_differ(tmp_path: Path) -> None:
    waits: list[float] = []
    feeds = Feeds(before=lambda n, f: Answer(b"", status=500))
    with serving(feeds) as address, pytest.raises(FetchError, match="HTTP 500; try again later"):
        make(tmp_path, waits, first_wait=1.0).get(source(address), {}, size)
    assert len(feeds.requests) == 5
    assert all(2**i <= w <= 2**i + 1 for i, w in enumerate(waits)) and len(waits) == 4
    assert any(w % 1 for w in waits)


def test_a_server_that_asks_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    feeds = Feeds(before=lambda n, f: Answer(b"", status=429, headers={"Retry-After": "3600"}))
    with serving(feeds) as address, pytest.raises(FetchError, match="3600 s of patience"):
        make(tmp_path).get(source(address), {}, size)
    assert len(feeds.requests) == 1


def test_what_is_kept_is_asked_about_or_not_asked_at_all(tmp_path: Path) -> None:
    feeds = Feeds([paper(0)], etags=True)
    with serving(feeds) as address:
        client = make(tmp_path)
        first = client.get(source(address), {}, size)
        assert client.get(source(address), {}, size) == first
        assert feeds.requests[1][3]["if-none-match"] and client.reused == 1
        client.get(source(address, keep_s=60), {}, size)  # fresh: not asked
        assert (len(feeds.requests), client.asked, client.reused) == (2, 2, 2)
        client.get(source(address, keep_s=60), {}, size, again=True)
        assert len(feeds.requests) == 3
        feeds.papers = [paper(1), paper(2)]
        assert client.get(source(address), {}, size) > first


def test_last_modified_and_max_age_are_honoured(tmp_path: Path) -> None:
    when = "Sun, 01 Nov 2026 00:00:00 GMT"
    said = {"Last-Modified": when, "Cache-Control": "public, max-age=600"}
    feeds = Feeds(before=lambda n, f: Answer(b"abc", headers=said))
    with serving(feeds) as address:
        client = make(tmp_path)
        assert [client.get(source(address), {}, size) for _ in range(2)] == [3, 3]
        assert len(feeds.requests) == 1
        client.get(source(address), {}, size, again=True)
    assert feeds.requests[1][3]["if-modified-since"] == when


def test_a_damaged_or_foreign_kept_reply_is_not_used(tmp_path: Path) -> None:
    feeds = Feeds([paper(0)])
    with serving(feeds) as address:
        client = make(tmp_path)
        url = f"{address}/api/query"
        client.get(source(address), {}, size)
        whole = path_of(tmp_path, url).read_bytes()
        for damaged in (whole[:-9], b"", b"\n", b"[]\n", whole.replace(b'"crc": ', b'"crc": 1')):
            path_of(tmp_path, url).write_bytes(damaged)
            assert recall(tmp_path, url) is None
        path_of(tmp_path, "other").write_bytes(whole)
        assert recall(tmp_path, "other") is None
        path_of(tmp_path, url).write_bytes(whole)
        found = recall(tmp_path, url)
        assert found and found.url == url
        keep(tmp_path / "file" / "below", found)
        assert tidy(tmp_path, days=-1) == 2


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_a_reply_that_is_too_long_is_not_read_to_its_end(tmp_path: Path, pack: object) -> None:
    body = pack(b"x" * 3_000_000)
    headers = {"Content-Encoding": "gzip"} if pack is gzip.compress else {}
    feeds = Feeds(before=lambda n, f: Answer(body, headers=headers))
    with serving(feeds) as address, pytest.raises(FetchError, match=r"more than 1\.0 MB"):
        make(tmp_path, bounds=Bounds(most_bytes=1_000_000)).get(source(address), {}, size)
    assert len(feeds.requests) == 1


def test_a_reply_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    cut = Answer(b"<feed", headers={"Content-Length": "9000"})
    feeds = Feeds([paper(0)], before=lambda n, f: cut if n == 0 else None)
    with serving(feeds) as address:
        assert make(tmp_path).get(source(address), {}, size) > 500
    assert len(feeds.requests) == 2


def test_a_slow_reply_is_given_up(tmp_path: Path) -> None:
    def slow(n: int, f: Feeds) -> None:
        time.sleep(1.0)

    with serving(Feeds(before=slow)) as address, pytest.raises(FetchError, match="sent nothing"):
        make(tmp_path, tries=1, bounds=Bounds(timeout=0.2)).get(source(address), {}, size)


def test_other_content_is_refused(tmp_path: Path) -> None:
    feeds = Feeds(before=lambda n, f: Answer(b"<html>Rate exceeded.", "text/html"))
    with serving(feeds) as address, pytest.raises(FetchError, match="sent text/html where"):
        make(tmp_path).get(source(address), {}, size)


def test_nobody_at_the_address_is_told_once_and_soon(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(FetchError, match=rf"127\.0\.0\.1:{port}.*cannot be reached"):
        make(tmp_path, waits).get(source(f"http://127.0.0.1:{port}"), {}, size)
    assert len(waits) == 2


def test_redirects_lead_nowhere_else(tmp_path: Path) -> None:
    here = Source("arXiv", "https://export.arxiv.org/api/query", frozenset({"arxiv.org"}), KINDS)
    assert allowed(here, here.url, "/api/query?a") == "https://export.arxiv.org/api/query?a"
    assert allowed(here, here.url, "https://arxiv.org/x") == "https://arxiv.org/x"
    elsewhere = ("//evil.example/x", "https://arxiv.org@evil.example/", "https://evil.example/")
    others = ("", "http://arxiv.org/x", "file:///etc/passwd", "https://[", "ftp://arxiv.org")
    for bad in elsewhere + others:
        with pytest.raises(FetchError, match="not followed"):
            allowed(here, here.url, bad)
    to = ["/api/query?again"]

    def before(n: int, f: Feeds) -> Answer | None:
        moved = n == 0 or to[0] == "/api/query?round"
        return Answer(b"", status=302, headers={"Location": to[0]}) if moved else None

    feeds = Feeds([paper(0)], before=before)
    with serving(feeds) as address:
        assert make(tmp_path).get(source(address), {}, size) > 500
        to[0] = "/api/query?round"
        with pytest.raises(FetchError, match="on and on"):
            make(tmp_path).get(source(address), {"new": "1"}, size)
    assert len(feeds.requests) == 6


def _ask(folder: Path, address: str) -> None:
    client = Client(folder)
    for i in range(2):
        client.get(source(address, pause=0.4), {"i": str(i)}, size, again=True)


def test_processes_share_one_pace(tmp_path: Path) -> None:
    feeds = Feeds([paper(0)])
    with serving(feeds) as address:
        group = multiprocessing.get_context("spawn")
        started = [group.Process(target=_ask, args=(tmp_path, address)) for _ in range(2)]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
        assert [p.exitcode for p in started] == [0, 0]
    times = sorted(r[0] for r in feeds.requests)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    # The stamp is of just before a request is sent, and the request comes a little later.
    assert len(gaps) == 3 and min(gaps) > 0.3


def test_the_pace_survives_damage_and_clocks_that_were_set_back(tmp_path: Path) -> None:
    waits: list[float] = []
    for stamp in ("nonsense", "99999999999", "1000.0"):
        tmp_path.joinpath("host.time").write_text(stamp)
        with turn(tmp_path, "host", 3.0, sleep=waits.append, now=lambda: 1001.0):
            pass
    assert waits == [3.0, 2.0]
    with pytest.raises(ZeroDivisionError), turn(tmp_path, "host", 0.0):
        raise ZeroDivisionError
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FetchError, match="cannot be written"), turn(file, "host", 0.0):
        pass


def test_arxivs_pace_cannot_be_taken_from_arxiv() -> None:
    assert feed({"HELDOUT_FETCH_PAUSE": "0"}).pause == 3.0
    assert feed({"HELDOUT_FETCH_PAUSE": "nan"}).pause == 3.0
    assert feed({"HELDOUT_FETCH_PAUSE": "9"}).pause == 9.0
    assert feed({"HELDOUT_ARXIV_URL": "http://export.arxiv.org/api/query",
                 "HELDOUT_FETCH_PAUSE": "0"}).pause == 3.0  # fmt: skip


@pytest.mark.parametrize(
    "url", ["ftp://a", "a.org", "http://", "http://me:pw@a.org/", "http://a.org/?x", "http://a:x/"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="HELDOUT_"):
        feed({"HELDOUT_ARXIV_URL": url})
    with pytest.raises(InputError, match="HELDOUT_HUGGINGFACE_URL"):
        huggingface.feed({"HELDOUT_HUGGINGFACE_URL": url})
