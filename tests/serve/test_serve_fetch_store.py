"""Storing: each paper once, the newest version, whoever writes and whenever it is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from heldout.serve.fetch.merge import Entry, Stored, merged, store
from heldout.serve.storage.database import Database
from heldout.serve.storage.fetched_writes import stored, upsert
from heldout.serve.storage.tables import fetched

from .made_up_papers import made_up

PAPER = Entry("2611.00001", 1, "A", "B", 2, "2026-11-01", "Ada, Omar", "", "cs.LG")
DAILY = replace(PAPER, version=0, title="a", categories="", organization="Lab",
                source="huggingface")  # fmt: skip


@pytest.fixture
def database(database_url: str):
    made = Database(database_url)
    made.upgrade()
    yield made
    made.close()


def here(database: Database) -> dict[str, Entry]:
    with database.read() as connection:
        numbers = list(connection.execute(select(fetched.c.arxiv)).scalars())
        return stored(connection, numbers)


def test_both_feeds_become_one_entry_in_either_order(database: Database) -> None:
    for first, second in ((PAPER, DAILY), (DAILY, PAPER)):
        with database.write() as connection:
            connection.execute(fetched.delete())
        assert store(database, [first]) == Stored(new=1)
        assert store(database, [second]) == Stored(updated=1)
        assert here(database) == {"2611.00001": replace(PAPER, organization="Lab")}
        assert store(database, [first, second]) == Stored(known=1)


def test_newer_versions_win_and_older_ones_change_nothing(database: Database) -> None:
    second = replace(PAPER, version=2, title="A2", organization="Uni")
    assert store(database, [second, PAPER], now=5.0) == Stored(new=1)
    assert store(database, [PAPER], now=6.0) == Stored(known=1)
    third = replace(PAPER, version=3, title="A3")
    assert store(database, [PAPER, third], now=7.0) == Stored(updated=1)
    assert here(database)["2611.00001"] == replace(third, organization="Uni")
    with database.read() as connection:
        assert connection.execute(select(fetched.c.fetched_at)).scalars().all() == [5.0]


def test_papers_of_the_library_and_withdrawn_ones_are_not_added(database: Database) -> None:
    gone = replace(PAPER, arxiv="2611.00002", withdrawn=True, abstract="This paper is withdrawn")
    found = store(database, [PAPER, gone], library={"2611.00001"})
    assert found == Stored(library=1, withdrawn=("2611.00002",)) and here(database) == {}
    store(database, [replace(gone, withdrawn=False, abstract="x")])
    assert store(database, [replace(gone, version=2)]).updated == 1  # the page tells it
    assert here(database)["2611.00002"].abstract == "This paper is withdrawn"


def test_a_dry_run_and_a_repeated_one_change_nothing(database: Database) -> None:
    entries = list(made_up(1200, seed=3))
    assert store(database, entries, dry=True) == Stored(new=1200) and here(database) == {}
    assert store(database, entries) == Stored(new=1200)
    before = database.generation()
    assert store(database, entries) == Stored(known=1200)
    assert database.generation() == before and len(here(database)) == 1200
    assert here(database) == {e.arxiv: e for e in entries}


def test_an_old_writer_that_comes_late_does_not_win(database: Database) -> None:
    """As when another process stores between reading and writing: the statement itself decides."""
    columns = {c.name for c in fetched.c} - {"id", "fetched_at"}

    def row(entry: Entry) -> dict:
        return {name: getattr(entry, name) for name in columns} | {"fetched_at": 1.0}

    newer = replace(PAPER, version=2, organization="Uni")
    for entry in (newer, PAPER, replace(newer, organization="")):
        with database.write() as connection:
            upsert(connection, [row(entry)])
    assert here(database) == {"2611.00001": newer}


def test_writers_at_once_lose_and_double_nothing(database: Database) -> None:
    entries = list(made_up(300, seed=1))
    newer = [replace(e, version=e.version + 1) for e in entries]
    lists = [entries, newer, entries[::-1], newer[::-1]]
    for part in lists:
        random.Random(0).shuffle(part)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda part: store(database, part), lists))) == 4  # none raised
    assert here(database) == {e.arxiv: e for e in newer}


versions = st.builds(
    replace, st.just(PAPER), version=st.integers(0, 3), title=st.sampled_from("abc"),
    organization=st.sampled_from(["", "x", "y"]), categories=st.sampled_from(["", "cs.LG"]),
)  # fmt: skip


@given(st.lists(versions, min_size=1, max_size=6))
def test_merging_settles_and_keeps_the_newest_version(entries: list[Entry]) -> None:
    made = entries[0]
    for entry in entries[1:]:
        made = merged(made, entry)
    assert made.version == max(e.version for e in entries)
    assert bool(made.organization) == any(e.organization for e in entries)
    for entry in entries:  # once more changes nothing
        assert merged(made, entry) == made


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from made_up_papers import made_up
from heldout.serve.fetch.merge import store
from heldout.serve.storage.database import Database
database = Database({url!r})
print("ready", flush=True)
print(store(database, made_up(6000, seed=2)).new, flush=True)
"""


def test_a_store_that_is_killed_at_any_moment_is_finished_by_the_next(
    database: Database, database_url: str
) -> None:
    code = WRITER.format(folder=str(Path(__file__).parent), url=database_url)
    counts = []
    for wait in (0.05, 0.2, 0.35):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with database.read() as connection:
            counts.append(connection.execute(select(func.count()).select_from(fetched)).scalar())
    assert counts == sorted(counts) and all(c % 500 == 0 for c in counts)  # whole batches
    entries = list(made_up(6000, seed=2))
    found = store(database, entries)
    assert (found.new, found.known) == (6000 - counts[-1], counts[-1])
    assert here_count(database) == 6000


def here_count(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count(fetched.c.arxiv.distinct()))).scalar_one()


def test_made_up_papers_are_plausible_and_repeatable() -> None:
    entries = list(made_up(3000, seed=4))
    assert entries == list(made_up(3000, seed=4)) != list(made_up(3000, seed=5))
    assert len({e.arxiv for e in entries}) == 3000
    assert [e.published for e in entries] == sorted((e.published for e in entries), reverse=True)
    words = sorted(len(e.abstract.split()) for e in entries)
    assert words[150] >= 40 and words[-1] <= 250 and len({e.published[:4] for e in entries}) >= 10
    assert all(e.arxiv[:4] == e.published[2:4] + e.published[5:7] for e in entries)
