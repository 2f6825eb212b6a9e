"""Papers and records for programs, as JSON; /openapi.json says what comes."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from heldout.core.errors import InputError
from heldout.papers import SLUGS
from heldout.papers.catalogue import claims, papers, record_path
from heldout.serve import machine
from heldout.serve.items import STATUSES
from heldout.serve.machine import Span
from heldout.serve.schemas import Paper, PaperList, Problem, Record, RecordList
from heldout.serve.site import Site, site_of
from heldout.serve.storage.database import StorageError
from heldout.serve.views import SORTS
from heldout.serve.web.conditional import etag, has_it, unchanged
from heldout.serve.web.templating import page

MOST = 100
"""Items that one answer has at most."""
USUAL = 20
"""Items where no limit is given."""
_LONGEST = 300
_FURTHEST = 10**7
_NONE = "There is no such paper here."
_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "A value that no answer fits"},
    503: {"model": Problem, "description": "The database cannot be reached"},
}
_MISSING = {404: {"model": Problem, "description": "No such paper or record"}, **_ERRORS}


def _one_of(names: Sequence[str]) -> tuple[AfterValidator, WithJsonSchema]:
    def check(value: str) -> str:
        if value and value not in names:
            told = {"names": ", ".join(names)}
            raise PydanticCustomError("choice", "should be one of {names}", told)
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": ["", *names]})


def _day(value: str) -> str:
    try:
        if value and not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            raise ValueError
        assert not value or datetime.date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("day", "should be a day such as 2026-11-22") from error
    return value


_EMPTY_OR_DAY = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "maxLength": 0}]
}
_Day = Annotated[str, AfterValidator(_day), WithJsonSchema(_EMPTY_OR_DAY)]
_IS_PACKAGE, _PACKAGES = _one_of(sorted({paper.package for paper in papers()}))
_IS_VERDICT, _VERDICTS = _one_of(STATUSES)
_IS_SORT, _SORTS = _one_of((*SORTS, "relevance"))
_IS_SLUG, _SLUGS = _one_of(SLUGS)
_Limit = Annotated[int, Query(ge=1, le=MOST, description="Items at most.")]
_Offset = Annotated[int, Query(ge=0, le=_FURTHEST, description="Items to pass over.")]


class _Conditional(APIRoute):
    # Entity tags, 304 and the header that lets pages elsewhere read the answers, errors too.
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await _answered(request, answer)
            except (HTTPException, RequestValidationError, InputError, StorageError) as error:
                handlers = request.app.exception_handlers
                kind = next(k for k in type(error).__mro__ if k in handlers)
                response = await handlers[kind](request, error)
            response.headers["access-control-allow-origin"] = "*"
            response.headers["access-control-expose-headers"] = "ETag"
            return response

        return handle


async def _answered(
    request: Request, answer: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    tag = await run_in_threadpool(_tag, request)
    if tag and has_it(request, tag):
        return unchanged(tag)
    response = await answer(request)
    if response.status_code != 200:
        return response
    # What a search finds also depends on how far its index is, so there the answer itself counts.
    tag = tag or etag(site_of(request), bytes(response.body))
    if has_it(request, tag):
        return unchanged(tag)
    response.headers["etag"] = tag
    response.headers["cache-control"] = "no-cache"
    return response


def _tag(request: Request) -> str:
    if request.query_params.get("q", "").strip():
        return ""
    shipped = request.url.path.startswith("/api/records")
    # Trends decay, so they change without a change; see `feed.trending`.
    hour = int(datetime.datetime.now().timestamp() / 600) if "sort" in request.query_params else 0
    return etag(site_of(request), request.url.path, request.url.query, hour, shipped=shipped)


router = APIRouter(route_class=_Conditional, tags=["papers"])
_for_readers = APIRouter(include_in_schema=False)


@router.get("/api/papers", responses=_ERRORS)
def list_papers(
    request: Request,
    q: Annotated[str, Query(max_length=_LONGEST, description="Words or a question.")] = "",
    package: Annotated[
        str, _IS_PACKAGE, _PACKAGES, Query(description="Package of the library.")
    ] = "",
    verdict: Annotated[
        str, _IS_VERDICT, _VERDICTS, Query(description="What at least one claim must be.")
    ] = "",
    since: Annotated[_Day, Query(description="First day.")] = "",
    until: Annotated[_Day, Query(description="Last day.")] = "",
    sort: Annotated[
        str,
        _IS_SORT,
        _SORTS,
        Query(description="relevance with q and newest without it, if not given."),
    ] = "",
    limit: _Limit = USUAL,
    offset: _Offset = 0,
) -> PaperList:
    """Papers by date, by what trends, or by how well they answer `q`."""
    site = site_of(request)
    q = " ".join(q.replace("\0", " ").split())
    order = sort or ("relevance" if q else "newest")
    if not q and order == "relevance":
        order = "newest"
    view = Span(order, package=package, verdict=verdict, since=since, until=until)
    items, total = (
        machine.found(site, q, view, limit, offset) if q
        else machine.listed(site, view, limit, offset)
    )  # fmt: skip
    return PaperList(
        items=machine.paper_items(site, items), total=total,
        next=_next(site, request, limit, offset, total),
    )  # fmt: skip


@router.get("/api/papers/{key}", responses=_MISSING)
def get_paper(request: Request, key: str) -> Paper:
    """A paper with its claims, by slug or arXiv number, with or without version."""
    found = machine.paper(site_of(request), key)
    if found is None:
        raise HTTPException(404, _NONE)
    return found


@router.get("/api/papers/{archive}/{number}", include_in_schema=False)
def get_old_paper(request: Request, archive: str, number: str) -> Paper:
    """Return a paper by an arXiv number of the form before 2007, such as cs/0112017."""
    return get_paper(request, f"{archive}/{number}")


@router.get("/api/records", responses=_ERRORS)
def list_records(
    request: Request,
    slug: Annotated[str, _IS_SLUG, _SLUGS, Query(description="Paper of the library.")] = "",
    verdict: Annotated[
        str, _IS_VERDICT, _VERDICTS, Query(description="Verdict of the record.")
    ] = "",
    limit: _Limit = USUAL,
    offset: _Offset = 0,
) -> RecordList:
    """Shipped records, without the numbers of every seed."""
    site = site_of(request)
    chosen = [
        r for r in machine.record_items(site) if slug in ("", r.slug) and verdict in ("", r.verdict)
    ]
    return RecordList(
        items=chosen[offset : offset + limit], total=len(chosen),
        next=_next(site, request, limit, offset, len(chosen)),
    )  # fmt: skip


@router.get("/api/records/{slug}/{claim}", responses=_MISSING, response_model=Record)
def get_record(request: Request, slug: str, claim: str) -> Response:
    """The record of a claim, as it is shipped."""
    known = slug in site_of(request).library.items and claim in {c.id for c in claims(slug)}
    path = Path(record_path(slug, claim)) if known else None
    if path is None or not path.is_file():
        raise HTTPException(404, "There is no such record.")
    return Response(path.read_bytes(), media_type="application/json")


@_for_readers.get("/api")
def explained(request: Request) -> Response:
    """Show how programs read these pages."""
    site = site_of(request)
    return page(site, "api.html.jinja", kept=True, most=MOST, usual=USUAL, static=False)


router.include_router(_for_readers)


def _next(site: Site, request: Request, limit: int, offset: int, total: int) -> str | None:
    if offset + limit >= total:
        return None
    given = {k: v for k, v in request.query_params.items() if k not in ("limit", "offset")}
    asked = urlencode({**given, "limit": limit, "offset": offset + limit})
    return f"{site.settings.origin}{request.url.path}?{asked}"
