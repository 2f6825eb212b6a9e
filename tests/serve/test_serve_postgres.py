"""A PostgreSQL that stops, is locked, full or read-only: it is said, and nothing is half kept."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text
from starlette.testclient import TestClient

from heldout.serve.site import Site
from heldout.serve.storage import engine as engine_module
from heldout.serve.storage.database import Database, StorageError
from heldout.serve.storage.tables import votes

from .one_paper import PAPER, counts, post, token

pytestmark = [pytest.mark.one_paper, pytest.mark.postgres_only]
Do = Callable[[str], None]


@pytest.fixture
def server(postgres_template: tuple[Engine, str]) -> Engine:
    """Connects to another database of the same server, as its owner would."""
    return postgres_template[0]


@pytest.fixture
def owner(server: Engine, site: Site) -> Do:
    """Does something to the site's database from outside; `here` is its name."""
    name = str(site.database.engine.url.database)

    def do(statement: str) -> None:
        with server.connect() as connection:
            connection.execute(text(statement.replace("here", name)))

    return do


@pytest.fixture
def inside(site: Site) -> Iterator[Do]:
    """Does something in the site's database, as another program."""
    made = Database(site.settings.database_url)

    def do(statement: str) -> None:
        with made.write(visible=False) as connection:
            connection.exec_driver_sql(statement)

    yield do
    made.close()


STOP = "ALTER DATABASE here ALLOW_CONNECTIONS false"
START = "ALTER DATABASE here ALLOW_CONNECTIONS true"
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'here'"


def vote(client: TestClient, mark: str) -> Any:
    return post(client, PAPER + "/vote", {"form_token": mark, "vote": "up"})


def test_a_server_that_stops_is_told_and_found_again(
    site: Site, client: TestClient, owner: Do
) -> None:
    mark = token(client)
    owner(STOP)
    owner(END_ALL)
    made = vote(client, mark)
    assert (made.status_code, made.headers["retry-after"]) == (503, "30")
    assert "Nothing that you sent was kept" in made.text
    made = post(client, PAPER + "/comments", {"form_token": mark, "text": "precious words"})
    assert made.status_code == 503 and "precious words" in made.text
    assert client.get(PAPER).status_code == 200  # as it was shown before
    assert client.get(PAPER + "/comments").status_code == 503
    assert client.get("/about").status_code == 200
    owner(START)
    assert vote(client, mark).status_code == 303
    made = post(client, PAPER + "/comments", {"form_token": mark, "text": "precious words"})
    assert made.status_code == 303 and counts(site) == (1, 1)


def test_connections_that_ended_meanwhile_cost_nobody_an_answer(
    site: Site, client: TestClient, owner: Do
) -> None:
    mark = token(client)
    owner(END_ALL)  # as when the server was started again between two visits
    assert vote(client, mark).status_code == 303
    owner(END_ALL)
    assert client.get(PAPER + "/comments").status_code == 200


def test_a_change_that_is_cut_off_keeps_nothing(site: Site, owner: Do) -> None:
    with pytest.raises(StorageError), site.database.write() as connection:
        connection.execute(insert(votes).values(paper="data_diet", voter="a", at=1.0))
        owner(END_ALL)
    assert counts(site) == (0, 0)


def test_what_another_program_has_locked_is_not_waited_for_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_MS", 50)
    mark = token(client)
    other = Database(site.settings.database_url)
    with other.write(visible=False) as connection:
        connection.exec_driver_sql("LOCK TABLE votes IN ACCESS EXCLUSIVE MODE")
        assert vote(client, mark).status_code == 503
        assert client.get("/about").status_code == 200
    assert vote(client, mark).status_code == 303
    assert counts(site) == (0, 1)
    other.close()


FULL = """
CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$; CREATE TRIGGER no_space BEFORE INSERT ON votes EXECUTE FUNCTION no_space();
"""


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [(FULL, "DROP TRIGGER no_space ON votes"),
     ("ALTER TABLE votes RENAME TO away", "ALTER TABLE away RENAME TO votes")],
)  # fmt: skip
def test_a_full_disk_and_tables_that_are_gone(
    site: Site, client: TestClient, inside: Do, breaks: str, mends: str
) -> None:
    mark = token(client)
    inside(breaks)
    assert vote(client, mark).status_code == 503
    inside(mends)
    assert vote(client, mark).status_code == 303 and counts(site) == (0, 1)


def test_a_server_that_only_reads_shows_pages(site: Site, client: TestClient, owner: Do) -> None:
    mark = token(client)
    owner("ALTER DATABASE here SET default_transaction_read_only = on")
    owner(END_ALL)
    assert vote(client, mark).status_code == 503
    assert client.get(PAPER + "/comments").status_code == 200
    owner("ALTER DATABASE here RESET default_transaction_read_only")
    owner(END_ALL)
    assert vote(client, mark).status_code == 303


def test_a_mistake_of_ours_is_not_taken_for_a_broken_database(site: Site) -> None:
    with pytest.raises(Exception, match="syntax error") as caught, site.database.read() as made:
        made.exec_driver_sql("SELEC 1")
    assert not isinstance(caught.value, StorageError)


def test_servers_that_start_at_once_make_the_tables_once(site: Site, server: Engine) -> None:
    name = f"t{uuid.uuid4().hex[:16]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    url = server.url.set(database=name).render_as_string(hide_password=False)
    made = [Database(url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda one: one.upgrade(), made)) == [None] * 4
        assert all(one.generation() == 0 for one in made)
    finally:
        for one in made:
            one.close()
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
