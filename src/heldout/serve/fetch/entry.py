"""One paper as a feed told it: cleaned, bounded, and known by its arXiv number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

TITLE, ABSTRACT, NAMES, ORGANIZATION, CATEGORIES = 500, 10_000, 2_000, 200, 200
"""The most characters that each field keeps."""

_NUMBER = re.compile(
    r"(?:https?://(?:[a-z]+\.)?arxiv\.org/abs/|arxiv:)?"
    r"(?P<id>\d{4}\.\d{4,5}|[a-z-]{2,20}(?:\.[A-Z]{2})?/\d{7})(?:v(?P<version>[1-9]\d{0,3}))?",
    re.IGNORECASE | re.ASCII,
)
# Cc: control; Cf: direction marks that would turn a page's text around; Cs, Co, Cn: no characters.
_UNWANTED = {"Cc", "Cf", "Cs", "Co", "Cn"}
_LET = "\t\n\r\u200c\u200d"  # the last two: some scripts are misspelt without these joiners
_PLAIN = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Entry:
    """A paper that was fetched; what the table `fetched` keeps of it."""

    arxiv: str
    """arXiv number without version: 2401.00001, or cs/0112017."""
    version: int
    """From 1; 0: the feed does not tell it."""
    title: str
    """As published, on one line; LaTeX is kept."""
    abstract: str
    """The authors', on one line; LaTeX is kept."""
    authors: int
    """How many."""
    published: str
    """First version, YYYY-MM-DD."""
    names: str = ""
    """Of the authors, with commas between; a long list ends with an ellipsis."""
    organization: str = ""
    """Where one is named."""
    categories: str = ""
    """arXiv's, the primary one first, with spaces between."""
    source: str = "arxiv"
    """arxiv or huggingface."""
    withdrawn: bool = False
    """Whether its authors took it back; such a paper is not added, but one that is here is told."""


@dataclass(frozen=True)
class Listed:
    """One item of a feed's page: an entry, or the reason why there is none."""

    key: str
    """arXiv number, or what the feed gave in its place."""
    entry: Entry | None
    """None: refused."""
    reason: str = ""
    """Why it was refused."""
    at: datetime | None = None
    """When the first version was submitted, UTC."""


def number_of(text: str) -> tuple[str, int] | None:
    """Return number and version (0: none given) from an arXiv number or address.

    The subject class of old numbers is left out, since arXiv knows each paper under both.

    >>> number_of("http://arxiv.org/abs/2401.00001v2"), number_of("math.GT/0309136v1")
    (('2401.00001', 2), ('math/0309136', 1))
    >>> number_of("cs/0112017"), number_of("http://example.org/abs/2401.00001")
    (('cs/0112017', 0), None)
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        return None
    head, slash, tail = found["id"].lower().partition("/")
    number = head.partition(".")[0] + slash + tail if slash else head
    return number, int(found["version"] or 0)


def clean(text: str, most: int) -> str:
    """Return text on one line, without control and direction characters, at most `most` long.

    >>> clean("  On\\n $\\\\alpha$-\\x07nets\\u202e ", 100), clean("one two three", 9)
    ('On $\\\\alpha$-nets', 'one two…')
    """
    text = text[: 8 * most]  # what is longer than that is not worth cleaning
    if not _PLAIN.fullmatch(text):
        kept = (c for c in text if c in _LET or unicodedata.category(c) not in _UNWANTED)
        # After the rest, since what is taken out may stand between a letter and its accent.
        text = unicodedata.normalize("NFC", "".join(kept))
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    head = text[: most - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;") + "…"


def joined(names: Iterable[str]) -> tuple[int, str]:
    """Return how many names there are, and the names with commas between, as far as they fit.

    >>> joined(["Ada  L.", "", "Alan T."])
    (2, 'Ada L., Alan T.')
    """
    found = [name for name in (clean(n, ORGANIZATION) for n in names) if name]
    return len(found), clean(", ".join(found), NAMES)


def time_of(text: str) -> datetime | None:
    """Return a time of a feed in UTC; None when it is none, or of another age than arXiv's.

    >>> time_of("2026-11-01T23:30:00-04:00").isoformat(), time_of("soon")
    ('2026-11-02T03:30:00+00:00', None)
    """
    try:
        found = datetime.fromisoformat(text.strip())
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if 1985 <= found.year <= 2200 else None


def unique(names: Iterable[str]) -> Sequence[str]:
    """Return names in their order, each once.

    >>> unique(["b", "a", "b"])
    ['b', 'a']
    """
    return list(dict.fromkeys(names))
