"""arXiv's Atom pages, read with distrust.

The format: https://info.arxiv.org/help/api/user-manual.html#32-the-api-response (entries), and
#34-errors (one entry whose title is "Error").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from heldout.serve.fetch.entry import (
    ABSTRACT,
    CATEGORIES,
    ORGANIZATION,
    TITLE,
    Entry,
    Listed,
    clean,
    joined,
    number_of,
    time_of,
    unique,
)
from heldout.serve.fetch.pace import FetchError
from heldout.serve.fetch.transport import Unreadable

_ATOM = "{http://www.w3.org/2005/Atom}"
_SEARCH = "{http://a9.com/-/spec/opensearch/1.1/}"
_ARXIV = "{http://arxiv.org/schemas/atom}"
# XML has no room for these, not even as numbers; arXiv's own data has held them.
_CONTROL = bytes(c for c in range(32) if c not in b"\t\n\r")
_CONTROL_NUMBER = re.compile(
    rb"&#(?:x0*(?:[0-8bcef]|1[0-9a-f])|0*(?:[0-8]|1[124-9]|2\d|3[01]));", re.IGNORECASE
)
_WITHDRAWN_COMMENT = re.compile(
    r"^withdrawn\b|\b(?:is|was|been|being) withdrawn\b|\bwithdrawn by\b", re.IGNORECASE
)
_WITHDRAWN_ABSTRACT = re.compile(
    r"(?:this|the) (?:paper|article|manuscript|submission|preprint|work|version)"
    r"[\w ,]{0,40}\bwithdrawn\b",
    re.IGNORECASE,
)


class Answered(FetchError):
    """arXiv sent an error entry; the message is arXiv's."""


@dataclass(frozen=True)
class Page:
    """One page of results."""

    total: int
    """How many results there are on all pages."""
    items: tuple[Listed, ...]
    """In the server's order."""


def parse(content: bytes) -> Page:
    """Read one page.

    Raises:
        Unreadable: it is no Atom, or it ends early.
        Answered: it is an error entry.
        FetchError: it holds a document type or entities, which no feed needs.
    """
    try:
        content.decode("utf-8")  # arXiv's encoding; any other would hide what is removed next
        plain = _CONTROL_NUMBER.sub(b"", content.translate(None, _CONTROL))
        root = fromstring(plain, forbid_dtd=True)
    except DefusedXmlException as error:
        raise FetchError(
            f"arXiv's reply declares entities or a document type ({type(error).__name__}); not read"
        ) from error
    except (ParseError, UnicodeDecodeError, ValueError) as error:
        raise Unreadable(f"sent a page that is no whole Atom feed ({error})") from error
    if root.tag != f"{_ATOM}feed":
        raise Unreadable(f"sent <{clean(str(root.tag), 60)}> where an Atom feed was asked for")
    entries = root.findall(f"{_ATOM}entry")
    for entry in entries:
        if said := _error(entry):
            raise Answered(said)
    total = _text(root, f"{_SEARCH}totalResults").strip()
    if not (total.isascii() and total.isdigit() and len(total) < 10):
        raise Unreadable(f"sent a feed whose number of results is {clean(total, 40)!r}")
    return Page(int(total), tuple(_listed(entry) for entry in entries))


def error_of(content: bytes) -> str:
    """Return what arXiv says in an error page, or an empty text.

    >>> error_of(b"no XML")
    ''
    """
    try:
        root = fromstring(content, forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError):
        return ""
    return next((said for e in root.findall(f"{_ATOM}entry") if (said := _error(e))), "")


def _error(entry: Any) -> str:
    number = _text(entry, f"{_ATOM}id")
    if "/api/errors" not in number and number_of(number):
        return ""  # a paper may be called "Error"
    if _text(entry, f"{_ATOM}title").strip() != "Error":
        return ""
    return clean(_text(entry, f"{_ATOM}summary"), 300) or "an error without words"


def _listed(entry: Any) -> Listed:
    given = _text(entry, f"{_ATOM}id")
    found = number_of(given)
    if not found:
        return Listed(clean(given, 80), None, "no arXiv number")
    number, version = found
    title = clean(_text(entry, f"{_ATOM}title"), TITLE)
    at = time_of(_text(entry, f"{_ATOM}published"))
    if not title:
        return Listed(number, None, "no title", at)
    if at is None:
        return Listed(number, None, "no date that can be read")
    abstract = clean(_text(entry, f"{_ATOM}summary"), ABSTRACT)
    count, names = joined(_text(a, f"{_ATOM}name") for a in entry.iterfind(f"{_ATOM}author"))
    comment = clean(_text(entry, f"{_ARXIV}comment"), 500)
    made = Entry(
        number,
        max(version, 1),
        title,
        abstract,
        count,
        at.date().isoformat(),
        names,
        next(_affiliations(entry), ""),
        clean(" ".join(unique(_categories(entry))), CATEGORIES),
        withdrawn=bool(_WITHDRAWN_COMMENT.search(comment) or _WITHDRAWN_ABSTRACT.match(abstract)),
    )
    return Listed(number, made, at=at)


def _affiliations(entry: Any) -> Iterator[str]:
    for author in entry.iterfind(f"{_ATOM}author"):
        if found := clean(_text(author, f"{_ARXIV}affiliation"), ORGANIZATION):
            yield found


def _categories(entry: Any) -> Iterator[str]:
    for name in (f"{_ARXIV}primary_category", f"{_ATOM}category"):
        for element in entry.iterfind(name):
            # Mathematical and ACM classes stand here too, with spaces and commas.
            if re.fullmatch(r"[A-Za-z-]{2,20}(\.[A-Za-z-]{2,20})?", element.get("term", "")):
                yield element.get("term")


def _text(element: Any, name: str) -> str:
    found = element.find(name)
    # All text below it, since a title may hold elements that do not belong there.
    return "".join(found.itertext()) if found is not None else ""
