"""A connection to SQLite or PostgreSQL, its schema brought up to date, and its change counter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, inspect, select, text, update

from heldout.core.errors import InputError
from heldout.serve.storage.engine import EXPECTED, HINT, StorageError, open_engine, told
from heldout.serve.storage.opened_file import OpenedFile
from heldout.serve.storage.tables import state

__all__ = ["Database", "StorageError", "alembic_config", "insert_unless", "touch"]

_FRESH_S = 1.0  # how old the change counter may be: changes by other processes show after this


class Database:
    """A pool of connections.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        InputError: not such a URL.
        MissingExtraError: PostgreSQL's driver is not installed.

    >>> Database("sqlite://").name
    'sqlite'
    """

    def __init__(self, url: str) -> None:
        self._file = OpenedFile()
        self.engine = open_engine(url, self._file)
        self.name = self.engine.dialect.name
        self._lock = threading.Lock()
        self._generation, self._read_at, self._changes = -1, 0.0, 0

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection to read with.

        Raises:
            StorageError: the database cannot be reached.
        """
        self._check()
        with told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, visible: bool = True) -> Iterator[Connection]:
        """Give a connection whose changes are kept all together at the end, or not at all.

        Args:
            visible: whether a visitor could see the change; pages are then made anew.

        Raises:
            StorageError: the database is gone, locked by another program, or full.
        """
        self._check()
        with told(), self.engine.connect() as plain:
            connection = plain.execution_options(heldout_writes=True)
            with connection.begin():
                yield connection
                if visible:
                    touch(connection)
                self._check()  # what follows would be lost
        if visible:
            with self._lock:
                self._read_at = 0.0
                self._changes += 1

    def _check(self) -> None:
        if said := self._file.lost():
            raise StorageError(said)

    def generation(self) -> int:
        """Return a number that differs after every visible change; at most a second old.

        While the database cannot be reached it is the last one known, so that pages that are
        already made can still be shown.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._read_at < _FRESH_S:
                return self._generation
            if self._read_at:
                self._read_at = now  # old and not wrong: of many requests one asks
            changes = self._changes
        try:
            with self.read() as connection:
                found = connection.execute(
                    select(state.c.value).where(state.c.name == "generation")
                ).scalar()
        except StorageError:
            with self._lock:
                self._read_at = now
                return self._generation
        number = int(found or 0)
        with self._lock:
            if changes == self._changes:  # else it may be the number of before
                self._generation, self._read_at = number, now
        return number

    def upgrade(self) -> None:
        """Make the tables, or bring those of an older version up to date.

        Raises:
            StorageError: the database cannot be reached or written.
            InputError: the database was made by a newer version.
        """
        try:
            if self._is_current():
                return  # without the time that importing Alembic takes
            self._upgrade()
        except StorageError as error:
            raise StorageError(
                f"the database {self.engine.url} cannot be used: {error}\n"
                f"expected: {EXPECTED}\ntry: {HINT}"
            ) from error

    def _upgrade(self) -> None:
        from alembic import command
        from alembic.util import CommandError

        try:
            with told(), self.engine.connect() as plain:
                connection = plain.execution_options(heldout_writes=True)
                with connection.begin():
                    if self.name == "postgresql":
                        _alone(connection)
                    command.upgrade(alembic_config(connection), "head")
        except CommandError as error:
            raise InputError(
                f"database {self.engine.url} ({error})",
                "one that this version of Heldout can read",
                "upgrade Heldout, or choose another --database",
            ) from error

    def _is_current(self) -> bool:
        folder = Path(__file__).with_name("migrations") / "versions"
        newest = max(path.name.partition("_")[0] for path in folder.glob("[0-9]*.py"))
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return bool(found == newest)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def _alone(connection: Connection) -> None:
    # Of servers that start at once on PostgreSQL one makes the tables, and the others wait until
    # they are there, longer than for anything else; SQLite has one writer at a time anyway.
    connection.execute(text("SET LOCAL lock_timeout = '10min'"))
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("heldout upgrade"))))


def touch(connection: Connection) -> None:
    """Count one change, within the transaction of the change itself."""
    connection.execute(
        update(state).where(state.c.name == "generation").values(value=state.c.value + 1)
    )


def insert_unless(connection: Connection, table: Table) -> Any:
    """Return an INSERT that can say what to do with rows that are there: on_conflict_do_....

    Both databases have it, but each in its own dialect. How many rows were new is told by what
    `.returning()` gives back: PostgreSQL's driver gives no row count for such an insert.
    """
    if connection.dialect.name == "postgresql":  # late: a site on SQLite starts without it
        from sqlalchemy.dialects.postgresql import insert as on_postgresql

        return on_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as on_sqlite

    return on_sqlite(table)


def alembic_config(connection: Connection) -> Any:
    """Return Alembic's configuration for the migrations that are shipped beside this file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config
