"""Styles, scripts and fonts, under an address that has their hash."""

from __future__ import annotations

import mimetypes

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from heldout.serve.web.templating import ASSETS, asset

router = APIRouter(include_in_schema=False)


@router.get("/assets/{digest}/{name}")
def file(digest: str, name: str) -> Response:
    """Return one of our files; a hash of an older version leads to the newest."""
    known = {path.name: path for path in ASSETS.iterdir() if path.is_file()}
    if name not in known:
        raise HTTPException(404, "There is no such file.")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    same = asset(name) == f"assets/{digest}/{name}"
    lasting = "public, max-age=31536000, immutable" if same else "no-cache"
    return Response(known[name].read_bytes(), media_type=kind, headers={"cache-control": lasting})
