"""Links in mail, which only this page can have made.

The one that confirms is good for three days and until the subscriber leaves. Those that leave, or
change how often mail comes, have no end: they are bound to the address itself, so they work again
after someone left and came back, and never for another address that has the same number.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from heldout.core.errors import HeldoutError
from heldout.serve.storage.subscribers import Subscriber, mark_in
from heldout.serve.web.forms import signed

CONFIRM_S = 3 * 86400
"""How long a link that confirms is good."""
_LONGEST = 120


class LinkError(HeldoutError):
    """A link that was altered, made up, or is too old."""


class ExpiredError(LinkError):
    """A link of ours that is too old."""


@dataclass(frozen=True)
class Confirming:
    """What a link that confirms says."""

    subscriber: int
    """Number."""
    nonce: str
    """That the subscriber must still have."""


def mark(secret: bytes, email: str) -> str:
    """Return a keyed hash of an address: all that stays of one that left.

    >>> mark(b"k", "a@b.org") == mark(b"k", "a@b.org"), len(mark(b"k", "a@b.org"))
    (True, 32)
    """
    return signed(secret, "address", email)


def confirm_token(secret: bytes, subscriber: Subscriber, now: float) -> str:
    """Return what a link that confirms carries; its time counts from now."""
    text = f"{subscriber.id}.{subscriber.nonce}.{int(now) + CONFIRM_S}"
    return f"{text}.{signed(secret, 'confirm', text)}"


def read_confirm(secret: bytes, token: str, now: float) -> Confirming:
    """Read what a link that confirms carries.

    Raises:
        ExpiredError: it is older than three days.
        LinkError: it was altered or made up.

    >>> token = confirm_token(b"k", Subscriber(7, "", "", "", "ab"), now=0)
    >>> read_confirm(b"k", token, now=5)
    Confirming(subscriber=7, nonce='ab')
    """
    text, _, signature = token.rpartition(".")
    parts = text.split(".")
    whole = len(token) <= _LONGEST and token.isascii() and len(parts) == 3
    if not whole or not _same(secret, "confirm", text, signature):
        raise LinkError("altered")
    if now > int(parts[2]):
        raise ExpiredError("too old")
    return Confirming(int(parts[0]), parts[1])


def lasting_token(secret: bytes, purpose: str, subscriber: Subscriber) -> str:
    """Return what a link without an end carries.

    Args:
        secret: of the page.
        purpose: leave or period.
        subscriber: also one that left.
    """
    bound = mark_in(subscriber) or mark(secret, subscriber.email)
    return f"{subscriber.id}.{signed(secret, purpose, f'{subscriber.id} {bound}')}"


def number_in(token: str) -> int:
    """Return the subscriber's number in a link without an end; still to be checked by `is_of`.

    Raises:
        LinkError: there is none.

    >>> number_in("12.ab")
    12
    """
    number = token.partition(".")[0]
    if len(token) > _LONGEST or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise LinkError("altered")
    return int(number)


def is_of(secret: bytes, purpose: str, token: str, subscriber: Subscriber) -> bool:
    """Whether a link without an end was made for this address and purpose.

    >>> one, other = (Subscriber(7, f"{n}@b.org", "", "", "") for n in "ab")
    >>> token = lasting_token(b"k", "leave", one)
    >>> [is_of(b"k", "leave", token, one), is_of(b"k", "leave", token, other)]
    [True, False]
    """
    made = lasting_token(secret, purpose, subscriber)
    return hmac.compare_digest(made.encode(), token.encode(errors="replace"))


def _same(secret: bytes, purpose: str, text: str, signature: str) -> bool:
    return hmac.compare_digest(signed(secret, purpose, text), signature)
