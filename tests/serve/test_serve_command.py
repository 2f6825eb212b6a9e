"""`heldout serve` as a user meets it: what it says of bad input, how it starts and how it stops."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heldout.cli import main
from heldout.serve import command
from heldout.serve import settings as settings_module
from heldout.serve.app import create_app
from heldout.serve.jobs.stream import events
from heldout.serve.site import Site
from heldout.serve.web.headers import Guarded

MAIN = """
import atexit, sys
from heldout.cli import main
atexit.register(lambda: print("modules:", *sorted(n for n in sys.modules if "." not in n)))
sys.exit(main(sys.argv[1:]))
"""
HEAVY = {"torch", "sentence_transformers", "transformers", "scipy", "sklearn", "matplotlib"}
# As if a package had not been installed, in a process that has imported nothing of ours yet.
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
from heldout.cli import main
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
missing, folder, *commands = sys.argv[1:]
for command in commands:
    print(command, main([*command.split(), "--data", folder]), flush=True)
"""


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["serve", *map(str, arguments)])
    told = capsys.readouterr()
    assert "Traceback" not in told.err and not told.out
    return code, told.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code, told = said(capsys, *arguments)
    assert code == 2
    lines = told.splitlines()
    assert lines[0] == "heldout serve: InputError" and len(lines) == 4
    assert [line.partition(":")[0] for line in lines[1:]] == ["given", "expected", "try"]
    return told


# ---- what cannot be used


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    told = capsys.readouterr().out
    for word in ("--port", "--host", "--data", "--database", "--url", "--static", "serve digest",
                 "serve moderate", "HELDOUT_SMTP_HOST", "HELDOUT_RUN_TOKEN", "HELDOUT_PROXIES",
                 "Exit codes"):  # fmt: skip
        assert word in told, word
    for other in ("digest", "moderate"):
        assert main(["serve", other, "--help"]) == 0
        assert f"heldout serve {other}" in capsys.readouterr().out


def test_a_port_that_is_taken_or_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refused(capsys, "--port", port, "--data", tmp_path)
        assert f"--port {port}" in told and "in use" in told and "--port 0" in told
    for wrong in (99999, -1, 65536):
        assert "0 to 65535" in refused(capsys, "--port", wrong, "--data", tmp_path)
    code, told = said(capsys, "--port", "abc")
    assert code == 2 and "abc" in told
    assert list(tmp_path.iterdir()) == []  # nothing was made for a page that never was


def test_answers_of_two_writes_do_not_wait_for_an_acknowledgement() -> None:
    # As uvicorn does it: an asyncio server on a socket that listens.
    async def without_delay() -> list[int]:
        found: list[int] = []

        def visited(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            made = writer.get_extra_info("socket")
            found.append(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = command._listen("127.0.0.1", 0)
        async with await asyncio.start_server(visited, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()
        return found

    assert all(asyncio.run(without_delay()))


@pytest.mark.parametrize("host", ["203.0.113.9", "", "a b", "x" * 70, "\u2028", "[::1", "a/b"])
def test_a_host_that_is_none(host: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--host" in refused(capsys, "--host", host, "--port", 0, "--data", tmp_path)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.org", "a.org", "http://", "http://[::1", "http://a.org:99999", "http://a.org:x",
     "https://me:secret@a.org", "https://a.org/?q", "https://a.org/#x", "https://a b.org",
     "https://a.org/<script>", "https://a.org/'x", "https://a.org?"],
)  # fmt: skip
def test_an_address_that_is_none(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "url" in refused(capsys, "--url", url, "--port", 0, "--data", tmp_path)


def test_a_folder_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for folder in (file, file / "below"):
        assert str(folder) in refused(capsys, "--port", 0, "--data", folder)
        assert str(folder) in refused(capsys, "--static", tmp_path / "out", "--data", folder)
    own = tmp_path / "own"
    own.mkdir()
    for content in (b"short", b"\xff" * 40):
        (own / "secret").write_bytes(content)
        assert str(own / "secret") in refused(capsys, "--port", 0, "--data", own)
    (own / "secret").unlink()
    (own / "secret").mkdir()
    assert "secret" in refused(capsys, "--port", 0, "--data", own)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(settings_module.Path, "mkdir", denied)
    assert "Permission denied" in refused(capsys, "--port", 0, "--data", tmp_path / "closed")


def test_a_database_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = ("--port", 0, "--data", tmp_path)
    for wrong in ("mysql://a/b", "words", "oracle://x", ""):
        if wrong:
            assert "sqlite:///FILE or postgresql" in refused(capsys, *page, "--database", wrong)
    (tmp_path / "text.db").write_text("no database at all, only words\n" * 100)
    (tmp_path / "half.db").write_bytes(b"SQLite format 3\0" + b"\x07" * 5000)
    for address, why in (
        (f"sqlite:///{tmp_path / 'text.db'}", "not a database"),
        (f"sqlite:///{tmp_path / 'half.db'}", ""),
        (f"sqlite:///{tmp_path / 'none' / 'a.db'}", "unable to open"),
        ("postgresql://me:geheim@127.0.0.1:1/x", "refused"),
    ):
        code, told = said(capsys, *page, "--database", address)
        assert code == 1 and why in told and "leave --database out" in told
        assert "geheim" not in told and len(told) < 600
        for other in (["digest", "--preview"], ["moderate", "list"]):
            code, told = said(capsys, *other, "--data", tmp_path, "--database", address)
            assert code == 1 and why in told and "geheim" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("HELDOUT_PROXIES", "two"), ("HELDOUT_PROXIES", "-1"), ("HELDOUT_PROXIES", "17"),
     ("HELDOUT_PROXIES", "\u00b2"), ("HELDOUT_RUN_TOKEN", "abc"), ("HELDOUT_SECRET", "abc"),
     ("HELDOUT_SMTP_PORT", "smtp"), ("HELDOUT_SMTP_SECURITY", "ssl"), ("HELDOUT_URL", "x"),
     ("HELDOUT_DATABASE", "words")],
)  # fmt: skip
def test_an_environment_that_cannot_be_used(
    name: str, value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    told = refused(capsys, "--port", 0, "--data", tmp_path)
    assert "abc" not in told  # a secret is not shown


def test_files_of_others_are_not_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("mine")
    told = refused(capsys, "--static", tmp_path / "own", "--data", tmp_path / "data")
    assert "letter.txt" in told and (tmp_path / "own" / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "commands"),
    [("uvicorn", ["serve --port 0"]),
     ("fastapi", ["serve --port 0", "serve --static out", "serve digest --preview"]),
     ("sqlalchemy", ["serve --port 0", "serve moderate list", "serve digest --preview"])],
)  # fmt: skip
def test_what_is_not_installed_is_named(name: str, commands: list[str], tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", WITHOUT, name, str(tmp_path / "data"), *commands],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in made.stderr, made.stderr
    hint = f"{name} is not installed; try: pip install 'heldout[serve]'"
    assert made.stderr.count(hint) == len(commands), made.stderr
    codes = dict(line.rsplit(" ", 1) for line in made.stdout.splitlines())
    assert codes.keys() == set(commands) and set(codes.values()) <= {"1", "2"}


# ---- starting and stopping


def started(folder: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "--port", "0", "--data", str(folder), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"HELDOUT_EMBEDDING_MODEL": "none"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("Heldout is at http://127.0.0.1:"), process.communicate()
    return process, line.split()[3].removeprefix("http://").rstrip("/")


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def test_it_starts_answers_without_torch_and_stops_when_told(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process, where = started(tmp_path / "a")
    processes.append(process)
    client = http.client.HTTPConnection(where, timeout=300)
    for path in ("/", "/healthz", "/search?q=memorizing", "/papers/data_diet"):
        client.request("GET", path)
        answer = client.getresponse()
        assert answer.status == 200 and answer.read()
    told = time.monotonic()
    process.send_signal(signal.SIGTERM)  # with a connection open
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and not err, err
    assert time.monotonic() - told < 30
    loaded = set(out.split("modules:")[1].split())
    assert "fastapi" in loaded and not loaded & HEAVY


def test_ctrl_c_stops_it_also_with_a_visitor_who_does_not_leave(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process, where = started(tmp_path / "a")
    processes.append(process)
    host, port = where.split(":")
    with socket.create_connection((host, int(port)), timeout=300) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # and no more
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in err, err


def test_a_page_that_stops_ends_its_streams(site: Site) -> None:
    async def told() -> list[str]:
        found: list[str] = []
        async for text in events(site, 1, -1):
            found.append(text)
        return found

    site.ending = True
    assert asyncio.run(asyncio.wait_for(told(), 20)) == ["retry: 2000\n\n"]


def test_who_waits_for_a_figure_does_not_hold_up_the_stop(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process, where = started(tmp_path / "a")
    processes.append(process)
    visitors = [http.client.HTTPConnection(where, timeout=300) for _ in range(3)]
    for visitor, slug in zip(visitors, ("wide_cnn", "data_diet", "benign_xor"), strict=True):
        visitor.request("GET", f"/papers/{slug}/figure.svg")
    probe = http.client.HTTPConnection(where, timeout=300)
    probe.request("GET", "/healthz")
    assert probe.getresponse().read()
    process.send_signal(signal.SIGTERM)
    assert [visitor.getresponse().status for visitor in visitors] == [503] * 3
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and not err, err


def test_an_answer_that_the_stop_cuts_off_is_a_page_and_one_line_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow(*_: Any) -> None:
        await asyncio.sleep(60)

    sent: list[Any] = []

    async def cut_off() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": "/a\nb", "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")], "app": create_app(site),
            "server": ("127.0.0.1", 80), "scheme": "http",
        }  # fmt: skip
        task = asyncio.ensure_future(Guarded(slow, site.settings)(scope, slow, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    asyncio.run(cut_off())
    assert sent[0]["status"] == 503 and b"being stopped" in sent[1]["body"]
    assert [one.getMessage() for one in caplog.records] == [r"cut off by the stop: GET '/a\nb'"]
