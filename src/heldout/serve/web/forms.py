"""Visitors without accounts, and forms that no other site can send in their name.

A visitor is a random number in a signed cookie. Each form carries a token that is signed for that
number (a signed double-submit cookie), so that a page of another site cannot make one up; requests
that a browser says come from elsewhere are refused as well. Tokens differ each time a page is sent,
so that how well a page compresses says nothing about them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from heldout.serve.site import Site, site_of

COOKIE = "heldout_visitor"
FIELD = "form_token"
VOTED = "heldout_voted"
"""Cookie with the papers that a visitor has voted for: only to show it, so it is not signed."""
MARK = f"%%form-{secrets.token_hex(16)}%%"
"""Stands in pages that are kept for many visitors where each one's token belongs; nobody can know
it and write it into a comment, where it would turn into each reader's token."""
_YEAR_S = 365 * 86400
_FIELDS = 20
_LONGEST_PATH = 2000
NOT_OURS = "This form was not made by this page, or is too old. Go back, reload, try again."
"""Said of a form that is refused."""


@dataclass(frozen=True)
class Sent:
    """A form as it came."""

    fields: dict[str, str]
    """Without the token."""
    visitor: str
    """Number of the visitor; empty when the form is not `own`."""
    own: bool
    """Whether this page made the form for this visitor."""
    token: str
    """Of the form; the same when one form is sent twice."""


def signed(secret: bytes, purpose: str, text: str) -> str:
    """Return a 128-bit HMAC-SHA256 of a text, different for each purpose.

    >>> signed(b"k", "form", "a") == signed(b"k", "vote", "a")
    False
    """
    made = hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256)
    return made.hexdigest()[:32]


def new_visitor(secret: bytes) -> str:
    """Return the cookie of a visitor who comes for the first time."""
    number = secrets.token_hex(16)
    return f"{number}.{signed(secret, 'visitor', number)}"


def visitor_in(secret: bytes, cookie: str | None) -> str | None:
    """Return the visitor's number, or None when the cookie is missing or was made up.

    >>> visitor_in(b"k", new_visitor(b"k")) is None, visitor_in(b"k", "1.2") is None
    (False, True)
    """
    number, dot, signature = (cookie or "").partition(".")
    good = dot and hmac.compare_digest(
        signature.encode(), signed(secret, "visitor", number).encode()
    )
    return number if good else None


def form_token(secret: bytes, visitor: str) -> str:
    """Return a token for a visitor's forms: another one each time, all of them good.

    >>> form_token(b"k", "a") == form_token(b"k", "a"), len(form_token(b"k", "a"))
    (False, 32)
    """
    mask = secrets.token_hex(8)
    return mask + signed(secret, "form", f"{mask} {visitor}")[:16]


def token_is_of(secret: bytes, visitor: str, token: str) -> bool:
    """Whether a token was made for a visitor.

    >>> token_is_of(b"k", "a", form_token(b"k", "a")), token_is_of(b"k", "b", form_token(b"k", "a"))
    (True, False)
    """
    expected = signed(secret, "form", f"{token[:16]} {visitor}")[:16]
    return hmac.compare_digest(token[16:].encode(errors="replace"), expected.encode())


def cookie_header(site: Site, cookie: str, name: str = COOKIE) -> str:
    """Return the Set-Cookie value that a visitor gets."""
    secure = "; Secure" if site.settings.origin.startswith("https:") else ""
    path = urlsplit(site.settings.origin).path or "/"
    return f"{name}={cookie}; Path={path}; Max-Age={_YEAR_S}; HttpOnly; SameSite=Lax{secure}"


def from_here(site: Site, request: Request) -> bool:
    """Whether a request comes from this page, or from a program that is no browser."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    own = urlsplit(site.settings.origin)
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.netloc == own.netloc:
        return parts.scheme == own.scheme  # one who can change http must not reach https
    return bool(parts.netloc) and parts.netloc == request.headers.get("host")


async def checked_form(request: Request) -> tuple[dict[str, str], str]:
    """Return the fields of a form and the visitor who sent it.

    Raises:
        HTTPException: 403 for a form that is not of this page, 400 for one that cannot be read.
    """
    sent = await sent_form(request)
    if not sent.own:
        raise HTTPException(403, NOT_OURS)
    return sent.fields, sent.visitor


async def sent_form(request: Request) -> Sent:
    """Return a form of this page, or of a visitor whose cookie or token does not fit any more.

    Only for forms whose text should be given back: nothing may be done with one that is not `own`.

    Raises:
        HTTPException: 403 for a form that another site has sent, 400 for one that cannot be read,
            408 for one that comes too slowly, 413 for a long one, 415 for one of another kind.
    """
    site = site_of(request)
    if not from_here(site, request):
        raise HTTPException(403, NOT_OURS)
    fields = await _fields(request)
    token = fields.pop(FIELD, "")
    visitor = visitor_in(site.secret, request.cookies.get(COOKIE))
    own = visitor is not None and token_is_of(site.secret, visitor, token)
    return Sent(fields, visitor if visitor and own else "", own, token)


async def _fields(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # The other kind of form carries files and names its own character sets; we have no use for it.
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Forms are sent as application/x-www-form-urlencoded.")
    try:
        sent: FormData = await request.form(max_files=0, max_fields=_FIELDS)
    except HTTPException:
        raise
    except Exception as error:  # whatever a parser says of bytes that are no form
        raise HTTPException(400, "The form could not be read.") from error
    made = {name: value for name, value in sent.multi_items() if isinstance(value, str)}
    if any("\0" in text for pair in made.items() for text in pair):
        raise HTTPException(400, "The form could not be read.")
    return made


def local_path(text: str | None, default: str = "/") -> str:
    """Return a path of this page to go back to; the default for anything that leads elsewhere.

    >>> local_path("/papers/a?x=1"), local_path("//evil.org"), local_path("https://evil.org", "/a")
    ('/papers/a?x=1', '/', '/a')
    """
    text = text or default
    plain = all(" " < c < "\x7f" or c >= "\xa0" for c in text) and "\\" not in text
    if not plain or len(text) > _LONGEST_PATH or not text.startswith("/") or text[1:2] == "/":
        return default
    try:
        parts = urlsplit(text)
        text.encode()  # half of a surrogate pair cannot stand in a header
    except ValueError:
        return default
    return default if parts.scheme or parts.netloc else text
