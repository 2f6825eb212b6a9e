"""The worker: what it starts, what it keeps, and what it ends."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from heldout.serve.app import make_site
from heldout.serve.jobs import worker
from heldout.serve.jobs.process import end_marked, since
from heldout.serve.jobs.queue import Limits, folder_of, wake
from heldout.serve.jobs.worker import recover, tidy
from heldout.serve.site import Site
from heldout.serve.storage import engine as engine_module
from heldout.serve.storage import jobs as stored
from heldout.serve.storage.jobs import Wanted

from .fake_runs import (
    QUICK,
    free_of,
    gone,
    look,
    measures,
    pids,
    put,
    python,
    says,
    sleeps,
    texts,
    until,
    wanted,
)

Command = Callable[[Wanted, Path], Sequence[str]]


@contextmanager
def working(site: Site, command: Command, limits: Limits = QUICK) -> Iterator[None]:
    site.parts["run limits"] = limits
    worker.begin(site, command)
    try:
        yield
    finally:
        worker.finish(site)


def over(site: Site, number: int) -> str:
    until(lambda: look(site, number).over)
    return look(site, number).state


def test_a_run_is_done_and_its_numbers_are_kept(site: Site) -> None:
    number = put(site, Wanted("benign_xor", "group:xor", "tiny", 3))
    with working(site, measures):
        assert over(site, number) == "done"
    job = look(site, number)
    assert (job.kept["done"], job.kept["total"], job.pid) == (3, 3, None)
    assert len(job.kept["results"]) == 6
    assert job.kept["results"][0]["verdict"] == "toy" and job.kept["results"][0]["n"] == 3
    assert texts(site, number)[0] == "Plan"
    assert texts(site, number)[-1] == "benign_xor group seed 2: 0.1 s"


def test_runs_come_one_after_the_other(site: Site) -> None:
    numbers = [put(site, wanted(i), now=float(i)) for i in range(3)]
    with working(site, says("a line")):
        for number in numbers:
            assert over(site, number) == "done"
    ends = [(look(site, n).started_at, look(site, n).finished_at) for n in numbers]
    times = [t for pair in ends for t in pair]
    assert times == sorted(times, key=lambda t: t or 0.0)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit(1)", "A seed raised"),
        ("raise SystemExit(2)", "its last lines say why"),
        ("import os; os.kill(os.getpid(), 9)", "want of memory"),
    ],
)
def test_what_fails_says_so(site: Site, code: str, why: str) -> None:
    number = put(site, wanted())
    with working(site, lambda _, __: python(code)):
        assert over(site, number) == "failed"
    assert why in look(site, number).kept["why"]


def test_a_command_that_cannot_be_started_fails_and_the_next_one_is_done(site: Site) -> None:
    first, second = put(site, wanted(0), now=1.0), put(site, wanted(1), now=2.0)

    def command(what: Wanted, folder: Path) -> Sequence[str]:
        return ["/nowhere/at/all"] if what == wanted(0) else measures(what, folder)

    with working(site, command):
        assert (over(site, first), over(site, second)) == ("failed", "done")
    assert "could not be started" in look(site, first).kept["why"]


def test_a_cancelled_run_ends_with_its_children(site: Site) -> None:
    number = put(site, wanted())
    with working(site, sleeps):
        found = pids(folder_of(site, number))
        assert all(since(pid) for pid in found)
        with site.database.write() as connection:
            assert stored.cancel(connection, number, time.time())
        assert over(site, number) == "cancelled"
        assert free_of(found)
        with site.database.write() as connection:
            assert not stored.cancel(connection, number, time.time())


def test_a_cancelled_run_that_waits_is_never_started(site: Site) -> None:
    number = put(site, wanted())
    with site.database.write() as connection:
        assert stored.cancel(connection, number, time.time())
    with working(site, measures):
        other = put(site, wanted(1))
        wake(site)
        assert over(site, other) == "done"
    assert (look(site, number).state, look(site, number).started_at) == ("cancelled", None)


def test_who_ignores_being_asked_is_made_to_end(site: Site) -> None:
    code = (
        "import os, signal, subprocess, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "c = subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(600)'],"
        " start_new_session=True)\n"
        "pathlib.Path(sys.argv[1], 'pids').write_text(f'{os.getpid()} {c.pid}')\n"
        "time.sleep(600)"
    )
    number = put(site, wanted())
    with working(site, lambda _, folder: python(code, str(folder)), replace(QUICK, grace=0.3)):
        found = pids(folder_of(site, number))
        with site.database.write() as connection:
            stored.cancel(connection, number, time.time())
        assert over(site, number) == "cancelled"
    # The second has left the group; it is found by what is in its environment.
    assert free_of(found)


def test_a_run_that_takes_too_long_or_too_much_is_ended(site: Site) -> None:
    number = put(site, wanted())
    with working(site, sleeps, replace(QUICK, seconds={"tiny": 0.5})):
        assert over(site, number) == "failed"
    assert "longer than" in look(site, number).kept["why"]
    assert end_marked(folder_of(site, number)) == 0  # however far it had come
    code = "import sys, time; open(sys.argv[1] + '/a', 'wb').write(bytes(9999)); time.sleep(600)"
    number = put(site, wanted())
    with working(site, lambda _, f: python(code, str(f)), replace(QUICK, run_bytes=5000)):
        assert over(site, number) == "failed"
    assert "files took more" in look(site, number).kept["why"]


def test_many_and_long_lines_are_bounded(site: Site) -> None:
    code = (
        "print('x' * 10**6); print('\\x1b[1mb\\x1b[0m\\tc\\x00')\n[print(i) for i in range(5000)]"
    )
    number = put(site, wanted())
    with working(site, lambda _, __: python(code), replace(QUICK, lines=50)):
        assert over(site, number) == "done"
    found = texts(site, number)
    assert len(found) == 51 and found[-1] == "Further lines are not kept."
    assert len(found[0]) == 400 and found[1:3] == ["b c", "0"]


def test_the_run_gets_one_core_and_none_of_our_secrets(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELDOUT_SECRET", "do not tell")
    monkeypatch.setenv("HELDOUT_SMTP_PASSWORD", "do not tell")
    code = (
        "import os; print(os.environ['OMP_NUM_THREADS'], 'do not tell' in str(os.environ),"
        " os.getpid() == os.getpgid(0), flush=True)\n"
        "while os.getpriority(os.PRIO_PROCESS, 0) < 10: pass\n"  # told when it has begun
        "print('after everything else')"
    )
    number = put(site, wanted())
    with working(site, lambda _, __: python(code)):
        assert over(site, number) == "done"
    assert texts(site, number) == ["1 False True", "after everything else"]


def test_when_the_server_stops_a_run_goes_on_with_the_next_start(site: Site) -> None:
    number = put(site, wanted())
    with working(site, sleeps):
        found = pids(folder_of(site, number))
        until(lambda: texts(site, number))
    assert look(site, number).state == "interrupted" and free_of(found)
    # A part of it had been finished: the progress goes on from there, and the lines as well.
    code = "print('benign_xor  a   1 of 3   0.1   0.1'); print('benign_xor xor seed 2: 0.1 s')"
    with working(site, lambda _, __: python(code)):
        assert over(site, number) == "done"
    job = look(site, number)
    assert (job.kept["done"], job.kept["total"], job.kept["starts"]) == (3, 3, 2)
    assert texts(site, number)[0] == "asleep" and len(texts(site, number)) == 3


@pytest.mark.sqlite_only  # it locks SQLite's file
def test_a_locked_database_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.database.close()
    monkeypatch.setattr(engine_module, "BUSY_MS", 50)
    site = make_site(site.settings)
    code = (
        "import pathlib, sys, time\n"
        "for i in range(10):\n"
        "    print('line', i, flush=True); time.sleep(0.05)\n"
        "    while i == 4 and not pathlib.Path(sys.argv[1], 'go').exists(): time.sleep(0.02)\n"
    )
    number = put(site, wanted())
    with working(site, lambda _, folder: python(code, str(folder))):
        until(lambda: len(texts(site, number)) == 5)
        other = sqlite3.connect(site.database.engine.url.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        leader = look(site, number).pid
        (folder_of(site, number) / "go").touch()
        until(lambda: leader is None or gone(leader))
        time.sleep(0.5)  # its end cannot be written
        assert look(site, number).state == "running" and len(texts(site, number)) == 5
        other.execute("ROLLBACK")
        other.close()
        assert over(site, number) == "done"
    assert texts(site, number) == [f"line {i}" for i in range(10)]
    site.database.close()


def test_an_answer_to_a_write_that_was_lost_doubles_no_line(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = stored.keep, threading.Event()

    def keep(*arguments: object) -> bool:
        made = real(*arguments)  # type: ignore[arg-type]
        if arguments[2] and not failed.is_set():
            failed.set()
            arguments[0].commit()  # type: ignore[attr-defined]
            raise engine_module.StorageError("the answer was lost")
        return made

    monkeypatch.setattr(stored, "keep", keep)
    code = "import time\nfor i in range(30): print(i, flush=True); time.sleep(0.02)"
    number = put(site, wanted())
    with working(site, lambda _, __: python(code)):
        assert over(site, number) == "done"
    assert failed.is_set() and texts(site, number) == [str(i) for i in range(30)]


def test_a_run_that_breaks_its_worker_waits_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = put(site, wanted())
    calls: list[int] = []

    def command(what: Wanted, folder: Path) -> Sequence[str]:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return measures(what, folder)

    with working(site, command):
        until(lambda: look(site, number).state == "interrupted")
        wake(site)
        assert over(site, number) == "done"
    assert look(site, number).kept["lost"] == 1


def test_folders_are_removed_with_old_runs_and_when_they_take_too_much(site: Site) -> None:
    now = time.time()
    site.parts["run limits"] = replace(QUICK, all_bytes=2500)
    for i in range(4):
        number = put(site, wanted(i), now=float(i))
        folder = folder_of(site, number)
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(bytes(1000))
        import os

        os.utime(folder, (now - 100 + i, now - 100 + i))
        if i == 3:
            break  # waits, and is not touched
        with site.database.write() as connection:
            job = stored.claim(connection, float(i), {}, 1)
            assert job and stored.finish(connection, job, "done", (), now - (40 - i) * 86400)
    with site.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET finished_at = {now} WHERE id > 1")
    tidy(site, now)
    left = sorted(p.name for p in (site.settings.data / "runs").iterdir())
    assert left == ["2", "3", "4"]
    site.parts["run limits"] = replace(QUICK, all_bytes=1500)
    tidy(site, now)
    assert sorted(p.name for p in (site.settings.data / "runs").iterdir()) == ["3", "4"]
    assert look(site, 2).over  # its page stays


def test_nothing_of_others_is_ended(site: Site, tmp_path: Path) -> None:
    assert end_marked(tmp_path / "nobody") == 0
    assert recover(site) == []
