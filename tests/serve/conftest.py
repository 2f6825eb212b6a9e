"""A site on SQLite, and on PostgreSQL where HELDOUT_TEST_POSTGRES names one, with a client.

Marks: `one_paper` gives a site of one paper, behind a proxy, whose client starts nothing of what
rooms do beside it; `sqlite_only` is for tests to which it is all the same where rows are kept,
`postgres_only` for what only PostgreSQL does; `draws` for those that need true figures.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, create_engine, make_url, text
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.figures import Figures
from heldout.serve.items import Library
from heldout.serve.settings import Settings, secret_of
from heldout.serve.site import Site
from heldout.serve.storage.database import Database

from .mail_server import Mailbox, serving, site_with
from .one_paper import LIBRARY, SECRET
from .requirements import required

POSTGRES = os.environ.get("HELDOUT_TEST_POSTGRES", "")
ABSENT = "HELDOUT_TEST_POSTGRES names no PostgreSQL; .ci/services starts one"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_paper: on a page of one paper")
    config.addinivalue_line("markers", "sqlite_only: it is the same on every database")
    config.addinivalue_line("markers", "postgres_only: what only PostgreSQL does")
    config.addinivalue_line("markers", "draws: with figures as matplotlib makes them")


def pytest_report_header() -> str:
    return f"serve: on SQLite {'and PostgreSQL' if POSTGRES else 'only: ' + ABSENT}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" not in metafunc.fixturenames:
        return
    must = POSTGRES or required("postgres")
    marks = [] if must else [pytest.mark.skip(reason=ABSENT)]
    kinds: list[Any] = ["sqlite", *(["postgresql"] if must else [])]
    if metafunc.definition.get_closest_marker("sqlite_only"):
        kinds = ["sqlite"]
    if metafunc.definition.get_closest_marker("postgres_only"):
        kinds = [pytest.param("postgresql", marks=marks)]
    metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture(autouse=True)
def no_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process that loads a model beside every test; those of meaning set their own."""
    monkeypatch.setenv("HELDOUT_EMBEDDING_MODEL", "none")


@pytest.fixture(autouse=True)
def no_drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that are there at once: to draw one takes a process seconds, for every page."""

    def drawn(figures: Figures, slug: str, digest: str) -> None:
        path = figures.path(slug, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text('"A figure."')
        path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    if not request.node.get_closest_marker("draws"):
        monkeypatch.setattr(Figures, "_draw", drawn)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables: to copy it costs a tenth of making them."""
    path = tmp_path_factory.mktemp("template") / "heldout.db"
    made = Database(f"sqlite:///{path}")
    made.upgrade()
    made.close()
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # it is whole in one file
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[tuple[Engine, str]]:
    """A connection to the server, and the name of a database with all tables to copy."""
    assert POSTGRES, f"PostgreSQL must be there: {ABSENT}"
    server = make_url(POSTGRES).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"template_{uuid.uuid4().hex[:16]}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    made = Database(server.set(database=name).render_as_string(hide_password=False))
    made.upgrade()
    made.close()
    yield engine, name
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, with all tables and nothing in them."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "heldout.db")
        yield f"sqlite:///{tmp_path / 'heldout.db'}"
        return
    engine, template = request.getfixturevalue("postgres_template")
    name = f"t{uuid.uuid4().hex[:16]}"
    with engine.connect() as connection:
        # Copied as files, as before version 15, which takes a third of the time.
        how = "STRATEGY FILE_COPY" if connection.dialect.server_version_info >= (15,) else ""
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} {how}"))
    yield engine.url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    (tmp_path / "data").mkdir(exist_ok=True)
    return Settings(data=tmp_path / "data", database=database_url, secret=SECRET)


@pytest.fixture(scope="session")
def library() -> Library:
    """The shipped papers, read once."""
    return Library.load()


@pytest.fixture
def site(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Settings,
    library: Library,
) -> Iterator[Site]:  # fmt: skip
    database = Database(settings.database_url)
    if request.node.get_closest_marker("one_paper"):
        settings, library = replace(settings, proxies=1), LIBRARY
        monkeypatch.setenv("HELDOUT_COMMENTS", "open")  # although it stands behind a proxy
    made = Site(settings, database, library, secret_of(settings))
    yield made
    if "figures" in made.parts:
        made.parts["figures"].stop()
    database.close()


@pytest.fixture
def app(site: Site) -> FastAPI:
    return create_app(site)


@pytest.fixture
def client(request: pytest.FixtureRequest, site: Site, app: FastAPI) -> Iterator[TestClient]:
    made = TestClient(app, base_url=site.settings.origin, raise_server_exceptions=False)
    if request.node.get_closest_marker("one_paper"):
        yield made
        return
    with made:
        yield made


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail_site(tmp_path: Path, database_url: str, mailbox: Mailbox) -> Iterator[Site]:
    """A site whose mail goes to the mailbox, by SMTP."""
    with serving(mailbox) as port, site_with(tmp_path, database_url, port) as site:
        yield site


def post_form(client: TestClient, path: str, page: str = "/", **fields: str) -> Any:
    """Send a form as a browser does: with the token of a page that was read before."""
    found = re.search(r'name="form_token" value="([0-9a-f]{32})"', client.get(page).text)
    assert found, f"no form on {page}"
    return client.post(path, data={"form_token": found[1], **fields}, follow_redirects=False)
