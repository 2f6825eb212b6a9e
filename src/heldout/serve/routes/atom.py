"""The Atom feed of new papers and changed verdicts."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heldout.serve import atom
from heldout.serve.site import site_of
from heldout.serve.views import View, view_of
from heldout.serve.web.conditional import etag, has_it, unchanged

router = APIRouter(include_in_schema=False)


@router.get("/atom.xml")
def show(request: Request) -> Response:
    """Return the feed, of all papers or of one package or verdict."""
    site = site_of(request)
    packages = tuple(sorted({i.package for i in site.library.items.values()}))
    chosen = {k: request.query_params.get(k, "") for k in ("package", "verdict")}
    asked, _ = view_of(chosen, packages)
    view = View(package=asked.package, verdict=asked.verdict)
    tag = etag(site, "atom", view)
    if has_it(request, tag):
        return unchanged(tag)
    origin = site.settings.origin

    def link(key: str, fragment: str) -> str:
        return f"{origin}/papers/{key}{'#' if fragment else ''}{fragment}"

    found = atom.entries(site, view, link)
    query = urlencode({k: v for k, v in chosen.items() if v})
    itself = f"{origin}/atom.xml{'?' if query else ''}{query}"
    text = atom.xml(site, view, found, f"{origin}/{view.query()}", itself)
    headers = {"etag": tag, "cache-control": "no-cache"}
    return Response(text, media_type="application/atom+xml", headers=headers)
