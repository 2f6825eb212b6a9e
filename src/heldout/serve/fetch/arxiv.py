"""New papers on arXiv, page by page, although the list changes while it is read.

The interface: https://info.arxiv.org/help/api/user-manual.html, its pace:
https://info.arxiv.org/help/api/tou.html#rate-limits (one request every three seconds, one
connection at a time). Results are asked for by date, newest first, within a range of dates.

What goes wrong while one pages, and what is done about it:

- Papers arrive above the page: the next page repeats entries. Entries are told apart by number.
- Papers above the page go away: the next page would begin too late. Pages overlap, and a page
  whose first entry is not known yet is not believed; an earlier one is read instead.
- A page is empty or short though more is counted (github.com/lukasschwab/arxiv.py/issues/43): it
  is asked for again; an empty list that should not be is an error, not an end.
- Pages far from the start fail: the range of dates is moved, and counting begins at 0 again.
- The count has changed at the end: the newest pages are read again, until nothing is new.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from heldout.core.errors import InputError
from heldout.serve.fetch.atom import Answered, Page, error_of, parse
from heldout.serve.fetch.client import Client, base_of, pause_of
from heldout.serve.fetch.entry import Listed
from heldout.serve.fetch.kept import Reply
from heldout.serve.fetch.pace import FetchError
from heldout.serve.fetch.transport import Rejected, Source, Unreadable

URL = "https://export.arxiv.org/api/query"
PAUSE_S = 3.0
_KEEP_S = 3600.0  # arXiv's list changes once a day, and it asks to keep replies


@dataclass(frozen=True)
class Paging:
    """How the list is cut."""

    size: int = 200
    """Entries asked for at once; arXiv gives 2000 at most and likes fewer."""
    overlap: int = 10
    """Entries that two pages share."""
    deepest: int = 5000
    """Where counting begins at 0 again, with an earlier end of the range of dates."""
    most_steps_back: int = 100
    """Pages that may be read again because the list has changed."""


@dataclass
class Reading:
    """One query's results, as far as they are known."""

    client: Client
    """Asks."""
    source: Source
    """arXiv."""
    query: str
    """As the user wrote it."""
    since: date
    """First day, UTC."""
    paging: Paging = Paging()
    """How the list is cut."""
    known: dict[str, int] = field(default_factory=dict)
    """Versions by number, of all that was seen."""
    total: int = 0
    """How many results arXiv counts."""
    changed: bool = False
    """Whether that number has changed since the first page."""

    def pages(self) -> Iterator[list[Listed]]:
        """Read to the end, and give what is new on each page; newest first, then late arrivals.

        Raises:
            FetchError: arXiv cannot be reached, or does not send what it counts.
            InputError: arXiv does not understand the query.
        """
        yield from self._pass(again=False)
        for _ in range(3):
            if not self.changed:
                break
            self.changed = False
            if not (yield from self._pass(again=True, head=True)):
                break
        if len(self.known) < self.total <= self.paging.deepest:
            yield from self._pass(again=True)

    def _pass(self, again: bool, head: bool = False) -> Generator[list[Listed], None, int]:
        # Invariant: every entry that stays on the list and is not after the last one that was
        # read is known. `head`: stop at the first page on which nothing is new.
        start, until, steps_back, found = 0, self._far(), 0, 0
        here: set[str] = set()
        while True:
            page = self._page(start, until, again)
            if until == self._far():
                self.changed = self.changed or 0 < self.total != page.total
                self.total = page.total
            if start and (not page.items or page.items[0].key not in here):
                steps_back += 1
                if steps_back > self.paging.most_steps_back:
                    raise FetchError("arXiv's list changes faster than it can be read; try later")
                start = max(0, min(start, page.total) - self.paging.size + self.paging.overlap)
                again = True  # what was kept is of the list as it was
                continue
            here |= {item.key for item in page.items}
            fresh = [item for item in page.items if self._is_new(item)]
            found += len(fresh)
            yield [item for item in fresh if not self._is_old(item)]
            n = len(page.items)
            if start + n >= page.total or all(map(self._is_old, page.items)):
                return found
            if head and not fresh:
                return found
            start += n - min(self.paging.overlap, n - 1)
            # Ranges end with a whole minute; the one of the last entry is read again.
            ends = [item.at + timedelta(minutes=1) for item in page.items if item.at]
            if start > self.paging.deepest and ends and min(ends) < until:
                start, until = 0, min(ends)

    def _page(self, start: int, until: datetime, again: bool) -> Page:
        days = f"{self.since:%Y%m%d}0000 TO {until:%Y%m%d%H%M}"
        parameters = {
            "search_query": f"({self.query}) AND submittedDate:[{days}]",
            "start": str(start),
            "max_results": str(self.paging.size),
            "sortBy": "submittedDate",
            "sortOrder": "descending",
        }
        short: list[Page] = []

        def read(reply: Reply) -> Page:
            page = parse(reply.content)
            n = len(page.items)
            if n >= min(self.paging.size, page.total - start) and (page.total or start):
                return page
            # Once more; what is short twice is believed, what is empty only if nothing was there.
            believed = n > 1 or not (page.total or self.known)
            short.append(page)
            if believed and len(short) > 1:
                return max(short, key=lambda p: len(p.items))
            raise Unreadable(f"sent {n} entries from {start} on, though it counts {page.total}")

        try:
            return self.client.get(self.source, parameters, read, again)
        except (Rejected, Answered) as error:
            said = str(error)
            if isinstance(error, Rejected):
                said = error_of(error.content) or f"HTTP {error.status}"
            raise InputError(
                f"query {self.query!r}, which arXiv refuses: {said}",
                "a query in arXiv's language",
                "https://info.arxiv.org/help/api/user-manual.html#query_details",
            ) from error

    def _is_new(self, item: Listed) -> bool:
        version = item.entry.version if item.entry else 0
        if self.known.get(item.key, -1) >= version:
            return False
        self.known[item.key] = version
        return True

    def _is_old(self, item: Listed) -> bool:
        return item.at is not None and item.at.date() < self.since

    def _far(self) -> datetime:
        # A fixed day, so that the address of a kept reply stays the same from day to day.
        return datetime.combine(date(2099, 12, 31), time(23, 59), UTC)


def feed(environment: Mapping[str, str]) -> Source:
    """Return arXiv, or the server that stands for it (HELDOUT_ARXIV_URL).

    Raises:
        InputError: HELDOUT_ARXIV_URL is no address.

    >>> feed({}).pause
    3.0
    """
    url = base_of(environment, "HELDOUT_ARXIV_URL", URL)
    hosts = {"arxiv.org", "export.arxiv.org"} if url == URL else set()
    kinds = {"application/atom+xml", "application/xml", "text/xml"}
    pause = pause_of(environment, url, URL, PAUSE_S)
    return Source("arXiv", url, frozenset(hosts), frozenset(kinds), pause, _KEEP_S)
