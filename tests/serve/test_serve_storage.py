"""Storage: the schema that migrations make is the tables', and changes are whole and counted."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select

from heldout.core.errors import InputError
from heldout.serve.site import Site
from heldout.serve.storage import engine as module
from heldout.serve.storage.database import Database, StorageError
from heldout.serve.storage.tables import metadata, votes


def count(site: Site) -> int:
    with site.database.read() as connection:
        return connection.execute(select(func.count()).select_from(votes)).scalar_one()


def test_a_change_of_this_process_is_known_to_all_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, read, asked, go = site.database, site.database.read, threading.Event(), threading.Event()
    before = base.generation()
    with base.write():
        pass

    @contextmanager
    def slow() -> Iterator[Connection]:
        with read() as connection:
            if threading.current_thread() is slower:
                asked.set()
                assert go.wait(10)
            yield connection

    monkeypatch.setattr(base, "read", slow)
    slower = threading.Thread(target=base.generation)
    slower.start()
    try:
        assert asked.wait(10)
        assert base.generation() == before + 1  # although another one is asking just now
    finally:
        go.set()
        slower.join()
    assert base.generation() == before + 1


def test_migrations_make_the_tables_as_they_are_declared(site: Site) -> None:
    with site.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    site.database.upgrade()  # a second time changes nothing


def test_a_write_that_raises_keeps_nothing(site: Site) -> None:
    before = site.database.generation()
    with pytest.raises(ZeroDivisionError), site.database.write() as connection:
        connection.execute(insert(votes).values(paper="a", voter="b", at=1.0))
        raise ZeroDivisionError
    assert (count(site), site.database.generation()) == (0, before)


def test_every_visible_write_is_counted_and_others_are_not(site: Site) -> None:
    before = site.database.generation()
    with site.database.write() as connection:
        connection.execute(insert(votes).values(paper="a", voter="b", at=1.0))
    assert site.database.generation() == before + 1
    with site.database.write(visible=False) as connection:
        connection.execute(insert(votes).values(paper="a", voter="c", at=1.0))
    assert (count(site), site.database.generation()) == (2, before + 1)


def test_a_database_that_another_program_has_locked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 50)
    made = Database(f"sqlite:///{tmp_path / 'a.db'}")
    made.upgrade()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"), made.write():
        pass
    with made.read() as connection:  # readers do not wait for writers
        assert connection.execute(select(func.count()).select_from(votes)).scalar() == 0
    other.execute("ROLLBACK")
    other.close()
    with made.write():
        pass
    made.close()


def test_a_newer_database_is_refused(site: Site) -> None:
    with site.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match="upgrade Heldout"):
        site.database.upgrade()


@pytest.mark.parametrize("url", ["mysql://a/b", "nothing"])
def test_what_is_no_database_is_named(url: str) -> None:
    with pytest.raises(InputError, match="sqlite:///FILE"):
        Database(url)


def test_the_application_starts_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from heldout.serve.settings import Settings\n"
        "from heldout.serve.app import create_app, make_site\n"
        f"create_app(make_site(Settings(Path({str(tmp_path)!r}))))\n"
        "print([m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
