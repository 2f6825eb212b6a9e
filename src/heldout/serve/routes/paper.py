"""A paper's page, its figure, its BibTeX entry and its records."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from heldout.papers._bibtex import bibtex
from heldout.papers.catalogue import recipe, record_path
from heldout.serve import feed
from heldout.serve.figures import HEIGHT, POLICY, WIDTH, figures
from heldout.serve.interval_plot import HEIGHT as PLOT_HEIGHT
from heldout.serve.interval_plot import WIDTH as PLOT_WIDTH
from heldout.serve.items import Item, without_version
from heldout.serve.paper_page import fetched_bibtex, near, paper_page
from heldout.serve.periods import in_words
from heldout.serve.search.asked import questions
from heldout.serve.site import Site, site_of
from heldout.serve.storage import fetched, trends
from heldout.serve.visitors_part import visitors_part
from heldout.serve.web.templating import page, root_of

router = APIRouter(include_in_schema=False)

_LONGEST_WAIT_S = 60.0
_NONE = "There is no such paper here."


def prepare(site: Site) -> None:
    """Let the drawing of figures end with the page."""
    site.leaving.append(lambda: figures(site).ask_to_stop())
    site.stopping.append(lambda: figures(site).stop())


@router.get("/papers/{slug}/figure.svg")
async def figure(request: Request, slug: str) -> Response:
    """Return a paper's plot; the first visitor waits while it is drawn, and no thread does."""
    site = site_of(request)
    if slug not in site.library.items:
        raise HTTPException(404, _NONE)
    digest = (await asyncio.to_thread(paper_page, site, slug)).digest
    if not digest:
        raise HTTPException(404, "This paper has no figure yet.")
    drawn, until = figures(site), time.monotonic() + _LONGEST_WAIT_S
    path = drawn.path(slug, digest)
    while drawn.ask(slug, digest) and time.monotonic() < until:
        if path.is_file():
            lasting = request.query_params.get("v") == digest
            cached = "public, max-age=31536000, immutable" if lasting else "no-cache"
            headers = {"content-security-policy": POLICY, "cache-control": cached}
            return Response(path.read_bytes(), media_type="image/svg+xml", headers=headers)
        if site.ending or await request.is_disconnected():
            break  # nobody may wait for it, or nobody does
        await asyncio.sleep(0.1)
    raise HTTPException(503, "The figure could not be drawn yet.", {"retry-after": "30"})


@router.get("/papers/{slug}/records/{claim}.json")
def record(request: Request, slug: str, claim: str) -> Response:
    """Return the record of one claim, as it is shipped."""
    if claim not in _recorded(site_of(request), slug):
        raise HTTPException(404, "There is no such record.")
    return FileResponse(
        record_path(slug, claim), media_type="application/json", filename=f"{slug}-{claim}.json"
    )


@router.get("/papers/{slug}/records.json")
def records(request: Request, slug: str) -> Response:
    """Return the records of all claims of a paper, as {claim: record}."""
    names = _recorded(site_of(request), slug)
    if not names:
        raise HTTPException(404, "There are no records of this paper.")
    # The files as they are, since reading and writing a megabyte again would change nothing.
    parts = [f"{json.dumps(n)}: {Path(record_path(slug, n)).read_text('utf-8')}" for n in names]
    return _download("{" + ",\n".join(parts) + "}\n", "application/json", f"{slug}-records.json")


@router.get("/papers/{key}.bib")
@router.get("/papers/{archive}/{number}.bib")
def cite(request: Request, key: str = "", archive: str = "", number: str = "") -> Response:
    """Return a paper's BibTeX entry."""
    site = site_of(request)
    name = key or f"{archive}/{number}"
    found = feed.item(site, name)
    if found is None:
        raise HTTPException(404, _NONE)
    if found.key in site.library.items:
        text = bibtex(recipe(found.key).PAPER)
    else:
        with site.database.read() as connection:
            read = fetched.whole(connection, found.key)
        text = fetched_bibtex(read[0] if read else found)
    return _download(text, "application/x-bibtex", f"{found.key.replace('/', '_')}.bib")


@router.get("/papers/{key}")
@router.get("/papers/{archive}/{number}")
def show(request: Request, key: str = "", archive: str = "", number: str = "") -> Response:
    """Show a paper, by slug or by arXiv number; numbers of the library lead to the slug."""
    site = site_of(request)
    name = key or f"{archive}/{number}"
    if name in site.library.items:
        return _of_library(site, site.library.items[name])
    plain = site.library.slug_of(name) or without_version(name)
    if plain == name:
        return _of_fetched(site, name)
    if feed.item(site, plain) is None:
        raise HTTPException(404, _NONE)
    return RedirectResponse(f"{root_of(site)}papers/{plain}", 308)


def _of_library(site: Site, item: Item) -> Response:
    made = paper_page(site, item.key)
    alt = ""
    if made.digest:
        drawn = figures(site)
        drawn.ask(item.key, made.digest)  # while the page is on its way
        alt = drawn.alt(item.key, made.digest)
    return page(
        site, "paper.html.jinja", kept=True, item=item, made=made, paper=made.paper,
        alt=alt or made.alt, figure_size=(WIDTH, HEIGHT), plot_size=(PLOT_WIDTH, PLOT_HEIGHT),
        related=near(site, item), in_words=in_words, asked=questions(item.key),
        **_counted(site, item), **visitors_part(site, item),
    )  # fmt: skip


def _of_fetched(site: Site, key: str) -> Response:
    if not fetched.is_number(key):
        raise HTTPException(404, _NONE)
    with site.database.read() as connection:
        found = fetched.whole(connection, key)
    if found is None:
        raise HTTPException(404, _NONE)
    item, version, categories = found
    return page(
        site, "fetched.html.jinja", kept=True, item=item, version=version,
        categories=categories, cite=fetched_bibtex(item), related=near(site, item),
        in_words=in_words, **_counted(site, item), **visitors_part(site, item),
    )  # fmt: skip


def _counted(site: Site, item: Item) -> dict[str, Any]:
    with site.database.read() as connection:
        votes, comments = trends.counted(connection, [item.key])
    return {"votes": votes.get(item.key, 0), "commented": comments.get(item.key, 0)}


def _recorded(site: Site, slug: str) -> list[str]:
    return paper_page(site, slug).recorded if slug in site.library.items else []


def _download(text: str, kind: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=kind, headers=headers)
