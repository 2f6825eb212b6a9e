"""Runs under a real server: progress as it comes, a server that is killed, a real measurement."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from heldout.serve.app import create_app
from heldout.serve.jobs import queue, stream
from heldout.serve.jobs.process import since
from heldout.serve.jobs.queue import folder_of
from heldout.serve.site import Site
from heldout.serve.storage.jobs import Wanted

from .fake_runs import QUICK, free_of, gone, look, pids, put, python, texts, until, wanted

GATED = """
import pathlib, sys, time
for i in range(6):
    while not pathlib.Path(sys.argv[1], f"go{i}").exists():
        time.sleep(0.02)
    print(f"line {i}", flush=True)
"""
SERVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fake_runs import QUICK, sleeps
from heldout.serve.app import create_app, make_site
from heldout.serve.settings import Settings
import uvicorn
site = make_site(Settings(Path(sys.argv[2]), sys.argv[3], secret="test secret 0123456789"))
site.parts |= {"run limits": QUICK, "run command": sleeps}
uvicorn.run(create_app(site), port=0, log_level="warning")
"""


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Serve a site on a free port, by the server that is used in earnest."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(site), port=0, log_level="warning", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


class Reader:
    """Reads the events of a stream one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.lines = response.iter_lines()

    def next(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self.lines:
            name, _, text = line.partition(": ")
            if line and name:
                found[name] = text
            elif not line and "event" in found:
                return found
            elif not line:
                found = {}
        return {}

    def line(self) -> tuple[int, str]:
        while (found := self.next())["event"] != "line":
            pass
        return int(found["id"]), found["data"]


def test_lines_come_at_once_and_a_reader_who_comes_back_misses_none(site: Site) -> None:
    site.parts |= {
        "run limits": QUICK,
        "run command": lambda _, folder: python(GATED, str(folder)),
    }
    number = put(site, wanted())
    folder = folder_of(site, number)

    def go(i: int) -> None:
        until(folder.is_dir)
        (folder / f"go{i}").touch()

    headers = {"accept-encoding": "gzip", "accept": "text/event-stream"}
    with served(site) as root, httpx.Client(timeout=60, headers=headers) as client:
        address = f"{root}/runs/{number}/events"
        with client.stream("GET", address) as response:
            assert "content-encoding" not in response.headers
            reader = Reader(response)
            for i in range(3):  # each is asked for only when the one before has been read
                go(i)
                assert reader.line() == (i, f"line {i}")
            assert stream.streams_of(site).now.total() == 1
        until(lambda: stream.streams_of(site).now.total() == 0)  # who leaves frees the place
        go(3)
        until(lambda: len(texts(site, number)) == 4)
        with client.stream("GET", address, headers={"last-event-id": "2"}) as response:
            reader = Reader(response)
            assert reader.line() == (3, "line 3")
            go(4)
            go(5)
            assert [reader.line()[0] for _ in range(2)] == [4, 5]
            while (found := reader.next())["event"] != "end":
                pass
            assert '"state": "done"' in found["data"]
        until(lambda: stream.streams_of(site).now.total() == 0)


@contextmanager
def other_server(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    url = site.database.engine.url.render_as_string(hide_password=False)
    made = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(Path(__file__).parent), str(site.settings.data), url]
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def test_a_server_that_is_killed_loses_no_run_and_leaves_no_process(site: Site) -> None:
    number = put(site, wanted())
    folder = folder_of(site, number)
    with other_server(site) as server:
        first = pids(folder)
        until(lambda: look(site, number).pid == first[0] and texts(site, number))
    assert look(site, number).state == "running"
    assert not any(gone(pid) for pid in first)  # orphans, which nobody watches
    (folder / "pids").unlink()
    with other_server(site) as server:
        second = pids(folder)
        assert free_of(first) and not set(first) & set(second)
        assert look(site, number).kept["lost"] == 1
        until(lambda: len(texts(site, number)) == 2)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) in (0, -signal.SIGTERM)
    assert free_of(second)
    job = look(site, number)
    assert (job.state, job.kept["lost"]) == ("interrupted", 1)
    assert texts(site, number) == ["asleep", "asleep"]


@pytest.mark.slow
def test_a_claim_is_measured_in_earnest(site: Site) -> None:
    def command(what: Wanted, folder: Path) -> Sequence[str]:
        return queue.command(what, folder)

    site.parts |= {"run limits": QUICK, "run command": command}
    number = put(site, Wanted("wide_cnn", "order_of_scales", "tiny", 1))
    with served(site) as root:
        until(lambda: look(site, number).over, 300)
        shown = httpx.get(f"{root}/runs/{number}").text
    job = look(site, number)
    assert (job.state, job.kept["done"], job.kept["total"]) == ("done", 1, 1)
    [found] = job.kept["results"]
    assert (found["verdict"], found["n"], found["claim"]) == ("toy", 1, "order_of_scales")
    assert any(text.startswith("wide_cnn teachers seed 0: ") for text in texts(site, number))
    assert f"{found['value']:.3g}" in shown and "Shipped record" in shown
    assert since(os.getpid())
