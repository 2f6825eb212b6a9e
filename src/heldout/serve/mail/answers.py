"""What a visitor is told after a click on a link that was in a mail."""

from __future__ import annotations

from starlette.responses import Response

from heldout.serve.site import Site
from heldout.serve.storage.subscribers import Subscriber
from heldout.serve.web.templating import page

ALTERED = (
    "This link does not work",
    "It is not one that this page has made, or a part of it is missing. Mail programs sometimes "
    "cut long links in two: copy it whole into the address line.",
)
EXPIRED = ("This link is too old", "A link that confirms is good for three days.")
VOID = ("This link is not good any more", "The subscription that it belongs to has ended.")
_CONFIRMED = "You are subscribed"
_GONE = "You have left"


def confirmed(site: Site, found: Subscriber) -> Response:
    """Say that somebody is subscribed."""
    return said(
        site, 200, _CONFIRMED,
        f"{found.email} gets mail {often(found.period)}. Each has a link to leave.",
    )  # fmt: skip


def left(site: Site) -> Response:
    """Say that a subscription has ended; the same for whoever asks twice."""
    return said(
        site, 200, _GONE, "The address is forgotten here, and no more mail will be sent to it.",
        again=True,
    )  # fmt: skip


def said(
    site: Site, status: int, title: str, detail: str, *, action: str = "", token: str = "",
    button: str = "", period: str = "", again: bool = False, fields: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    """Return a page with a title and a sentence, and a button where there is something to do.

    Args:
        site: the site.
        status: of the answer.
        title: what has happened, or may.
        detail: a sentence.
        action: where the button leads; empty: there is none.
        token: of the link.
        button: its words.
        period: chosen so far, where it can be changed.
        again: whether to offer to subscribe, if mail can be sent.
        fields: sent with the button.
    """
    return page(
        site, "subscribe_said.html.jinja", status=status, title=title, detail=detail,
        action=action, token=token, button=button, period=period,
        again=again and "mail" in site.parts, fields=fields or {},
    )  # fmt: skip


def often(period: str) -> str:
    """Return in words how often mail comes.

    >>> often("daily")
    'each day on which there is something new'
    """
    return {"daily": "each day on which there is something new"}.get(
        period, "each week in which there is something new"
    )
