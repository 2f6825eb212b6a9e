"""Votes without an account: one for each visitor and paper, given and taken back by one button."""

from __future__ import annotations

import re
import time
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from heldout.serve import feed
from heldout.serve.site import Site, site_of
from heldout.serve.storage import votes
from heldout.serve.web.forms import (
    NOT_OURS,
    VOTED,
    Sent,
    cookie_header,
    local_path,
    sent_form,
    signed,
)
from heldout.serve.web.limits import counter_of, limited
from heldout.serve.web.templating import root_of

router = APIRouter(include_in_schema=False)

_TWICE_S = 10
"""A form that comes again within this time was sent twice, and counts once."""
_MOST_SHOWN = 60
"""Papers that the cookie names; a browser keeps 4 kB."""
_KEY = re.compile(r"[\w./-]{1,80}", re.ASCII)


@router.post("/papers/{key:path}/vote")
def vote(request: Request, key: str, sent: Annotated[Sent, Depends(sent_form)]) -> Response:
    """Give a vote, or take it back: `vote` is "up", "back", or left out for the other of the two.

    The answer leads back to where the form was.
    """
    site = site_of(request)
    if not sent.own:
        raise HTTPException(403, NOT_OURS)
    found = feed.item(site, key)
    if found is None:
        raise HTTPException(404, "There is no such paper here.")
    paper = found.key
    wish, voter = sent.fields.get("vote", ""), signed(site.secret, "voter", sent.visitor)
    with site.database.read() as connection:
        given = votes.has(connection, paper, voter)
    up = wish == "up" if wish else not given
    if not wish and counter_of(site).hit(1, _TWICE_S, "same form", sent.token, paper):
        up = given
    if up != given:
        limited(request, "vote")
        _change(site, request, paper, voter, up)
    answer = RedirectResponse(
        local_path(sent.fields.get("back"), f"{root_of(site)}papers/{paper}"), 303
    )
    answer.headers.append("set-cookie", cookie_header(site, _voted(request, paper, up), VOTED))
    return answer


def _change(site: Site, request: Request, paper: str, voter: str, up: bool) -> None:
    if up:
        # Whoever throws the cookie away is a new visitor, but on the same network.
        limited(request, "vote on a paper", paper)
    with site.database.write() as connection:
        if up:
            votes.cast(connection, paper, voter, time.time())
        else:
            votes.withdraw(connection, paper, voter)


def _voted(request: Request, paper: str, up: bool) -> str:
    known = [k for k in request.cookies.get(VOTED, "").split("|") if _KEY.fullmatch(k)]
    rest = [k for k in known if k != paper]
    return "|".join([*rest, paper][-_MOST_SHOWN:] if up else rest)
