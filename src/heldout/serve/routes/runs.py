"""Runs of a paper's claims that a visitor asks for, and what comes of them."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from heldout.serve.items import Item
from heldout.serve.jobs import worker
from heldout.serve.jobs.allowed import bearer, behind_proxy, is_local, may
from heldout.serve.jobs.queue import MOST_SEEDS, ask, choices, limits_of, wanted_of
from heldout.serve.jobs.stream import Events, last_seen, streams_of
from heldout.serve.jobs.view import View, as_json, effect, iso, looked_up, rows, view, when
from heldout.serve.measured import time_of
from heldout.serve.site import Site, site_of
from heldout.serve.storage import jobs as stored
from heldout.serve.web.errors import problem
from heldout.serve.web.forms import sent_form
from heldout.serve.web.limits import network_key
from heldout.serve.web.templating import page, root_of

router = APIRouter()

_SHOWN = 50
_LINES = 200
_MOST_LINES = 500
_ELSEWHERE = (
    "Runs are started on the machine that serves this page, or with the operator's token. "
    "Anywhere else the same is measured by: {command}"
)
_NOT_OURS = "This form was not made by this page, or is too old. Go back, reload, try again."


def prepare(site: Site) -> None:
    """Let workers start and end with the page, and papers offer their runs."""
    limits_of(site)
    site.starting.append(lambda: worker.begin(site))
    site.leaving.append(lambda: worker.ask_to_finish(site))
    site.stopping.append(lambda: worker.finish(site))
    site.parts.setdefault("paper parts", []).append(form_part)


def form_part(site: Site, item: Item) -> dict[str, Any]:
    """Return what the form on a paper's page needs, which is the same for all visitors."""
    offered = choices(item.key) if item.key in site.library.items else []
    # With a token set, some come from elsewhere, through a proxy that we may know nothing of.
    own = site.settings.loopback and not behind_proxy(site.settings) and not site.settings.token
    return {"run_form": {
        "choices": offered, "most": MOST_SEEDS, "slug": item.key, "time_of": time_of, "level": 3,
        "open": own or bool(site.settings.token), "token": not own,
    }}  # fmt: skip


@router.get("/runs", include_in_schema=False)
def recent(request: Request) -> Response:
    """Show the newest runs."""
    return _listed(request, None)


@router.get("/papers/{slug}/runs", include_in_schema=False)
def of_paper(request: Request, slug: str) -> Response:
    """Show the newest runs of a paper, and the form for another one."""
    return _listed(request, _item(site_of(request), slug))


@router.post("/papers/{slug}/runs", include_in_schema=False)
async def ask_for(request: Request, slug: str) -> Response:
    """Put a run in the queue and lead to its page."""
    site, fields = await _fields(request)
    item = _item(site, slug)
    wanted = wanted_of(item.key, fields)
    if not may(site, request, fields):
        command = f"heldout reproduce {slug} --scale {wanted.scale} --seeds {wanted.seeds}"
        return problem(request, 403, _ELSEWHERE.format(command=command))
    try:
        number = await run_in_threadpool(ask, site, wanted)
    except stored.QueueFull:
        many = limits_of(site).waiting
        told = f"{many} runs are waiting already. Ask again when some of them are over."
        return problem(request, 429, told, {"retry-after": "60"})
    return RedirectResponse(f"{root_of(site)}runs/{number}", 303)


@router.get("/runs/{number}", include_in_schema=False)
def show(request: Request, number: str) -> Response:
    """Show a run."""
    site = site_of(request)
    seen = _found(site, number)
    with site.database.read() as connection:
        last = stored.last_line(connection, seen.job.id)
        lines = stored.lines(connection, seen.job.id, last - _LINES, _LINES)
    return page(
        site, "run.html.jinja", run=seen, job=seen.job, rows=rows(seen.job), lines=lines,
        last=last, when=when, effect=effect, time_of=time_of, iso=iso,
        local=is_local(site, request),
    )  # fmt: skip


@router.post("/runs/{number}/cancel", include_in_schema=False)
async def cancel(request: Request, number: str) -> Response:
    """End a run, and lead back to its page."""
    site, fields = await _fields(request)
    seen = await run_in_threadpool(_found, site, number)
    if not may(site, request, fields):
        told = "Runs are ended on the machine that serves this page, or with the operator's token."
        return problem(request, 403, told)
    await run_in_threadpool(_cancelled, site, seen.job.id)
    return RedirectResponse(f"{root_of(site)}runs/{seen.job.id}", 303)


@router.get("/runs/{number}/events", include_in_schema=False)
async def events(request: Request, number: str) -> Response:
    """Tell of a run as it goes on."""
    site = site_of(request)
    seen = await run_in_threadpool(_found, site, number)
    who = network_key(site, request)
    if not streams_of(site).enter(who):
        told = "As many pages as possible are told of progress already; reload to see it."
        return problem(request, 429, told, {"retry-after": "5"})
    return Events(site, seen.job.id, last_seen(request), who)


@router.get("/api/runs/{number}", summary="A run that was asked for", tags=["runs"],
            responses={404: {"description": "There is no such run."}})  # fmt: skip
def for_programs(request: Request, number: str, after: str = "-1") -> dict[str, Any]:
    """Return a run: its state, how far it is, its results, and its lines above `after`."""
    site = site_of(request)
    seen = _found(site, number)
    plain = after.isascii() and after.isdigit() and len(after) < 10
    with site.database.read() as connection:
        first = int(after) if plain else -1
        lines = stored.lines(connection, seen.job.id, first, _MOST_LINES)
    return {**as_json(seen), "lines": [{"number": n, "text": text} for n, text in lines]}


async def _fields(request: Request) -> tuple[Site, dict[str, str]]:
    # A page of another site can send neither our form's token nor a header of its choice.
    sent = await sent_form(request)
    if not sent.own and not bearer(request):
        raise HTTPException(403, _NOT_OURS)
    return site_of(request), sent.fields


def _item(site: Site, slug: str) -> Item:
    item = site.library.items.get(slug)
    if item is None:
        raise HTTPException(404, "There is no such paper here.")
    return item


def _found(site: Site, number: str) -> View:
    plain = number.isascii() and number.isdigit() and len(number) < 16
    seen = looked_up(site, int(number)) if plain else None
    if seen is None:
        raise HTTPException(404, "There is no such run, or it is so old that it was removed.")
    return seen


def _cancelled(site: Site, number: int) -> None:
    with site.database.write(visible=False) as connection:
        stored.cancel(connection, number, time.time())


def _listed(request: Request, item: Item | None) -> Response:
    site = site_of(request)
    with site.database.read() as connection:
        found = stored.recent(connection, _SHOWN, item.key if item else None)
        seen = [
            view(site, j, stored.ahead(connection, j) if j.state in stored.WAITING else 0)
            for j in found
        ]
    form: dict[str, Any] = form_part(site, item) if item else {"run_form": None}
    if item:
        form["run_form"]["level"] = 2
    if item and is_local(site, request):
        form["run_form"] |= {"open": True, "token": False}
    return page(site, "runs.html.jinja", runs=seen, item=item, when=when, iso=iso, **form)
