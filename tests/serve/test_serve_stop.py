"""SIGTERM and Ctrl-C while something goes on: it ends soon, quietly, with code 0 and no loss."""

from __future__ import annotations

import http.client
import json
import re
import select
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from heldout.serve.app import make_site
from heldout.serve.jobs.queue import folder_of
from heldout.serve.site import Site

from .fake_runs import SLEEPS, free_of, look, pids, put, python, texts, until, wanted
from .mail_server import Mailbox, send, serving, settings_with, states
from .one_paper import SECRET
from .own_process import PATIENCE_S, Running, running

pytestmark = pytest.mark.sqlite_only  # one locks its file; for the others it is all the same
SOON_S = 30.0
"""On a machine that is many times slower than one on which it takes four seconds at most. What is
to end here would otherwise go on for a minute at least."""
# `heldout serve` whose runs are the words of the fourth argument, and whose encoder is a program.
SERVER = """
import json, sys, types
from pathlib import Path
from heldout.serve import app, command
from heldout.serve.search import meaning
run, encoder, *words = sys.argv[1:]
make_site = app.make_site
def made(settings):
    site = make_site(settings)
    site.parts["run command"] = lambda _, folder: [*json.loads(run), str(folder)]
    return site
app.make_site = made
if encoder:
    meaning.model_of = lambda _: "made-up"
    meaning.sys = types.SimpleNamespace(executable=encoder)
sys.exit(command.run(words))
"""
ENCODER = """#!{python} -ISu
import json, pathlib, sys, time
folder = pathlib.Path(__file__).parent
(folder / "begun").write_text(str(__import__("os").getpid()))
while (folder / "loads").exists():
    time.sleep(0.02)
def say(rows):
    sys.stdout.buffer.write(json.dumps({{"rows": rows, "columns": 4}}).encode() + b"\\n")
    sys.stdout.buffer.write(bytes(16 * rows))
    sys.stdout.buffer.flush()
say(0)
for line in sys.stdin:
    texts = json.loads(line)
    if any("wait for me" in text for text in texts):
        (folder / "asked").touch()
        time.sleep(600)
    say(len(texts))
"""
OBSTINATE = SLEEPS.replace("import", "import signal; signal.signal(15, signal.SIG_IGN)\nimport", 1)


@dataclass
class Page:
    """A page, and who visits it."""

    made: Running
    visitors: list[http.client.HTTPConnection] = field(default_factory=list)

    def ask(self, path: str, **form: str) -> http.client.HTTPConnection:
        """Ask for a page, and do not wait for it."""
        made = http.client.HTTPConnection("127.0.0.1", self.made.port, timeout=PATIENCE_S)
        self.visitors.append(made)
        kind = {"content-type": "application/x-www-form-urlencoded"}
        if form:
            shown = self.ask("/papers/data_diet").getresponse()
            mark = re.findall(r'name="form_token" value="(\w{32})"', shown.read().decode())[0]
            kind["cookie"] = shown.headers["set-cookie"].partition(";")[0]
            made.request("POST", path, urlencode({"form_token": mark, **form}), kind)
        else:
            made.request("GET", path)
        return made

    def stop(self, *signals: signal.Signals) -> str:
        """Stop it, and return what its log says."""
        begun = time.monotonic()
        for one in signals or [signal.SIGTERM]:
            self.made.process.send_signal(one)
            time.sleep(0.3)
        code = self.made.process.wait(PATIENCE_S)
        said = self.made.log.read_text()
        assert code == 0, (code, said)
        assert time.monotonic() - begun < SOON_S
        assert "Traceback" not in said and "rror:" not in said, said
        return said


@contextmanager
def serve(
    data: Path, url: str, *, run: Sequence[str] = (), encoder: str = "", **environment: str
) -> Iterator[Page]:
    program = ["-c", SERVER, json.dumps(list(run)), encoder]
    with running(program, data, "--database", url, HELDOUT_SECRET=SECRET, **environment) as made:
        page = Page(made)
        assert page.ask("/healthz").getresponse().read()
        yield page
        for visitor in page.visitors:
            visitor.close()


@pytest.mark.parametrize("code", [SLEEPS, OBSTINATE])
def test_a_run_goes_on_and_is_watched(site: Site, database_url: str, code: str) -> None:
    number = put(site, wanted())
    with serve(site.settings.data, database_url, run=python(code)) as page:
        found = pids(folder_of(site, number))
        watched = page.ask(f"/runs/{number}/events").getresponse()
        while b"asleep" not in (line := watched.readline()):
            assert line
        page.stop()
        assert b"event: end" not in watched.read()  # the browser comes back, and goes on
    assert free_of(found)
    job = look(site, number)
    assert (job.state, job.kept.get("lost", 0)) == ("interrupted", 0)
    assert texts(site, number) == ["asleep"]


def test_ctrl_c_twice_waits_for_no_visitor_and_leaves_no_run(site: Site, database_url: str) -> None:
    number = put(site, wanted())
    with serve(site.settings.data, database_url, run=python(SLEEPS)) as page:
        found = pids(folder_of(site, number))
        with socket.create_connection(("127.0.0.1", page.made.port), timeout=PATIENCE_S) as visitor:
            visitor.sendall(b"POST /papers/data_diet/vote HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                            b"Content-Type: application/x-www-form-urlencoded\r\n"
                            b"Content-Length: 9\r\n\r\na=")  # fmt: skip
            page.ask("/healthz").getresponse().read()
            page.stop(signal.SIGINT, signal.SIGINT)
    assert free_of(found) and look(site, number).state == "interrupted"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    made = tmp_path / "encoder" / "program"
    made.parent.mkdir()
    made.write_text(ENCODER.format(python=sys.executable))
    made.chmod(0o755)
    return made


def begun(encoder: Path) -> int:
    """The number of the encoder's process, once it is there."""
    place = encoder.with_name("begun")
    return int(until(lambda: place.exists() and place.read_text()))


def test_the_encoder_is_being_loaded(site: Site, database_url: str, encoder: Path) -> None:
    encoder.with_name("loads").touch()
    with serve(site.settings.data, database_url, encoder=str(encoder)) as page:
        number = begun(encoder)
        assert page.ask("/search?q=wait+for+me").getresponse().status == 200
        page.stop()
    assert free_of([number])


def test_a_search_waits_for_the_encoder(site: Site, database_url: str, encoder: Path) -> None:
    with serve(site.settings.data, database_url, encoder=str(encoder)) as page:
        number, asked = begun(encoder), encoder.with_name("asked")
        while True:
            waits = page.ask("/search?q=wait+for+me")
            until(lambda one=waits: asked.exists() or select.select([one.sock], [], [], 0)[0])
            if asked.exists():
                break
            assert waits.getresponse().read()  # too few papers are known to it yet
        page.stop()
        assert waits.getresponse().status in (200, 503)
    assert free_of([number])


def test_mail_is_being_sent(tmp_path: Path, database_url: str, mailbox: Mailbox) -> None:
    mailbox.rcpt = lambda _: "hang"
    with serving(mailbox) as port:
        site = make_site(settings_with(tmp_path, database_url, port))
        given = {
            "HELDOUT_SMTP_HOST": "127.0.0.1", "HELDOUT_SMTP_PORT": str(port),
            "HELDOUT_SMTP_SECURITY": "none", "HELDOUT_MAIL_FROM": "papers@example.org",
        }  # fmt: skip
        with serve(site.settings.data, database_url, **given) as page:
            asked = page.ask("/subscribe", email="ada@example.com", period="daily")
            assert asked.getresponse().status == 303
            until(lambda: mailbox.asked)
            page.stop()
        assert not mailbox.mails
        mailbox.rcpt = lambda _: None
        assert send(site, at=time.time() + 1).sent == 1  # at once: whose it was is gone
        assert mailbox.counts() == {"ada@example.com": 1} and states(site) == {"sent": 1}
        site.database.close()


def test_a_vote_waits_for_the_database(site: Site, database_url: str) -> None:
    path = site.database.engine.url.database
    with serve(site.settings.data, database_url) as page:
        other = sqlite3.connect(str(path), isolation_level=None)
        waits = page.ask("/papers/data_diet/vote", vote="up")
        assert waits.getresponse().status == 303
        other.execute("BEGIN IMMEDIATE")
        waits = page.ask("/papers/data_diet/vote", vote="up")
        page.ask("/healthz").getresponse().read()
        page.stop()
        assert waits.getresponse().status == 503
        other.execute("ROLLBACK")
        assert other.execute("SELECT COUNT(*) FROM votes").fetchone() == (1,)
        other.close()


def test_a_download_is_slow(site: Site, database_url: str) -> None:
    with serve(site.settings.data, database_url) as page, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(120)
        slow.connect(("127.0.0.1", page.made.port))
        slow.sendall(b"GET /papers/grokking_corrupted/records.json HTTP/1.1\r\n"
                     b"Host: 127.0.0.1\r\n\r\n")  # fmt: skip
        assert slow.recv(12) == b"HTTP/1.1 200"
        page.stop()
