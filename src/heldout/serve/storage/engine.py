"""How connections to SQLite and PostgreSQL are opened, and which of their errors are no mistake."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from heldout.core.errors import HeldoutError, InputError, MissingExtraError
from heldout.serve.storage.opened_file import OpenedFile

EXPECTED = "sqlite:///FILE or postgresql://USER@HOST/NAME"
HINT = "leave --database out for SQLite in the data folder"
BUSY_MS = 5000
"""How long a connection waits for what another one has locked."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# PostgreSQL's states of errors: read-only, a transaction that was ended, damaged, and tables that
# are gone or of somebody else.
_UNUSABLE = ("25006", "25P03", "XX", "42P01", "42501")
# A server whose machine is gone says nothing at all, for hours if it is waited for.
_GIVE_UP = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5,
            "keepalives_count": 2, "tcp_user_timeout": 10_000}  # fmt: skip


class StorageError(HeldoutError):
    """The database is gone, locked, full or damaged; nothing of the change that failed was kept."""


def open_engine(url: str, file: OpenedFile) -> Engine:
    """Return an engine, which connects when it is first used.

    Args:
        url: SQLAlchemy URL of SQLite or PostgreSQL.
        file: is told SQLite's file, if there is one.

    Raises:
        InputError: not such a URL.
        MissingExtraError: PostgreSQL's driver is not installed.

    >>> open_engine("sqlite://", OpenedFile()).dialect.name
    'sqlite'
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError("a database URL that cannot be read", EXPECTED, HINT) from error
    name = parsed.get_backend_name()
    if name == "sqlite":
        memory = parsed.database in (None, "", ":memory:")
        if parsed.database and not memory and not parsed.database.startswith("file:"):
            file.path = Path(parsed.database).absolute()
        return _sqlite(url, file, memory)
    if name != "postgresql":
        raise InputError(f"a {name} database", EXPECTED, HINT)
    return _postgresql(parsed)


@contextmanager
def told() -> Iterator[None]:
    """Turn what a database can do to us into a StorageError; mistakes of ours stay as they are.

    Raises:
        StorageError: the database cannot be used, now or at all.
    """
    try:
        yield
    except OperationalError as error:
        raise StorageError(_first_line(error)) from error
    except DBAPIError as error:
        if not (error.connection_invalidated or _unusable(error.orig)):
            raise
        raise StorageError(_first_line(error)) from error
    except SQLAlchemyError as error:
        if "QueuePool limit" in str(error) or "timeout" in str(error).lower():
            raise StorageError("every connection to the database is in use") from error
        raise


def _unusable(error: Any) -> bool:
    damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
    return damaged or str(getattr(error, "sqlstate", "") or "").startswith(_UNUSABLE)


def _first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), "the database cannot be reached")


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True,
                               pool_timeout=5, connect_args=_GIVE_UP)  # fmt: skip
    except (ImportError, NoSuchModuleError) as error:
        raise MissingExtraError("psycopg", "postgres") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # It would wait for ever for a table that another program has locked, and soon every
        # visitor with it.
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = {BUSY_MS}")
        cursor.close()
        connection.commit()

    return engine


def _sqlite(url: str, file: OpenedFile, memory: bool) -> Engine:
    if memory:  # one connection, or each would see a database of its own
        from sqlalchemy.pool import StaticPool

        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver would begin transactions late, after the first read; see `begin` below.
        connection.isolation_level = None
        cursor = connection.cursor()
        for line in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON",
                     f"busy_timeout={BUSY_MS}"):  # fmt: skip
            cursor.execute(f"PRAGMA {line}")
        cursor.close()
        file.note()  # after the first statement, which is what opens the file

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes would fail at once, and not wait, when
        # another one has written in between.
        writes = connection.get_execution_options().get("heldout_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
