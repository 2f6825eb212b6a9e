"""The API from its own description: made-up requests, right and wrong ones, and its servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.papers import SLUGS
from heldout.papers.catalogue import claims
from heldout.serve.app import create_app
from heldout.serve.site import Site
from heldout.serve.storage.tables import fetched

HERE = {"host": "127.0.0.1"}
FEW = settings(
    max_examples=20, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
RECORDS = [(slug, claim.id) for slug in SLUGS for claim in claims(slug)]


@pytest.fixture
def schema(client: TestClient, site: Site) -> Any:
    row = {"version": 1, "title": "A \u202e title", "abstract": "<b>memorizing", "authors": 0,
           "names": "", "organization": "", "categories": "", "source": "arxiv",
           "fetched_at": 1.0, "published": "2025-01-02"}  # fmt: skip
    keys = ["2501.00001", "math.GT/0309136", "cs/0112017"]
    with site.database.write() as connection:
        connection.execute(insert(fetched), [row | {"arxiv": key} for key in keys])
    return schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=HERE)


def statuses(operation: Any, mode: GenerationMode) -> set[int]:
    found = set()

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        answer = case.call(headers=HERE)
        found.add(answer.status_code)
        case.validate_response(answer)

    check()
    return found


def test_every_operation_answers_as_it_says(schema: Any) -> None:
    seen: dict[tuple[str, str], set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        seen[operation.label, "right"] = statuses(operation, GenerationMode.POSITIVE)
        if list(operation.query):  # any text is a name in a path, so none is wrong there
            seen[operation.label, "wrong"] = statuses(operation, GenerationMode.NEGATIVE)
    assert max(set().union(*seen.values())) < 500
    assert {label for label, _ in seen} >= {
        "GET /api/papers", "GET /api/papers/{key}", "GET /api/records",
        "GET /api/records/{slug}/{claim}", "GET /api/runs/{number}",
    }  # fmt: skip
    for label in ("GET /api/papers", "GET /api/records"):
        assert seen[label, "right"] == {200} and 422 in seen[label, "wrong"]


def test_what_there_is_fits_its_description(schema: Any) -> None:
    paper, record = (schema[p]["GET"] for p in ("/api/papers/{key}", "/api/records/{slug}/{claim}"))
    keys = [*SLUGS, "2501.00001", "2501.00001v7", "math.GT/0309136", "2107.07075v3"]
    for key in keys:
        assert paper.Case(path_parameters={"key": key}).call_and_validate(
            headers=HERE
        ).status_code in (200, 404)

    @FEW
    @given(st.sampled_from(RECORDS))
    def check(name: tuple[str, str]) -> None:
        case = record.Case(path_parameters=dict(zip(("slug", "claim"), name, strict=True)))
        assert case.call_and_validate(headers=HERE).status_code in (200, 404)

    check()


def test_it_says_where_it_is(client: TestClient, site: Site) -> None:
    assert client.get("/openapi.json").json()["servers"] == [{"url": "http://127.0.0.1:8000"}]
    public = replace(site.settings, url="https://a.org/p")
    own = TestClient(
        create_app(replace(site, settings=public, parts={}, starting=[], stopping=[])),
        base_url="https://a.org",
    )
    told = own.get("/openapi.json").json()
    assert told["servers"] == [{"url": "https://a.org/p"}] and "/api/papers" in told["paths"]
