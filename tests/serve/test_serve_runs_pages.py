"""Pages of runs: who may start and end them, what a visitor sees, and what programs get."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.jobs import stream, worker
from heldout.serve.jobs.allowed import WRONG
from heldout.serve.jobs.queue import Limits
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.jobs import Job

from .conftest import post_form
from .fake_runs import QUICK, look, measures, put, until, wanted

TOKEN = "a token of the operator"
FORM = {"claim": "later_steps_are_benign", "scale": "tiny", "seeds": "1"}
Opened = Callable[..., TestClient]


@pytest.fixture
def opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Return a function that opens the page for a visitor of some address; nothing is run."""
    monkeypatch.setattr(worker, "begin", lambda _: None)
    site.parts["run limits"] = QUICK
    made: list[TestClient] = []

    def client(address: str = "127.0.0.1", limits: Limits = QUICK, **settings: Any) -> TestClient:
        site.parts["run limits"] = limits
        site.settings = replace(site.settings, **settings)
        found = TestClient(
            create_app(site), base_url="http://127.0.0.1:8000", client=(address, 50000),
            raise_server_exceptions=False,
        )  # fmt: skip
        made.append(found)
        return found

    yield client
    for one in made:
        one.close()


def run(client: TestClient, **fields: str) -> Any:
    return post_form(client, "/papers/benign_xor/runs", "/papers/data_diet", **{**FORM, **fields})


def test_a_form_on_the_papers_page_puts_a_run_in_the_queue(site: Site, opened: Opened) -> None:
    client = opened()
    page = client.get("/papers/benign_xor").text
    assert 'action="/papers/benign_xor/runs"' in page and 'value="group:xor"' in page
    made = run(client)
    assert (made.status_code, made.headers["location"]) == (303, "/runs/1")
    assert look(site, 1).wanted == wanted()
    assert run(client).headers["location"] == "/runs/1"
    shown = client.get("/runs/1").text
    assert "waiting" in shown and 'data-events="/runs/1/events"' in shown
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in shown
    assert "heldout reproduce benign_xor --claim later_steps_are_benign" in shown
    for listed in ("/runs", "/papers/benign_xor/runs"):
        assert 'href="/runs/1"' in client.get(listed).text
    assert 'href="/runs/1"' not in client.get("/papers/data_diet/runs").text


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "testclient", "10.0.0.1"])
def test_other_machines_are_told_the_command(site: Site, opened: Opened, address: str) -> None:
    client = opened(address)
    for headers in ({}, {"x-forwarded-for": "127.0.0.1"}, {"x-real-ip": "127.0.0.1"}):
        client.headers.update(headers)
        made = run(client)
        assert made.status_code == 403
        assert "heldout reproduce benign_xor --scale tiny --seeds 1" in made.text
    put(site, wanted())
    assert post_form(client, "/runs/1/cancel", "/papers/data_diet").status_code == 403
    assert look(site, 1).state == "queued"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_token(opened: Opened, address: str) -> None:
    assert run(opened(address)).status_code == 303


@pytest.mark.parametrize(
    ("changed", "headers"),
    [
        ({"proxies": 1}, {}),
        ({"url": "https://papers.example.org"}, {}),
        ({}, {"x-forwarded-for": "192.0.2.7"}),
        ({}, {"forwarded": "for=192.0.2.7"}),
    ],
)
def test_a_proxy_on_this_machine_makes_nobody_local(
    opened: Opened, changed: dict[str, Any], headers: dict[str, str]
) -> None:
    client = opened(**changed)
    client.headers.update(headers)
    made = client.post("/papers/benign_xor/runs", data=FORM, headers={"authorization": "Bearer x"})
    assert made.status_code == 403 and "operator" in made.text


def test_the_token_opens_the_way_in_a_field_and_in_a_header(opened: Opened) -> None:
    client = opened("192.0.2.7", token=TOKEN)
    assert 'name="token"' in client.get("/papers/benign_xor").text
    assert run(client, token=TOKEN).status_code == 303
    headers = {"authorization": f"Bearer {TOKEN}"}
    bare = TestClient(client.app, base_url="http://127.0.0.1:8000", client=("192.0.2.9", 1))
    made = bare.post(
        "/papers/benign_xor/runs", data={**FORM, "seeds": "2"}, headers=headers,
        follow_redirects=False,
    )  # fmt: skip
    assert (made.status_code, made.headers["location"]) == (303, "/runs/2")
    assert bare.post("/runs/2/cancel", headers=headers, data={"a": "b"}).status_code == 200


def test_wrong_tokens_are_refused_and_counted(site: Site, opened: Opened) -> None:
    client = opened("192.0.2.7", token=TOKEN)
    for wrong in [TOKEN[:-1], TOKEN + "x", "é", "\ud7ff", " "][:WRONG]:
        assert run(client, token=wrong).status_code == 403
    assert run(client, token="").status_code == 403  # nothing was tried, nothing is counted
    while (made := run(client, token="wrong")).status_code == 403:
        pass
    assert made.status_code == 429 and int(made.headers["retry-after"]) > 0
    assert run(client, token=TOKEN).status_code == 429  # also a right one, or guessing would pay
    assert run(opened("198.51.100.1"), token=TOKEN).status_code == 303
    assert TOKEN not in client.get("/papers/benign_xor").text


def test_without_a_token_set_no_token_is_right(opened: Opened) -> None:
    client = opened("192.0.2.7", token="")
    assert run(client, token="").status_code == 403
    assert run(client, token="x").status_code == 403


def test_no_other_site_starts_or_ends_runs(site: Site, opened: Opened) -> None:
    client = opened()
    put(site, wanted())
    client.get("/papers/data_diet")
    for path in ("/papers/benign_xor/runs", "/runs/1/cancel"):
        assert client.post(path, data=FORM).status_code == 403
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            made = client.post(path, data={**FORM, "form_token": "0" * 32}, headers=headers)
            assert made.status_code == 403
    assert look(site, 1).state == "queued"


def test_a_full_queue_says_so(opened: Opened) -> None:
    client = opened(limits=replace(QUICK, waiting=2))
    assert [run(client, seeds=s).status_code for s in "1234"] == [303, 303, 429, 429]
    assert run(client, seeds="2").status_code == 303  # joined
    made = run(client, seeds="5")
    assert "2 runs are waiting" in made.text and made.headers["retry-after"] == "60"


def test_what_nobody_offers_is_refused(site: Site, opened: Opened) -> None:
    client = opened()
    assert run(client, claim="<script>").status_code == 422
    assert "<script>alert" not in run(client, claim="<script>alert(1)</script>").text
    assert run(client, scale="full").status_code == 422
    assert run(client, seeds="99").status_code == 422
    for path in ("/papers/nothing/runs", "/papers/..%2f..%2fetc/runs"):
        assert post_form(client, path, "/papers/data_diet", **FORM).status_code == 404
    assert post_form(client, "/papers/symbolic_nets/runs", "/papers/data_diet").status_code == 422
    with site.database.read() as connection:
        assert stored.recent(connection, 9) == []


@pytest.mark.parametrize("number", ["7", "0", "-1", "x", "²", "9" * 15, "9" * 400])
def test_runs_that_are_not_there(opened: Opened, number: str) -> None:
    client = opened()
    for path in (f"/runs/{number}", f"/runs/{number}/events", f"/api/runs/{number}"):
        assert client.get(path).status_code == 404
    assert client.get(f"/api/runs/{number}").json()["detail"]


def test_a_run_that_waits_is_cancelled_by_its_form(site: Site, opened: Opened) -> None:
    client = opened()
    put(site, wanted())
    assert "Cancel this run" in client.get("/runs/1").text
    assert post_form(client, "/runs/1/cancel", "/runs/1").status_code == 303
    shown = client.get("/runs/1").text
    assert "cancelled" in shown and "Cancel this run" not in shown and "noscript" not in shown
    assert "Cancel this run" not in opened("192.0.2.7").get("/runs/1").text


def done(site: Site) -> Job:
    number = put(site, stored.Wanted("benign_xor", "group:xor", "tiny", 3))
    one = worker.Worker(site, measures)
    one.start()
    until(lambda: look(site, number).over)
    one.stop()
    return look(site, number)


def test_what_came_out_stands_beside_the_shipped_record(site: Site, opened: Opened) -> None:
    client, job = opened(), done(site)
    shown = client.get(f"/runs/{job.id}").text
    assert "0.5 [0.25, 0.75] points" in shown and "n = 3, scale tiny" in shown
    assert shown.count('class="badge toy"') == 6 and 'class="badge holds"' in shown
    assert "say nothing for or against the paper" in shown
    assert "n = 5, scale small" in shown and "benign_xor group seed 2: 0.1 s" in shown
    assert "6 toy" in client.get("/runs").text
    found = client.get(f"/api/runs/{job.id}").json()
    assert (found["state"], found["over"], found["done"], found["total"]) == ("done", True, 3, 3)
    assert found["results"][0]["verdict"] == "toy" and len(found["claims"]) == 6
    assert [line["number"] for line in found["lines"]] == list(range(5))
    assert len(client.get(f"/api/runs/{job.id}?after=3").json()["lines"]) == 1
    assert len(client.get(f"/api/runs/{job.id}?after=x").json()["lines"]) == 5


def test_what_a_run_says_is_text_and_no_markup(site: Site, opened: Opened) -> None:
    client, number = opened(), put(site, wanted())
    with site.database.write() as connection:
        job = stored.claim(connection, 1.0, {}, 1)
        assert job
        stored.keep(connection, job, [(0, "<script>alert(1)</script>")], 1.0)
        stored.finish(connection, replace(job, kept={**job.kept, "why": "<b>"}), "failed", (), 2.0)
    shown = client.get(f"/runs/{number}").text
    assert "<script>alert" not in shown and "&lt;script&gt;" in shown and "<b>" not in shown
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick", shown)


def lines_in(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"^id: (\d+)\nevent: line$", text, re.M)]


def test_a_stream_goes_on_after_the_last_line_seen(site: Site, opened: Opened) -> None:
    client, job = opened(), done(site)
    path = f"/runs/{job.id}/events"
    whole = client.get(path)
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in whole.headers
    assert lines_in(whole.text) == [0, 1, 2, 3, 4]
    last = whole.text.rstrip().rpartition("event: end\ndata: ")[2]
    assert json.loads(last)["state"] == "done" and whole.text.count("event: end") == 1
    assert lines_in(client.get(path, headers={"last-event-id": "2"}).text) == [3, 4]
    assert lines_in(client.get(path + "?after=3").text) == [4]
    assert lines_in(client.get(path + "?after=0", headers={"last-event-id": "3"}).text) == [4]
    for odd in ("x", "-5", "9" * 99):
        assert lines_in(client.get(path, headers={"last-event-id": odd}).text) == [0, 1, 2, 3, 4]
    assert client.head(path).status_code == 200
    assert site.parts["run streams"].now.total() == 0


def test_a_long_run_is_streamed_whole(site: Site, opened: Opened) -> None:
    client = opened()
    put(site, wanted())
    with site.database.write() as connection:
        job = stored.claim(connection, 1.0, {}, 1)
        assert job
        stored.finish(connection, job, "done", [(i, f"line {i}") for i in range(950)], 1.0)
    assert lines_in(client.get("/runs/1/events").text) == list(range(950))


def test_streams_are_counted_and_given_back(site: Site, opened: Opened) -> None:
    client, job = opened(limits=replace(QUICK, streams=2, streams_each=1)), done(site)
    counted = stream.streams_of(site)
    assert counted.enter("one") and not counted.enter("one")
    assert counted.enter("two") and not counted.enter("three")
    assert client.get(f"/runs/{job.id}/events").status_code == 429
    counted.leave("one")
    for _ in range(5):
        assert client.get(f"/runs/{job.id}/events").status_code == 200
    assert dict(counted.now) == {"two": 1}


def test_a_page_of_a_database_that_is_away(
    site: Site, opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from heldout.serve.storage.database import StorageError

    client = opened()

    def gone(*_: object, **__: object) -> None:
        raise StorageError("gone")

    client.get("/papers/data_diet")
    monkeypatch.setattr(stored, "enqueue", gone)
    assert run(client).status_code == 503
    assert client.get("/runs/1").status_code == 404
