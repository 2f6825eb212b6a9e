"""Answers that are sent only when they differ from what the client has."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from heldout.papers.catalogue import RECORDS
from heldout.serve.site import Site

__all__ = ["etag", "has_it", "unchanged"]


def etag(site: Site, *parts: object, shipped: bool = False) -> str:
    """Return a weak entity tag that differs after every visible change.

    Args:
        site: the site.
        parts: what else the answer depends on, such as the address.
        shipped: whether it depends on the shipped papers and records only.
    """
    changes = () if shipped else (site.database.generation(),)
    told = "\0".join(map(str, (_shipped(site), *changes, *parts)))
    return f'W/"{hashlib.sha256(told.encode(errors="replace")).hexdigest()[:24]}"'


def has_it(request: Request, tag: str) -> bool:
    """Whether the client says that it has the answer with this tag (If-None-Match)."""
    asked = request.headers.get("if-none-match", "")
    known = {part.strip().removeprefix("W/") for part in asked.split(",")}
    return tag.removeprefix("W/") in known


def unchanged(tag: str, cache: str = "no-cache") -> Response:
    """Return 304 Not Modified."""
    return Response(status_code=304, headers={"etag": tag, "cache-control": cache})


def _shipped(site: Site) -> str:
    found: str | None = site.parts.get("shipped")
    if found is None:
        made = hashlib.sha256(f"{version('heldout')} {site.settings.origin}".encode())
        for item in site.library.items.values():
            made.update(repr(item).encode())
        for path in sorted(Path(RECORDS).glob("*/*.json")):
            told = path.stat()
            made.update(
                f"{path.parent.name}/{path.name} {told.st_size} {told.st_mtime_ns}".encode()
            )
        found = site.parts["shipped"] = made.hexdigest()
    return found
