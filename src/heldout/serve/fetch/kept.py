"""Replies on disk, so that a fetch that is repeated asks less."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from heldout.core.errors import ArtifactError

_DAYS = 14.0
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Reply:
    """What a server sent."""

    url: str
    """The request's address."""
    content: bytes
    """The body, decoded."""
    kind: str
    """Content type, without parameters."""
    at: float
    """When it was last known to be current, in seconds since 1970."""
    etag: str = ""
    """For If-None-Match."""
    modified: str = ""
    """For If-Modified-Since."""
    max_age: float = 0.0
    """Seconds for which the server said that it stays current."""


def path_of(folder: Path, url: str) -> Path:
    """Return the file of a request.

    >>> path_of(Path("a"), "http://b").name
    '513ede8032c1eb2f7069.reply'
    """
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:20]}.reply"


def recall(folder: Path, url: str) -> Reply | None:
    """Return the reply that was kept for an address; None when there is none, or it is damaged."""
    path = path_of(folder, url)
    try:
        if path.stat().st_size > _LARGEST:
            return None
        head, _, body = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        crc = told.pop("crc")
        unpacked = zlib.decompressobj()
        content = unpacked.decompress(body, _LARGEST)
        found = Reply(content=content, **told)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zlib.error):
        return None
    return found if found.url == url and zlib.crc32(content) == crc else None


def keep(folder: Path, reply: Reply) -> None:
    """Keep a reply; a disk that is full or read-only keeps none, which only costs a request."""
    from heldout.core.files import write_bytes  # late: it needs numpy

    told = asdict(reply)
    content = told.pop("content")
    head = json.dumps({**told, "crc": zlib.crc32(content)}).encode()
    with suppress(ArtifactError):
        write_bytes(path_of(folder, reply.url), head + b"\n" + zlib.compress(content, 3))


def tidy(folder: Path, days: float = _DAYS) -> int:
    """Remove replies that nobody has asked about for days, and return how many.

    >>> tidy(Path("no such folder"))
    0
    """
    count = 0
    with suppress(OSError):
        for path in folder.glob("*.reply"):
            if path.stat().st_mtime < time.time() - days * 86400:
                path.unlink(missing_ok=True)
                count += 1
    return count
