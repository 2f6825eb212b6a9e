"""A site on SQLite, and on PostgreSQL where HELDOUT_TEST_POSTGRES names one, with a client."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from starlette.testclient import TestClient

from heldout.serve.app import create_app, make_site
from heldout.serve.settings import Settings
from heldout.serve.site import Site

POSTGRES = os.environ.get("HELDOUT_TEST_POSTGRES", "")
KINDS = ["sqlite", *(["postgresql"] if POSTGRES else [])]


@pytest.fixture(autouse=True)
def no_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process that loads a model beside every test; those of meaning set their own."""
    monkeypatch.setenv("HELDOUT_EMBEDDING_MODEL", "none")


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'heldout.db'}"
        return
    name = f"t{uuid.uuid4().hex[:16]}"
    server = make_url(POSTGRES).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(data=tmp_path / "data", database=database_url, secret="test secret 0123456789")


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = make_site(settings)
    yield made
    made.database.close()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(
        create_app(site), base_url=site.settings.origin, raise_server_exceptions=False
    ) as made:
        yield made


def post_form(client: TestClient, path: str, page: str = "/", **fields: str) -> Any:
    """Send a form as a browser does: with the token of a page that was read before."""
    found = re.search(r'name="form_token" value="([0-9a-f]{32})"', client.get(page).text)
    assert found, f"no form on {page}"
    return client.post(path, data={"form_token": found[1], **fields}, follow_redirects=False)
