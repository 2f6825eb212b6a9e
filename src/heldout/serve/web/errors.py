"""Errors as pages that say what to do, and as JSON below /api."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from heldout.core.errors import InputError
from heldout.serve.site import site_of
from heldout.serve.storage.database import StorageError
from heldout.serve.web.templating import page

_LOG = logging.getLogger(__name__)
_TITLES = {
    400: "That could not be read", 403: "Not allowed", 404: "No such page",
    405: "Not possible here", 408: "That took too long", 409: "Not now", 413: "Too long",
    415: "That could not be read", 421: "Not served under that name", 422: "That does not fit",
    429: "Too many at once", 503: "Not available now",
}  # fmt: skip


def add_errors(app: FastAPI) -> None:
    """Let every error answer with a page, or with JSON where a program asks."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InputError, _input)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """Return an error as a page, or as {"detail"} below /api."""
    if request.url.path.startswith("/api"):
        return JSONResponse({"detail": detail}, status, headers)
    title = _TITLES.get(status, "Something went wrong")
    made = page(
        site_of(request), "error.html.jinja", status=status, title=title, detail=detail, code=status
    )
    made.headers.update(headers or {})
    return made


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return problem(request, error.status_code, str(error.detail), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return problem(request, 422, told or "The request does not fit.")


async def _input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    return problem(
        request, 422, f"Given: {error.given}. Expected: {error.expected}. Try: {error.hint}."
    )


async def _storage(request: Request, error: Exception) -> Response:
    _LOG.warning("%s: %s", request.url.path, error)
    detail = (
        "The database cannot be reached, is locked or is full. Nothing that you sent was kept; "
        "papers that were shown before can still be read. Try again in a minute."
    )
    return problem(request, 503, detail, {"retry-after": "30"})


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server's log has the error; a visitor learns nothing of the machine.
    return problem(request, 500, "An error that was not foreseen. The operator's log has it.")
