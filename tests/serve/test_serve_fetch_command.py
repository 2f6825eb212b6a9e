"""`heldout papers fetch`: what it stores, says, and returns."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from heldout.cli import main
from heldout.serve.fetch.client import Client
from heldout.serve.fetch.command import since_of
from heldout.serve.fetch.report import Report
from heldout.serve.storage.database import Database
from heldout.serve.storage.fetched_writes import stored

from .fake_feeds import Answer, Feeds, error_page, paper, serving

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
SINCE = f"{NOW - timedelta(days=2):%Y-%m-%d}"


def recent(i: int, **given: object):
    at = NOW - timedelta(minutes=i)
    return paper(0, **{"number": f"2699.{i:05d}", "at": at, "title": "Flat minima", **given})


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeds]:
    made = Feeds()
    with serving(made) as address:
        monkeypatch.setenv("HELDOUT_ARXIV_URL", f"{address}/api/query")
        monkeypatch.setenv("HELDOUT_HUGGINGFACE_URL", f"{address}/api/daily_papers")
        monkeypatch.setenv("HELDOUT_FETCH_PAUSE", "0")
        for name in ("HELDOUT_DATABASE", "HELDOUT_URL"):
            monkeypatch.delenv(name, raising=False)
        yield made


def fetch(*arguments: object) -> int:
    return main(["papers", "fetch", *map(str, arguments)])


def rows(url: str, numbers: list[str]) -> dict:
    database = Database(url)
    with database.read() as connection:
        found = stored(connection, numbers)
    database.close()
    return found


def test_both_feeds_are_read_merged_and_told(
    feeds: Feeds, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feeds.papers = [
        recent(0, organization="Open Group"), recent(1, version=2), recent(2, comment="withdrawn"),
        recent(3, number="2107.07075"), recent(4, number="nonsense"),
        recent(5, abstract="Of cats.", title="Cats"),
    ]  # fmt: skip
    where = ("--data", tmp_path / "d", "--database", database_url)
    assert fetch("ti:minima AND cat:cs.LG", "--since", SINCE, "--source", "arxiv", *where) == 0
    said = capsys.readouterr().out
    assert "arXiv: 5 papers read, 1 request\n" in said
    assert "New 3, updated 0, known 0, in the library 1, refused 2" in said
    assert "  2699.00002: withdrawn by its authors\n" in said and ": no arXiv number\n" in said
    assert (
        f"Next: heldout serve --data {tmp_path / 'd'}" in said and "Later: heldout papers" in said
    )
    feeds.papers[1] = recent(1, version=3, title="New words")
    del feeds.papers[2]
    feeds.papers.append(recent(6, title="Dogs", abstract="Of dogs."))
    feeds.papers.append(recent(7))
    assert fetch("ti:minima", "--since", SINCE, "--source", "huggingface", *where) == 0
    said = capsys.readouterr().out
    assert "New 1, updated 1," in said  # 7 fits, 0 gets its organization, dogs do not fit
    found = rows(database_url, [f"2699.{i:05d}" for i in range(9)])
    assert sorted(found) == [f"2699.{i:05d}" for i in (0, 1, 5, 7)]
    first = found["2699.00000"]
    assert (first.source, first.version, first.organization) == ("arxiv", 1, "Open Group")
    assert found["2699.00001"].version == 2  # Hugging Face tells no versions
    assert fetch("all:x", "--since", SINCE, "--source", "arxiv", *where) == 0
    assert rows(database_url, ["2699.00001"])["2699.00001"].title == "New words"


def test_the_same_fetch_again_asks_less_and_stores_nothing(
    feeds: Feeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feeds.papers = [recent(i) for i in range(30)]
    words = ("minima", "--since", SINCE, "--source", "arxiv", "--data", tmp_path)
    assert fetch(*words) == 0 and len(feeds.requests) == 1
    assert fetch(*words) == 0 and len(feeds.requests) == 1
    said = capsys.readouterr().out
    assert "30 papers read, 0 requests and 1 kept page\n" in said
    assert "New 0, updated 0, known 30," in said
    assert fetch(*words, "--limit", 7) == 0
    assert "known 7," in capsys.readouterr().out


def test_a_dry_run_makes_no_database(
    feeds: Feeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feeds.papers = [recent(i) for i in range(3)]
    assert fetch("minima", "--since", SINCE, "--data", tmp_path, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "Would be new 3, updated 0, known 0," in said
    assert f"Next: heldout papers fetch minima --since {SINCE} --data {tmp_path}\n" in said
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["(open"], "a bracket is not closed"),
        ([], "an empty query"),
        (["x", "--since", "1st of May"], "--since 1st of May"),
        (["x", "--since", "2026-02-30"], "--since 2026-02-30"),
        (["x", "--since", "2199-01-01"], "still to come"),
        (["x", "--limit", "0"], "--limit 0"),
        (["x", "--database", "mysql://a/b"], "sqlite:///FILE"),
    ],
)
def test_bad_input_is_told_before_anybody_is_asked(
    feeds: Feeds, tmp_path: Path, arguments: list[str], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert fetch(*arguments, "--data", tmp_path) == 2
    error = capsys.readouterr().err
    assert said in error and "try:" in error and "Traceback" not in error
    assert feeds.requests == []


def test_a_query_that_arxiv_refuses_is_bad_input(
    feeds: Feeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feeds.before = lambda n, f: Answer(error_page("no such thing"))
    assert fetch("x", "--data", tmp_path) == 2
    assert "arXiv refuses: no such thing" in capsys.readouterr().err


def test_one_feed_that_cannot_be_reached_does_not_keep_the_other_from_being_stored(
    feeds: Feeds, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HELDOUT_ARXIV_URL", f"http://127.0.0.1:{port}/")
    monkeypatch.setattr(Client, "_wait", lambda client, state: 0.0)
    feeds.papers = [recent(0)]
    assert fetch("minima", "--since", SINCE, "--data", tmp_path) == 1
    said = capsys.readouterr()
    assert said.err.count("cannot be reached") == 1 and "arXiv (127.0.0.1" in said.err
    assert "New 1," in said.out and "Next: heldout papers fetch minima" in said.out


def test_a_folder_that_cannot_be_written_is_told(
    feeds: Feeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert fetch("x", "--data", file / "below") == 2
    assert "one that can be written" in capsys.readouterr().err


def test_days_and_words() -> None:
    today = date(2026, 11, 22)
    assert since_of("1900-01-01", today).year == 1991
    assert Report(dry=True).said(0.0)[0].startswith("Would be new 0")


def test_listing_papers_still_loads_nothing_heavy_and_fetching_no_torch() -> None:
    code = (
        "import sys; from heldout.cli import main\n"
        "main(['papers', 'grokking'])\n"
        "print('@', [m for m in ('httpx', 'tyro', 'sqlalchemy', 'torch') if m in sys.modules])\n"
        "assert main(['papers', 'fetch', '(']) == 2\n"
        "print('@', [m for m in ('torch', 'sklearn', 'fastapi') if m in sys.modules])\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in made.stdout.splitlines() if line.startswith("@")] == ["@ []", "@ []"]
