"""Subscribing by e-mail: asking, confirming by a link, changing how often, leaving.

Nothing happens when a link is only opened, since programs that look for viruses open all of them;
each leads to a page with a button. The one that leaves also works by a plain POST, as mail programs
send it for their own button (RFC 8058).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from heldout.core.errors import InputError
from heldout.serve.mail import addresses, compose, links, periods
from heldout.serve.mail.answers import ALTERED, EXPIRED, VOID, confirmed, left, often, said
from heldout.serve.mail.background import Sender
from heldout.serve.site import Site, site_of
from heldout.serve.storage import subscribers
from heldout.serve.storage.subscribers import Subscriber
from heldout.serve.web.forms import checked_form
from heldout.serve.web.limits import limited
from heldout.serve.web.templating import page, root_of

router = APIRouter(include_in_schema=False)
Form = Annotated[tuple[dict[str, str], str], Depends(checked_form)]


def prepare(site: Site) -> None:
    """Let a thread send mail while the page runs, if there is a mail server.

    Raises:
        InputError: an address of the operator's that cannot be one.
    """
    if not site.settings.mail.host:
        return
    head = compose.letterhead(site.settings, os.environ)
    sender = Sender(site, head, periods.wanted(os.environ))
    site.parts["mail"] = sender
    site.starting.append(sender.start)
    site.leaving.append(sender.ask_to_stop)
    site.stopping.append(sender.stop)


@router.get("/subscribe")
def form(request: Request) -> Response:
    """Show the form."""
    return _form(_offered(request), "", "weekly", "", kept=True)


@router.post("/subscribe")
def ask(request: Request, sent: Form) -> Response:
    """Queue a mail that asks for confirmation; the answer is the same for every address."""
    site = _offered(request)
    email, period = sent[0].get("email", ""), sent[0].get("period", "weekly")
    if period not in periods.PERIODS:
        return _form(site, email, "weekly", "Choose each day or each week.", status=422)
    try:
        address = addresses.checked(email)
    except InputError as error:
        return _form(site, email, period, f"Expected: {error.expected}.", status=422)
    limited(request, "subscribe")
    now, message = time.time(), compose.message_id(site, secrets.token_hex(16), "confirm")
    with site.database.write(visible=False) as connection:
        # Before the address is looked up, so that this says nothing about it.
        if subscribers.asked_lately(connection, now) >= subscribers.PER_HOUR:
            raise HTTPException(
                429, "Too many subscriptions are being asked for. Try again in an hour.",
                {"Retry-After": "3600"},
            )  # fmt: skip
        subscribers.ask(connection, address, period, links.mark(site.secret, address), now, message)
    site.parts["mail"].wake()
    return RedirectResponse(f"{root_of(site)}subscribe/asked", 303)


@router.get("/subscribe/asked")
def asked(request: Request) -> Response:
    """Say that a mail is on its way."""
    return page(
        _offered(request), "subscribe_asked.html.jinja", kept=True, most=subscribers.PER_WEEK
    )


@router.get("/subscribe/confirm")
def confirm_page(request: Request, t: str = "") -> Response:
    """Show the button that confirms."""
    site = site_of(request)
    wanted, answer = _confirming(site, t)
    if answer or wanted is None:
        return answer or said(site, 400, *ALTERED)
    with site.database.read() as connection:
        found = subscribers.by_id(connection, wanted.subscriber)
    if found is None or found.nonce != wanted.nonce:
        return said(site, 410, *VOID, again=True)
    if found.state == "confirmed":
        return confirmed(site, found)
    what = "will get new papers, changed verdicts and what trends"
    return said(
        site, 200, "One more click", f"{found.email} {what}, {often(found.period)}.",
        action="subscribe/confirm", token=t, button="Yes, subscribe",
    )  # fmt: skip


@router.post("/subscribe/confirm")
def confirm(request: Request, sent: Form) -> Response:
    """Confirm; a second time changes nothing."""
    site = site_of(request)
    wanted, answer = _confirming(site, sent[0].get("t", ""))
    if answer or wanted is None:
        return answer or said(site, 400, *ALTERED)
    with site.database.write(visible=False) as connection:
        found = subscribers.confirm(connection, wanted.subscriber, wanted.nonce, time.time())
    if found is None:
        return said(site, 410, *VOID, again=True)
    return confirmed(site, found)


@router.get("/subscribe/period")
def period_page(request: Request, t: str = "") -> Response:
    """Show how often mail comes, to be changed."""
    site = site_of(request)

    def shown(found: Subscriber) -> Response:
        if found.state != "confirmed":
            return said(site, 410, *VOID, again=True)
        return said(
            site, 200, "How often", f"{found.email} gets mail {often(found.period)}.",
            action="subscribe/period", token=t, button="Save", period=found.period,
        )  # fmt: skip

    return _with_lasting(site, "period", t, shown)


@router.post("/subscribe/period")
def change_period(request: Request, sent: Form) -> Response:
    """Change how often mail comes."""
    site, period = site_of(request), sent[0].get("period", "")
    if period not in periods.PERIODS:
        raise HTTPException(422, "Choose each day or each week.")

    def changed(found: Subscriber) -> Response:
        with site.database.write(visible=False) as connection:
            done = subscribers.change(connection, found.id, period)
        if not done:
            return said(site, 410, *VOID, again=True)
        return said(site, 200, "Saved", f"{found.email} now gets mail {often(period)}.")

    return _with_lasting(site, "period", sent[0].get("t", ""), changed)


@router.get("/unsubscribe")
def leave_page(request: Request, t: str = "") -> Response:
    """Show the button that ends a subscription."""
    site = site_of(request)

    def shown(found: Subscriber) -> Response:
        if found.state == "left":
            return left(site)
        return said(
            site, 200, "Leave?", f"{found.email} will get no more mail, and be forgotten here.",
            action=f"unsubscribe?t={t}", button="Unsubscribe",
            fields={"List-Unsubscribe": "One-Click"},
        )  # fmt: skip

    return _with_lasting(site, "leave", t, shown)


async def one_click(request: Request) -> bool:
    """Whether a body says what RFC 8058 asks for, in either of the two forms that it names."""
    try:
        sent = await request.form(max_files=0, max_fields=5)
    except HTTPException:
        raise
    except Exception as error:  # whatever a parser says of bytes that are no form
        raise HTTPException(400, "The form could not be read.") from error
    return sent.get("List-Unsubscribe") == "One-Click"


@router.post("/unsubscribe")
def leave(request: Request, clicked: Annotated[bool, Depends(one_click)], t: str = "") -> Response:
    """End a subscription. Without a form token: the signed link is the proof."""
    site = site_of(request)
    if not clicked:
        raise HTTPException(400, "This address expects List-Unsubscribe=One-Click.")

    def ended(found: Subscriber) -> Response:
        if found.state != "left":
            with site.database.write(visible=False) as connection:
                subscribers.leave(connection, found.id, links.mark(site.secret, found.email))
        return left(site)

    return _with_lasting(site, "leave", t, ended)


def _offered(request: Request) -> Site:
    site = site_of(request)
    if "mail" not in site.parts:
        raise HTTPException(404, "This page sends no mail: its operator has set no mail server.")
    return site


def _form(
    site: Site, email: str, period: str, error: str, *, status: int = 200, kept: bool = False
) -> Response:
    return page(
        site, "subscribe.html.jinja", status=status, kept=kept, email=email, period=period,
        error=error,
    )  # fmt: skip


def _confirming(site: Site, token: str) -> tuple[links.Confirming | None, Response | None]:
    try:
        return links.read_confirm(site.secret, token, time.time()), None
    except links.ExpiredError:
        return None, said(site, 410, *EXPIRED, again=True)
    except links.LinkError:
        return None, said(site, 400, *ALTERED, again=True)


def _with_lasting(
    site: Site, purpose: str, token: str, answer: Callable[[Subscriber], Response]
) -> Response:
    try:
        number = links.number_in(token)
    except links.LinkError:
        return said(site, 400, *ALTERED)
    with site.database.read() as connection:
        found = subscribers.by_id(connection, number)
    # Also when there is no such number: who makes links up learns nothing.
    if found is None or not links.is_of(site.secret, purpose, token, found):
        return said(site, 400, *ALTERED)
    return answer(found)
