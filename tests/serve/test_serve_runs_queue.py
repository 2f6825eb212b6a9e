"""The queue: order, one at a time, and no run that two servers take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from heldout.core.errors import InputError
from heldout.serve.app import make_site
from heldout.serve.jobs import queue
from heldout.serve.jobs.process import machine
from heldout.serve.jobs.worker import SILENT_S, is_lost
from heldout.serve.site import Site
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.database import StorageError
from heldout.serve.storage.jobs import MOST_LOST, Job, QueueFull

from .fake_runs import look, put, wanted

BY = {"machine": "here", "server": 1, "since": "1"}


def claim(site: Site, now: float = 1.0, at_once: int = 1) -> Job | None:
    with site.database.write() as connection:
        return stored.claim(connection, now, BY, at_once)


def finish(site: Site, job: Job, into: str = "done", now: float = 2.0) -> bool:
    with site.database.write() as connection:
        return stored.finish(connection, job, into, (), now)


def test_the_oldest_comes_first_and_one_at_a_time(site: Site) -> None:
    numbers = [put(site, wanted(i), now=float(10 - i)) for i in range(3)]
    with site.database.read() as connection:
        waiting = [stored.ahead(connection, look(site, n)) for n in numbers]
    assert waiting == [2, 1, 0]
    taken = []
    while job := claim(site):
        assert claim(site) is None  # while this one goes on
        taken.append(job.id)
        assert finish(site, job)
    assert taken == numbers[::-1]


def test_the_same_run_is_joined_until_it_is_over(site: Site) -> None:
    first = put(site, wanted())
    assert put(site, wanted()) == first
    job = claim(site)
    assert job and put(site, wanted()) == first
    assert put(site, replace(wanted(), seeds=2)) != first
    assert finish(site, job)
    assert put(site, wanted()) != first


def test_a_run_that_is_being_ended_is_not_joined(site: Site) -> None:
    first = put(site, wanted())
    assert claim(site)
    with site.database.write() as connection:
        assert stored.cancel(connection, first, 1.0)
    assert put(site, wanted()) != first


def test_the_queue_has_an_end(site: Site) -> None:
    for i in range(3):
        put(site, wanted(i), most=3)
    with pytest.raises(QueueFull):
        put(site, wanted(3), most=3)
    assert put(site, wanted(0), most=3) == 1  # joining takes no place


def test_many_who_ask_at_once_get_one_run_and_never_too_many(site: Site) -> None:
    found: list[int] = []
    full: list[int] = []
    barrier = threading.Barrier(8)

    def ask(number: int) -> None:
        barrier.wait()
        for other in (0, 1 + number):
            try:
                found.append(put(site, wanted(other), most=4))
            except QueueFull:
                full.append(other)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(set(found)) == 4 and len(full) == 16 - len(found)


@pytest.mark.parametrize("at_once", [1, 3])
def test_servers_never_take_one_run_twice(site: Site, at_once: int) -> None:
    for i in range(12):
        put(site, wanted(i), now=float(i))
    sites = [site, *(make_site(site.settings) for _ in range(3))]
    taken: list[int] = []
    most: list[int] = []

    def work(own: Site, now: float) -> None:
        while len(taken) < 12:
            now += 10.0
            with own.database.read() as connection:
                ready = stored.claimable(connection, at_once)
            job = None
            with suppress(StorageError):  # a busy machine: it tries again, as a worker does
                job = claim(own, now, at_once) if ready else None
            if job is None:
                time.sleep(0.002)
                continue
            taken.append(job.id)
            with own.database.read() as connection:
                most.append(len(stored.running(connection)))
            while not ended(own, job):
                time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(s, float(i))) for i, s in enumerate(sites)]
    [t.start() for t in threads]
    [t.join(120) for t in threads]
    for other in sites[1:]:
        other.database.close()
    assert Counter(taken) == Counter(range(1, 13))
    assert max(most) <= at_once


def ended(site: Site, job: Job) -> bool:
    with suppress(StorageError):
        assert finish(site, job)
        return True
    return False


def test_a_server_that_was_thought_dead_writes_nothing_more(site: Site) -> None:
    number = put(site, wanted())
    old = claim(site, now=1.0)
    assert old
    with site.database.write() as connection:
        assert stored.put_back(connection, old, 2.0) == "interrupted"
    new = claim(site, now=3.0)
    assert new and new.id == number
    with site.database.write() as connection:
        assert not stored.keep(connection, old, [(0, "from the dead")], 4.0)
        assert not stored.finish(connection, old, "done", [(0, "from the dead")], 4.0)
        assert stored.keep(connection, new, [(0, "from the living")], 4.0)
        assert stored.lines(connection, number, -1, 9) == [(0, "from the living")]
    assert look(site, number).state == "running"


def test_a_run_that_ends_its_servers_is_not_started_for_ever(site: Site) -> None:
    number = put(site, wanted())
    states = []
    for now in range(1, MOST_LOST + 2):
        job = claim(site, now=float(now))
        assert job
        with site.database.write() as connection:
            states.append(stored.put_back(connection, look(site, number), 50.0))
    assert states == ["interrupted"] * MOST_LOST + ["failed"]
    assert "The server ended 3 times" in look(site, number).kept["why"]


def test_who_is_lost() -> None:
    job = Job(1, wanted(), "running", 0.0, 100.0, None, False, None, {})
    mine = {"machine": machine(), "server": 2**22 + 7, "since": "1"}
    assert is_lost(replace(job, kept={"by": mine}), 100.0)
    other = {"by": {"machine": "elsewhere", "server": 1, "since": "1"}, "beat": 100.0}
    assert not is_lost(replace(job, kept=other), 100.0 + SILENT_S)
    assert is_lost(replace(job, kept=other), 101.0 + SILENT_S)


def test_old_runs_are_forgotten_with_their_lines(site: Site) -> None:
    for i in range(3):
        put(site, wanted(i), now=float(i))
    for end in (10.0, 20.0):
        job = claim(site, now=end)
        assert job
        with site.database.write() as connection:
            stored.finish(connection, job, "done", [(0, "a"), (1, "b")], end)
    with site.database.write() as connection:
        assert stored.forget(connection, 15.0) == [1]
        assert stored.lines(connection, 1, -1, 9) == [] and stored.one(connection, 1) is None
        assert len(stored.lines(connection, 2, -1, 9)) == 2
        assert stored.active(connection) == {3}


@pytest.mark.parametrize(
    "fields",
    [
        {"claim": "nothing"},
        {"claim": "group:nothing"},
        {"claim": "xor --scale full"},
        {"scale": "full"},
        {"scale": "--out=/etc"},
        {"seeds": "0"},
        {"seeds": "6"},
        {"seeds": "-1"},
        {"seeds": "3 --all"},
        {"seeds": "²"},
        {"seeds": "9" * 5000},
    ],
)
def test_only_what_the_catalogue_has_becomes_a_command(fields: dict[str, str]) -> None:
    with pytest.raises(InputError):
        queue.wanted_of("benign_xor", fields)


def test_the_command_is_a_list_of_checked_words(site: Site) -> None:
    found = queue.wanted_of("exact_inductive_bias", {"claim": "group:networks", "seeds": "2"})
    argv = queue.command(found, queue.folder_of(site, 7))
    assert argv[1:] == [
        "-m", "heldout.cli", "reproduce", "exact_inductive_bias", "--claim", "cnn_above_mlp",
        "mlp_above_linear", "--scale", "tiny", "--seeds", "2", "--out",
        str(site.settings.data.absolute() / "runs" / "7"), "--jobs", "1", "--log", "none",
    ]  # fmt: skip


def test_runs_that_need_what_is_not_shipped_are_not_offered() -> None:
    offered = queue.choices("clip_concepts")
    assert [c.value for c in offered] == ["group:toy"]
    with pytest.raises(InputError):
        queue.wanted_of("clip_concepts", {"claim": "released_trend"})
    with pytest.raises(InputError, match="are measured"):
        queue.wanted_of("symbolic_nets", {})
