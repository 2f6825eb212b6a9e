"""The feed: which papers a view shows, in what order, and what makes a paper trend.

Papers of the library are in memory and fetched ones in the database. How many of each a day has is
counted once per change, so any page of a hundred thousand papers is found by its day and read by
one short query.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from heldout.serve.items import Item, without_version
from heldout.serve.periods import Calendar, merged
from heldout.serve.site import Site
from heldout.serve.storage import fetched, trends
from heldout.serve.views import View

PER_PAGE = 20
"""Cards on a page."""
HALF_LIFE_DAYS = 7.0
"""After so many days, what happened to a paper counts half."""
WEIGHTS = {"vote": 1.0, "run": 2.0, "record": 3.0}
"""What a vote, a run that came to its end, and new or changed verdicts count at first."""
SEEN_DAYS = 56
"""Older than this, eight half-lives, nothing is counted."""


@dataclass
class _Counted:
    """What is worked out once per change of the database."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    made: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def get(self, name: str, stamp: Any, make: Callable[[], Any]) -> Any:
        # Under the lock: of fifty visitors who come after a change, one counts and all wait.
        with self.lock:
            found = self.made.get(name)
            if found is None or found[0] != stamp:
                found = self.made[name] = (stamp, make())
            return found[1]


def items_page(
    site: Site, view: View, page: int = 1, per_page: int = PER_PAGE
) -> tuple[list[Item], int]:
    """Return the papers of one page of a view, and how many the view has in all.

    Args:
        site: the site.
        view: order and filters.
        page: number from 1; behind the last one there are no papers.
        per_page: papers on a page.

    Raises:
        StorageError: the database cannot be reached.
    """
    start = (page - 1) * per_page
    if view.sort == "trending":
        return _trending_page(site, view, start, per_page)
    days = calendar(site, view)
    if chosen := view.period:
        days = days.between(chosen.first, chosen.last)
    if start >= days.total:
        return [], days.total
    newest = view.sort == "newest"
    day, within = days.place(start, newest)
    last, _ = days.place(min(start + per_page, days.total) - 1, newest)
    low, high = min(day, last), max(day, last)
    own = [i for i in site.library.items.values() if low <= i.date <= high and view.lets(i)]
    # Of one day the library's papers are the newest: first there, and last in the other order.
    own.sort(key=lambda i: (i.date, i.key), reverse=newest)
    here = sum(i.date == day for i in own)
    if not view.fetched:
        return own[within : within + per_page], days.total
    ahead = here if newest else days.counts[day] - here  # what that day shows first
    skip_own, skip_read = (min(within, ahead), max(0, within - ahead)) if newest else (
        max(0, within - ahead), min(within, ahead)
    )  # fmt: skip
    with site.database.read() as connection:
        read = fetched.by_date(connection, low, high, newest, skip_read, per_page)
    both = [*own[skip_own:], *read] if newest else [*read, *own[skip_own:]]
    # Stable in both directions, so the order within a day stays.
    return sorted(both, key=lambda i: i.date, reverse=newest)[:per_page], days.total


def calendar(site: Site, view: View) -> Calendar:
    """Return how many papers each day has under a view's filters, whatever period it names.

    Raises:
        StorageError: the database cannot be reached.
    """

    stamp, counted = site.database.generation(), _counted(site)

    def read() -> dict[str, int]:
        with site.database.read() as connection:
            return fetched.days(connection)

    def count() -> Calendar:
        own = Counter(i.date for i in site.library.items.values() if view.lets(i))
        return merged(own, counted.get("days", stamp, read)) if view.fetched else merged(own)

    # One for each pair of filters, of which there are some sixty.
    name = f"calendar {view.package} {view.verdict}"
    found: Calendar = counted.get(name, stamp, count)
    return found


def item(site: Site, key: str) -> Item | None:
    """Return a paper by slug or arXiv number, with or without version; None: it is not here.

    Raises:
        StorageError: the database cannot be reached.
    """
    if slug := site.library.slug_of(key):
        return site.library.items[slug]
    number = without_version(key)
    if not fetched.is_number(number):
        return None
    with site.database.read() as connection:
        return fetched.by_key(connection, [number]).get(number)


def trending(site: Site, now: float | None = None) -> list[tuple[str, float]]:
    """Return the papers that something has happened to in eight weeks, with their score.

        score = sum of weight * 2^(-age / 7 days)

    over votes (1), runs that came to their end (2) and hours with new or changed verdicts (3);
    ages are counted by the hour. Highest first; of equal scores the newer paper.

    Args:
        site: the site.
        now: UTC seconds since 1970; None: now.

    Raises:
        StorageError: the database cannot be reached.
    """
    return [(key, score) for key, score, _ in _scored(site, now)]


def top(site: Site, most: int) -> list[tuple[Item, float]]:
    """Return the first of `trending`, with what their cards show; read once per change.

    Args:
        site: the site.
        most: papers at most.

    Raises:
        StorageError: the database cannot be reached.
    """

    def make() -> list[tuple[Item, float]]:
        scored, own = trending(site)[:most], site.library.items
        with site.database.read() as connection:
            read = fetched.by_key(connection, [k for k, _ in scored if k not in own])
        found = [(own.get(key) or read.get(key), value) for key, value in scored]
        return [(item, value) for item, value in found if item]

    made: list[tuple[Item, float]] = _counted(site).get(f"top {most}", _stamp(site), make)
    return made


def score(events: Sequence[tuple[str, int, int]], now: float) -> float:
    """Return the sum of weight * 2^(-age / 7 days).

    Args:
        events: (what, hour since 1970, how often).
        now: UTC seconds since 1970.

    >>> score([("vote", 0, 3), ("run", 7 * 24, 1)], now=7 * 86400.0)
    3.5
    """
    half_life = 24 * HALF_LIFE_DAYS
    return sum(
        WEIGHTS[what] * count * math.exp2(-max(0.0, now / 3600 - hour) / half_life)
        for what, hour, count in events
    )


def _scored(site: Site, now: float | None) -> list[tuple[str, float, str]]:
    moment = time.time() if now is None else now

    def make() -> list[tuple[str, float, str]]:
        of: dict[str, list[tuple[str, int, int]]] = {}
        with site.database.read() as connection:
            for what, paper, hour, count in trends.happened(connection, moment - SEEN_DAYS * 86400):
                of.setdefault(paper, []).append((what, hour, count))
            known = fetched.dates(connection, list(of))
        known |= {k: i.date for k, i in site.library.items.items() if k in of}
        found = [(k, score(of[k], moment), day) for k, day in known.items()]
        return sorted(found, key=lambda f: (f[1], f[2], f[0]), reverse=True)

    stamp = _stamp(site) if now is None else (site.database.generation(), moment)
    found: list[tuple[str, float, str]] = _counted(site).get("trending", stamp, make)
    return found


def _stamp(site: Site) -> tuple[int, float]:
    # Within ten minutes a score falls by less than a thousandth.
    return site.database.generation(), int(time.time() / 600)


def _trending_page(site: Site, view: View, start: int, most: int) -> tuple[list[Item], int]:
    own, chosen = site.library.items, view.period
    keys = [
        key
        for key, _, day in _scored(site, None)
        if (view.lets(own[key]) if key in own else view.fetched)
        and (chosen is None or chosen.first <= day <= chosen.last)
    ]
    here = keys[start : start + most]
    with site.database.read() as connection:
        read = fetched.by_key(connection, [k for k in here if k not in own])
    return [found for k in here if (found := own.get(k) or read.get(k))], len(keys)


def _counted(site: Site) -> _Counted:
    found: _Counted = site.parts.setdefault("feed", _Counted())
    return found
