"""Comments without an account: written, looked at before they are sent, and read page by page."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from heldout.core.errors import InputError
from heldout.serve import feed, history, markdown
from heldout.serve.items import Item
from heldout.serve.jobs.allowed import behind_proxy
from heldout.serve.site import Site, site_of
from heldout.serve.storage import comments
from heldout.serve.storage.database import StorageError
from heldout.serve.web.forms import Sent, sent_form, signed
from heldout.serve.web.limits import limited, network_key
from heldout.serve.web.templating import page, root_of

router = APIRouter(include_in_schema=False)

MODES = ("open", "held", "closed")
"""HELDOUT_COMMENTS: shown at once, shown when the operator says so, or not taken."""
PER_PAGE = 50
"""Comments on one page at most: the newest; a link leads to earlier ones."""
LONGEST_PAGE = 40_000
"""Characters of comments on one page, so that no page of a paper grows heavy."""
_NONE = "There is no such paper here."
_REFUSED = {
    "closed": "No comments are taken at present.",
    "banned": "The operator takes no more comments from you or from your network.",
    "token": "This page had been open for too long, or your browser keeps no cookies for it. "
             "Your text is still here: send it again.",
    "database": "The database cannot be reached, is locked or is full, so this was not kept. "
                "Your text is still here: send it again in a minute.",
}  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """What stands in the form."""

    name: str = ""
    """As typed."""
    text: str = ""
    """As typed."""
    says: str = ""
    """Why it was not kept; empty when nothing is wrong."""
    preview: Markup | None = None
    """How it would look; None: not asked for."""


def prepare(site: Site) -> None:
    """Read the operator's choice, and give papers' pages their comments and their history.

    Raises:
        InputError: a choice that there is not.
    """
    alone = site.settings.loopback and not behind_proxy(site.settings)
    default = "open" if alone else "held"
    mode = os.environ.get("HELDOUT_COMMENTS", "").strip().lower() or default
    if mode not in MODES:
        raise InputError(f"HELDOUT_COMMENTS={mode}", "open, held or closed", default)
    site.parts["comments mode"] = mode
    site.parts.setdefault("paper parts", []).append(part)
    history.prepare(site)


def part(site: Site, item: Item) -> dict[str, Any]:
    """Return what the template `_comments` needs on a paper's page."""
    with site.database.read() as connection:
        found = comments.shown(connection, item.key, PER_PAGE + 1)
    return _names(site, found, Draft())


@router.get("/papers/{key:path}/comments")
def read(request: Request, key: str) -> Response:
    """Show a paper's comments on a page of their own, from the newest or before a given one."""
    site, asked = site_of(request), request.query_params
    item = feed.item(site, key)
    if item is None:
        raise HTTPException(404, _NONE)
    before = asked.get("before", "")
    # Nine digits are more comments than there will be, and fit both databases' numbers.
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else None
    with site.database.read() as connection:
        found = comments.shown(connection, item.key, PER_PAGE + 1, number)
    return page(
        site, "comments.html.jinja", kept="sent" not in asked, item=item,
        waits="sent" in asked, **_names(site, found, Draft()),
    )  # fmt: skip


@router.post("/papers/{key:path}/comments")
def write(request: Request, key: str, sent: Annotated[Sent, Depends(sent_form)]) -> Response:
    """Keep a comment and lead to it, or give the form back with the text and what is wrong."""
    site = site_of(request)
    draft = Draft(sent.fields.get("name", ""), sent.fields.get("text", "").replace("\r\n", "\n"))
    try:
        item = feed.item(site, key)
    except StorageError:
        item = Item(key[:80], key[:80], "", "", "")
        return _again(site, item, draft, 503, _REFUSED["database"])
    if item is None:
        raise HTTPException(404, _NONE)
    if site.parts["comments mode"] == "closed":
        return _again(site, item, draft, 403, _REFUSED["closed"])
    if not sent.own:
        return _again(site, item, draft, 403, _REFUSED["token"])
    name, text = markdown.cleaned_line(draft.name), markdown.cleaned(draft.text)
    wrong = _wrong(name, text)
    if wrong:
        return _again(site, item, draft, 422, wrong)
    look = "preview" in sent.fields
    try:
        limited(request, "preview" if look else "comment")
    except HTTPException as error:
        return _again(site, item, draft, 429, str(error.detail), dict(error.headers or {}))
    if look:
        return _again(site, item, Draft(draft.name, draft.text, "", markdown.html(text)), 200)
    author = f"{signed(site.secret, 'author', sent.visitor)}:{network_key(site, request)[:24]}"
    return _kept(site, item, draft, name, text, author)


def _kept(site: Site, item: Item, draft: Draft, name: str, text: str, author: str) -> Response:
    state = "shown" if site.parts["comments mode"] == "open" else "held"
    try:
        with site.database.read() as connection:
            if comments.is_banned(connection, author):
                return _again(site, item, draft, 403, _REFUSED["banned"])
        with site.database.write(visible=state == "shown") as connection:
            number = comments.add(connection, item.key, name, text, author, time.time(), state)
    except StorageError:
        return _again(site, item, draft, 503, _REFUSED["database"])
    address = f"{root_of(site)}papers/{item.key}"
    here = f"#comment-{number}" if state == "shown" else "/comments?sent=held"
    return RedirectResponse(address + here, 303)


def _wrong(name: str, text: str) -> str:
    if markdown.is_blank(text):
        return "There is no text yet."
    if len(text) > markdown.LONGEST_TEXT:
        return (
            f"The comment has {len(text):,} characters; {markdown.LONGEST_TEXT:,} are the most. "
            "Your text is still here: shorten it and send it again."
        )
    if len(name) > markdown.LONGEST_NAME:
        return f"The name has {len(name)} characters; {markdown.LONGEST_NAME} are the most."
    return ""


def _again(
    site: Site, item: Item, draft: Draft, status: int, says: str = "",
    headers: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    if says:
        draft = Draft(draft.name, draft.text, says, draft.preview)
    if status == 503:
        headers = {"Retry-After": "30"}
    made = page(site, "comment.html.jinja", status=status, item=item, **_names(site, [], draft))
    made.headers.update(headers or {})
    return made


def _names(site: Site, found: list[comments.Comment], draft: Draft) -> dict[str, Any]:
    here = _newest(found)
    return {
        "comments": here, "comments_earlier": len(here) < len(found),
        "comments_mode": site.parts["comments mode"], "comments_now": time.time(), "draft": draft,
        "longest_text": markdown.LONGEST_TEXT, "longest_name": markdown.LONGEST_NAME,
    }  # fmt: skip


def _newest(found: list[comments.Comment]) -> list[comments.Comment]:
    room, first = LONGEST_PAGE, len(found)
    while first > max(0, len(found) - PER_PAGE) and room > 0:
        first -= 1
        room -= len(found[first].text)
    return found[first:]
