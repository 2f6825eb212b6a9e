"""The daily papers of Hugging Face, day by day.

The interface: https://huggingface.co/docs/hub/en/api#get-apidailypapers, with `date`, `limit` and
`p`; the shape of its items: https://huggingface.co/docs/huggingface_hub/package_reference/hf_api
(`PaperInfo`). It has no query and tells no versions or categories; it tells organizations, which
arXiv rarely does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from heldout.serve.fetch.client import Client, base_of, pause_of
from heldout.serve.fetch.entry import (
    ABSTRACT,
    ORGANIZATION,
    TITLE,
    Entry,
    Listed,
    clean,
    joined,
    number_of,
    time_of,
)
from heldout.serve.fetch.kept import Reply
from heldout.serve.fetch.pace import FetchError
from heldout.serve.fetch.transport import Rejected, Source, Unreadable

URL = "https://huggingface.co/api/daily_papers"
FIRST = date(2023, 5, 1)
"""No day before this one has papers."""
_SIZE = 100  # the most that it gives at once
_PASSES = 5
_DONE_AFTER = timedelta(days=7)  # a day's list is not touched after that
_DONE_KEEP_S = 86400.0


def feed(environment: Mapping[str, str]) -> Source:
    """Return Hugging Face, or the server that stands for it (HELDOUT_HUGGINGFACE_URL).

    Raises:
        InputError: HELDOUT_HUGGINGFACE_URL is no address.

    >>> sorted(feed({}).hosts)
    ['huggingface.co']
    """
    url = base_of(environment, "HELDOUT_HUGGINGFACE_URL", URL)
    hosts = frozenset({"huggingface.co"} if url == URL else ())
    pause = pause_of(environment, url, URL, 1.0)
    return Source("Hugging Face", url, hosts, frozenset({"application/json"}), pause)


def days(
    client: Client, source: Source, since: date, today: date, size: int = _SIZE
) -> Iterator[list[Listed]]:
    """Read the papers that were listed since a day, newest day first.

    Args:
        client: asks.
        source: Hugging Face.
        since: first day on which a paper was listed; it may have been published before.
        today: last day.
        size: papers asked for at once.

    Raises:
        FetchError: it cannot be reached, or sends something else.
    """
    seen: set[str] = set()
    for back in range((today - max(since, FIRST)).days + 1):
        day = today - timedelta(days=back)
        done = replace(source, keep_s=_DONE_KEEP_S) if today - day > _DONE_AFTER else source
        for page in _day(client, done, day, today, size):
            yield [item for item in page if item.key not in seen]
            seen |= {item.key for item in page}


def _day(
    client: Client, source: Source, day: date, today: date, size: int
) -> Iterator[list[Listed]]:
    # The list is ordered by votes, which change while one pages; a day on several pages is
    # therefore read until a whole pass has brought nothing new.
    known: set[str] = set()
    for again in range(_PASSES):
        before, here = len(known), 0
        on_pass: set[str] = set()
        for number in range(1000):
            page = _page(client, source, day, today, size, number, again > 0)
            fresh = [item for item in page if item.key not in known]
            known |= {item.key for item in fresh}
            yield fresh
            # A server that does not know `p` would send the same page for ever.
            on_pass |= {item.key for item in page}
            if len(page) < size or len(on_pass) == here:
                break
            here = len(on_pass)
        if number == 0 or (again and len(known) == before):
            break


def _page(
    client: Client, source: Source, day: date, today: date, size: int, number: int, again: bool
) -> list[Listed]:
    parameters = {"date": day.isoformat(), "limit": str(size), "p": str(number)}
    try:
        return client.get(source, parameters, lambda reply: parse(reply), again)
    except Rejected as error:
        if day == today and error.status in (400, 404):
            return []  # their day has not begun
        said = clean(error.content[:2000].decode("utf-8", "replace"), 200)
        raise FetchError(f"{error} for {day}: {said or 'no words'}") from error


def parse(reply: Reply) -> list[Listed]:
    """Read one page.

    Raises:
        Unreadable: it is no JSON list, or it ends early.

    >>> parse(Reply("", b'[{"paper": {"id": "x"}}]', "application/json", 0.0))[0].reason
    'no arXiv number'
    """
    try:
        found = json.loads(reply.content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"sent a page that is no whole JSON ({error})") from error
    if not isinstance(found, list):
        said = found.get("error", "") if isinstance(found, dict) else ""
        raise Unreadable(f"sent no list of papers {clean(str(said), 200)}".rstrip())
    return [_listed(item if isinstance(item, dict) else {}) for item in found]


def _listed(item: dict[str, Any]) -> Listed:
    inner = item.get("paper")
    paper: dict[str, Any] = inner if isinstance(inner, dict) else {}

    def of(name: str) -> str:
        values = (paper.get(name), item.get(name))
        return next((v for v in values if isinstance(v, str) and v.strip()), "")

    found = number_of(of("id"))
    if not found:
        return Listed(clean(of("id"), 80), None, "no arXiv number")
    number, version = found
    title, at = clean(of("title"), TITLE), time_of(of("publishedAt"))
    if not title:
        return Listed(number, None, "no title", at)
    if at is None:
        return Listed(number, None, "no date that can be read")
    authors = paper.get("authors")
    people = authors if isinstance(authors, list) else []
    names = [a.get("name") for a in people if isinstance(a, dict)]
    count, shown = joined(n for n in names if isinstance(n, str))
    organization = _organization(item.get("organization")) or _organization(
        paper.get("organization")
    )
    made = Entry(
        number, version, title, clean(of("summary"), ABSTRACT), count, at.date().isoformat(), shown,
        organization, source="huggingface",
    )  # fmt: skip
    return Listed(number, made, at=at)


def _organization(given: object) -> str:
    if isinstance(given, dict):
        values = (given.get("fullname"), given.get("name"))
        given = next((v for v in values if isinstance(v, str) and v.strip()), "")
    return clean(given, ORGANIZATION) if isinstance(given, str) else ""
