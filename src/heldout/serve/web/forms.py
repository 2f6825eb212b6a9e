"""Visitors without accounts, and forms that no other site can send in their name.

A visitor is a random number in a signed cookie. Each form carries a token that is signed for that
number (a signed double-submit cookie), so that a page of another site cannot make one up; requests
that a browser says come from elsewhere are refused before that.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from heldout.serve.site import Site, site_of

COOKIE = "heldout_visitor"
FIELD = "form_token"
MARK = "%%form-token%%"
"""Stands in pages that are kept for many visitors where each one's token belongs."""
_YEAR_S = 365 * 86400
_FIELDS = 20


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
    """Return the token for a visitor's forms."""
    return signed(secret, "form", visitor)


def cookie_header(site: Site, cookie: str) -> str:
    """Return the Set-Cookie value that a visitor gets."""
    secure = "; Secure" if site.settings.origin.startswith("https:") else ""
    path = urlsplit(site.settings.origin).path or "/"
    return f"{COOKIE}={cookie}; Path={path}; Max-Age={_YEAR_S}; HttpOnly; SameSite=Lax{secure}"


def from_here(site: Site, request: Request) -> bool:
    """Whether a request comes from this page, or from a program that is no browser."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    parts = urlsplit(origin)
    return parts.netloc in (urlsplit(site.settings.origin).netloc, request.headers.get("host"))


async def checked_form(request: Request) -> tuple[dict[str, str], str]:
    """Return the fields of a form and the visitor who sent it.

    Raises:
        HTTPException: 403 for a form that is not of this page, 400 for one that cannot be read.
    """
    site = site_of(request)
    fields = await _fields(request)
    visitor = visitor_in(site.secret, request.cookies.get(COOKIE))
    expected = form_token(site.secret, visitor or "").encode()
    own = visitor and hmac.compare_digest(fields.pop(FIELD, "").encode(), expected)
    if not own or not from_here(site, request):
        raise HTTPException(
            403, "This form was not made by this page, or is too old. Go back, reload, try again."
        )
    return fields, visitor or ""


async def _fields(request: Request) -> dict[str, str]:
    try:
        sent: FormData = await request.form(max_files=0, max_fields=_FIELDS)
    except HTTPException:
        raise
    except Exception as error:  # whatever a parser says of bytes that are no form
        raise HTTPException(400, "The form could not be read.") from error
    made: dict[str, Any] = dict(sent)
    if any(not isinstance(v, str) or "\0" in v for v in made.values()):
        raise HTTPException(400, "The form could not be read.")
    return made


def local_path(text: str | None) -> str:
    """Return a path of this page to go back to; "/" for anything that leads elsewhere.

    >>> local_path("/papers/a?x=1"), local_path("//evil.org"), local_path("https://evil.org")
    ('/papers/a?x=1', '/', '/')
    """
    text = text or "/"
    parts = urlsplit(text)
    plain = all(c > " " and c not in "\\\x7f" for c in text)
    own = text.startswith("/") and not text.startswith("//") and not parts.scheme
    return text if plain and own and not parts.netloc else "/"
