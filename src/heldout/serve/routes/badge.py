"""A paper's badge for a README."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from heldout.serve import feed
from heldout.serve.badge import badge, markdown
from heldout.serve.items import Item
from heldout.serve.site import Site, site_of
from heldout.serve.web.conditional import etag, has_it, unchanged
from heldout.serve.web.templating import templates

router = APIRouter(include_in_schema=False)

LINKS = "badge links"
"""Of `site.parts`: gives a badge's address and its page's for a key, or None where there is none
that a README elsewhere could lead to; absent: those that are served."""
_CACHE = "public, max-age=3600"


def prepare(site: Site) -> None:
    """Let papers' pages show the line for a README."""
    templates().globals["badge_markdown"] = line


def line(site: Site, item: Item) -> str:
    """Return the line that shows a paper's badge in a README; empty where that cannot be."""
    address = f"{site.settings.origin}/papers/{item.key}"
    if LINKS not in site.parts:
        return markdown(f"{address}/badge.svg", address, item.counts)
    links: tuple[str, str] | None = site.parts[LINKS](item.key)
    return markdown(links[0], links[1], item.counts) if links else ""


@router.get("/papers/{key}/badge.svg")
@router.get("/papers/{archive}/{number}/badge.svg")
def show(request: Request, key: str = "", archive: str = "", number: str = "") -> Response:
    """Return the badge."""
    site = site_of(request)
    found = feed.item(site, key or f"{archive}/{number}")
    if found is None:
        raise HTTPException(404, "There is no such paper here.")
    tag = etag(site, "badge", found.key, shipped=True)
    if has_it(request, tag):
        return unchanged(tag, _CACHE)
    headers = {"etag": tag, "cache-control": _CACHE, "access-control-allow-origin": "*"}
    return Response(badge(found.counts), media_type="image/svg+xml", headers=headers)
