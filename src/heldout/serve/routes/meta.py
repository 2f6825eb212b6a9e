"""For crawlers and for those who watch over the server: sitemap, robots.txt, health."""

from __future__ import annotations

from xml.sax.saxutils import escape

from fastapi import APIRouter
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from heldout.serve.site import Site, site_of
from heldout.serve.storage import fetched, news
from heldout.serve.storage.database import StorageError
from heldout.serve.storage.tables import state
from heldout.serve.web.conditional import etag, has_it, unchanged
from heldout.serve.web.templating import root_of

router = APIRouter(include_in_schema=False)

PART = 20_000
"""Fetched papers in one part of the sitemap; the format allows 50,000 addresses."""
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
_SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


@router.get("/robots.txt")
def robots(request: Request) -> Response:
    """Say what crawlers need not read: searches and runs are made for one visitor."""
    site = site_of(request)
    root = root_of(site)
    closed = "".join(f"Disallow: {root}{path}\n" for path in ("search", "runs", "papers/*/runs"))
    text = f"User-agent: *\n{closed}\nSitemap: {site.settings.origin}/sitemap.xml\n"
    return PlainTextResponse(text, headers={"cache-control": "public, max-age=3600"})


@router.get("/sitemap.xml")
def sitemap(request: Request) -> Response:
    """Return the index of the sitemap: our own pages, and the fetched papers in parts."""
    site = site_of(request)
    tag = etag(site, "sitemap")
    if has_it(request, tag):
        return unchanged(tag)
    with site.database.read() as connection:
        parts = -(-news.count(connection) // PART)
    at = escape(f"{site.settings.origin}/sitemaps")
    body = "".join(f"<sitemap><loc>{at}/{n}.xml</loc></sitemap>\n" for n in range(parts + 1))
    return _xml(f"<sitemapindex {_SPACE}>\n{body}</sitemapindex>\n", tag)


@router.get("/sitemaps/{number}.xml")
def sitemap_part(request: Request, number: str) -> Response:
    """Return one part: 0 is our own pages, the others fetched papers in the order they came."""
    site = site_of(request)
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise HTTPException(404, "There is no such part of the sitemap.")
    tag = etag(site, "sitemap", number)
    if has_it(request, tag):
        return unchanged(tag)
    paths = _paths(site, int(number))
    if not paths:
        raise HTTPException(404, "There is no such part of the sitemap.")
    at = escape(site.settings.origin)
    body = "".join(f"<url><loc>{at}/{path}</loc></url>\n" for path in paths)
    return _xml(f"<urlset {_SPACE}>\n{body}</urlset>\n", tag)


@router.get("/healthz")
def health(request: Request) -> Response:
    """Say whether the database answers."""
    status, says = 200, "ok"
    try:
        with site_of(request).database.read() as connection:
            connection.execute(select(state.c.value).limit(1)).first()
    except StorageError:
        status, says = 503, "the database cannot be reached"
    return JSONResponse({"status": says}, status, {"cache-control": "no-store"})


def _paths(site: Site, number: int) -> list[str]:
    if number == 0:
        return ["", "about", "api", *(f"papers/{slug}" for slug in sorted(site.library.items))]
    with site.database.read() as connection:
        keys = news.keys(connection, (number - 1) * PART, PART)
    # Only such as can be numbers: they stand in the file as they are.
    return [f"papers/{key}" for key in keys if fetched.is_number(key)]


def _xml(body: str, tag: str) -> Response:
    headers = {"etag": tag, "cache-control": "no-cache"}
    return Response(_HEAD + body, media_type="application/xml", headers=headers)
