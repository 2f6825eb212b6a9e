"""Messages: a confirmation and a digest, as text and as HTML, with headers that cannot be broken.

Header values go through `email.message.EmailMessage`, which refuses line breaks; titles of papers,
which anybody may have written, are cleaned of control characters before.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from typing import Any

from heldout.serve.items import STATUSES
from heldout.serve.mail import addresses, links
from heldout.serve.mail.digest import Digest
from heldout.serve.periods import in_words
from heldout.serve.settings import Settings
from heldout.serve.site import Site
from heldout.serve.storage.fetched import shortened
from heldout.serve.storage.subscribers import Subscriber
from heldout.serve.web.forms import signed
from heldout.serve.web.templating import render

_SHORT = 300
_LONGEST_DOMAIN = 60
_AS_THEY_ARE = ("list-unsubscribe", "message-id")


class _Policy(EmailPolicy):
    # A long address without blanks would be cut into encoded words, which no reader of these two
    # headers decodes. Lines may have 998 characters.
    def fold(self, name: str, value: str) -> str:
        if name.lower() in _AS_THEY_ARE and value.isascii() and value.isprintable():
            return f"{name}: {value}{self.linesep}".replace(">, <", f">,{self.linesep} <")
        folded: str = super().fold(name, value)
        return folded

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.lower() in _AS_THEY_ARE:
            return self.fold(name, value).encode()
        folded: bytes = super().fold_binary(name, value)
        return folded


@dataclass(frozen=True)
class Letterhead:
    """What every message of a page has in its head."""

    sender: Address
    """From HELDOUT_MAIL_FROM."""
    reply_to: str = ""
    """HELDOUT_MAIL_REPLY_TO; empty: answers go to the sender."""
    leave_at: str = ""
    """HELDOUT_MAIL_UNSUBSCRIBE, an address where wishes to leave are read; empty: by link only."""


def letterhead(settings: Settings, environment: Mapping[str, str]) -> Letterhead:
    """Return the head for a page's mail.

    Raises:
        InputError: an address that cannot be one.
    """
    optional = [
        addresses.checked(value) if (value := environment.get(name, "").strip()) else ""
        for name in ("HELDOUT_MAIL_REPLY_TO", "HELDOUT_MAIL_UNSUBSCRIBE")
    ]
    return Letterhead(addresses.sender(settings.mail.sender), *optional)


def message_id(site: Site, who: str, issue: str) -> str:
    """Return the Message-ID of a delivery: the same at every attempt, so that one that arrives
    twice can be told, and nothing about the subscriber.

    Args:
        site: the site.
        who: number of the subscriber, or anything that stands for one confirmation.
        issue: name of the issue.
    """
    domain = addresses.sender(site.settings.mail.sender).domain
    if len(domain) > _LONGEST_DOMAIN:
        domain = f"{hashlib.sha256(domain.encode()).hexdigest()[:16]}.invalid"
    return f"<{signed(site.secret, 'message', f'{who} {issue}')[:24]}@{domain}>"


def confirmation(
    site: Site, head: Letterhead, subscriber: Subscriber, message_id: str, now: float
) -> EmailMessage:
    """Return the mail that asks whether an address wants the digest.

    To one that has it already, it says so, with the links to change or end it.
    """
    values = _links(site, subscriber)
    values["known"] = subscriber.state == "confirmed"
    token = links.confirm_token(site.secret, subscriber, now)
    values["confirm"] = f"{site.settings.origin}/subscribe/confirm?t={token}"
    values["until"] = in_words(_day(now + links.CONFIRM_S))
    subject = "You subscribe to Heldout" if values["known"] else "Please confirm: Heldout by e-mail"
    return _message(site, head, subscriber.email, subject, "confirm", message_id, now, values)


def digest(
    site: Site, head: Letterhead, subscriber: Subscriber, made: Digest, message_id: str, now: float
) -> EmailMessage:
    """Return an issue for one subscriber, with the headers by which a mail program can leave."""
    values = {**_links(site, subscriber), **digest_values(made)}
    message = _message(
        site, head, subscriber.email, made.subject, "digest", message_id, now, values
    )
    ways = [f"<{values['leave']}>"]
    if head.leave_at:
        ways.append(f"<mailto:{head.leave_at}?subject=unsubscribe>")
    message["List-Unsubscribe"] = ", ".join(ways)
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["List-Id"] = f"Heldout {made.period} <{made.period}.{head.sender.domain}>"
    return message


def digest_values(made: Digest) -> dict[str, Any]:
    """Return what the templates of a digest show."""
    return {
        "digest": made, "statuses": STATUSES, "in_words": in_words, "clean": clean,
        "short": lambda text: shortened(clean(text), _SHORT), "subject": made.subject,
    }  # fmt: skip


def preview(site: Site, made: Digest) -> tuple[str, str]:
    """Return an issue as text and as HTML, with links that lead to the subscribe page."""
    page = f"{site.settings.origin}/subscribe"
    values = {"leave": page, "change": page, "origin": site.settings.origin}
    values |= digest_values(made)
    return tuple(render(site, f"mail/digest.{kind}.jinja", **values) for kind in ("txt", "html"))  # type: ignore[return-value]


def clean(text: str) -> str:
    """Return a text in one line without control characters, or such that turn its direction.

    >>> clean("One\\r\\nBcc: two\\x00 ")
    'One Bcc: two'
    """
    kept = (c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return " ".join("".join(kept).split())


def _message(
    site: Site, head: Letterhead, to: str, subject: str, template: str, message_id: str,
    now: float, values: dict[str, Any],
) -> EmailMessage:  # fmt: skip
    message = EmailMessage(policy=_Policy(linesep="\r\n", raise_on_defect=False))
    message["From"] = head.sender
    message["To"] = Address(addr_spec=to)
    if head.reply_to:
        message["Reply-To"] = Address(addr_spec=head.reply_to)
    message["Subject"] = clean(subject)
    message["Date"] = format_datetime(datetime.fromtimestamp(int(now), UTC))
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    values = {**values, "subject": subject}
    text = render(site, f"mail/{template}.txt.jinja", **values)
    html = render(site, f"mail/{template}.html.jinja", **values)
    # Quoted-printable keeps lines short and in ASCII, for servers that take nothing else.
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    return message


def _links(site: Site, subscriber: Subscriber) -> dict[str, Any]:
    origin = site.settings.origin
    leave = links.lasting_token(site.secret, "leave", subscriber)
    change = links.lasting_token(site.secret, "period", subscriber)
    return {
        "origin": origin,
        "leave": f"{origin}/unsubscribe?t={leave}",
        "change": f"{origin}/subscribe/period?t={change}",
        "period": subscriber.period,
    }


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
