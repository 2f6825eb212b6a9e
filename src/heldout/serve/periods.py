"""Days, ISO weeks and months: read from an address, named for a reader, and those with papers."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import accumulate

from heldout.core.errors import InputError

KINDS = ("day", "week", "month")
"""From shortest to longest."""

_FORMS = {
    "day": (r"(\d{4})-(\d\d)-(\d\d)", "2026-11-22"),
    "week": (r"(\d{4})-W(\d\d)", "2026-W47"),
    "month": (r"(\d{4})-(\d\d)", "2026-11"),
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Period:
    """A day, a week from Monday to Sunday, or a month."""

    kind: str
    """day, week or month."""
    name: str
    """As in an address: 2026-11-22, 2026-W47 or 2026-11."""
    first: str
    """First day, YYYY-MM-DD."""
    last: str
    """Last day."""

    @property
    def words(self) -> str:
        """For a reader.

        >>> period("week", "2026-W47").words, period("month", "2026-11").words
        ('week 47, 16 to 22 November 2026', 'November 2026')
        """
        if self.kind == "month":
            return in_words(self.first).partition(" ")[2]
        if self.kind == "day":
            return in_words(self.first)
        start, end = in_words(self.first), in_words(self.last)
        # What both share is said once, at the end.
        for shared in (end.partition(" ")[2], end[-4:]):
            if start.endswith(f" {shared}"):
                start = start.removesuffix(f" {shared}")
                break
        return f"week {int(self.name[-2:])}, {start} to {end}"

    @property
    def short(self) -> str:
        """The same in a few words, beside others that say more.

        >>> period("week", "2026-W47").short
        'week 47 of 2026'
        """
        return (
            f"week {int(self.name[-2:])} of {self.name[:4]}" if self.kind == "week" else self.words
        )


def in_words(day: str) -> str:
    """Return a date for a reader.

    >>> in_words("2026-11-02")
    '2 November 2026'
    """
    year, month, number = day.split("-")
    return f"{int(number)} {_MONTHS[int(month) - 1]} {year}"


def period(kind: str, name: str) -> Period:
    """Read a period.

    Raises:
        InputError: there is no such day, week or month.

    >>> period("month", "2024-02").last, period("week", "2026-W47").first
    ('2024-02-29', '2026-11-16')
    """
    pattern, example = _FORMS[kind]
    found = re.fullmatch(pattern, name, re.ASCII)
    try:
        if not found:
            raise ValueError
        year, *rest = (int(n) for n in found.groups())
        if kind == "day":
            ends = (date(year, rest[0], rest[1]),) * 2
        elif kind == "week":
            ends = date.fromisocalendar(year, rest[0], 1), date.fromisocalendar(year, rest[0], 7)
        else:
            ends = date(year, rest[0], 1), date(year, rest[0], monthrange(year, rest[0])[1])
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{kind} {name[:40]!r}", f"a {kind} such as {example}", f"?{kind}={example}"
        ) from error
    return Period(kind, name, ends[0].isoformat(), ends[1].isoformat())


def around(kind: str, day: str) -> Period:
    """Return the day, week or month that a date lies in.

    >>> around("week", "2026-11-22").name, around("week", "2021-01-03").name
    ('2026-W47', '2020-W53')
    """
    if kind == "day":
        return period(kind, day)
    if kind == "month":
        return period(kind, day[:7])
    year, week, _ = date.fromisoformat(day).isocalendar()
    return period(kind, f"{year:04d}-W{week:02d}")


@dataclass(frozen=True)
class Calendar:
    """How many papers each day has."""

    counts: Mapping[str, int]
    """By day, YYYY-MM-DD; days without papers are absent."""

    @cached_property
    def days(self) -> list[str]:
        """Days with papers, oldest first."""
        return sorted(self.counts)

    @cached_property
    def _before(self) -> list[int]:
        return [0, *accumulate(self.counts[day] for day in self.days)]

    def between(self, first: str, last: str) -> Calendar:
        """Return the part from one day to another; both belong to it."""
        chosen = self.days[bisect_left(self.days, first) : bisect_right(self.days, last)]
        return Calendar({day: self.counts[day] for day in chosen})

    @property
    def total(self) -> int:
        """Papers of all days."""
        return self._before[-1]

    def place(self, number: int, newest: bool) -> tuple[str, int]:
        """Return the day of the paper with a number from 0, and its number within that day.

        >>> calendar = Calendar({"2026-01-01": 2, "2026-01-03": 3})
        >>> calendar.place(3, newest=True), calendar.place(3, newest=False)
        (('2026-01-01', 0), ('2026-01-03', 1))
        """
        # Counted from the other end, the paper is the last but `number`.
        ahead = self.total - 1 - number if newest else number
        at = bisect_right(self._before, ahead) - 1
        within = ahead - self._before[at]
        day = self.days[at]
        return day, self.counts[day] - 1 - within if newest else within

    def neighbours(self, chosen: Period) -> tuple[Period | None, Period | None]:
        """Return the nearest earlier and later periods of the same kind that have papers.

        >>> calendar = Calendar({"2026-01-01": 2, "2026-03-03": 3})
        >>> [p and p.name for p in calendar.neighbours(period("month", "2026-03"))]
        ['2026-01', None]
        """
        at, after = bisect_left(self.days, chosen.first), bisect_right(self.days, chosen.last)
        earlier = around(chosen.kind, self.days[at - 1]) if at else None
        later = around(chosen.kind, self.days[after]) if after < len(self.days) else None
        return earlier, later


def merged(*parts: Mapping[str, int]) -> Calendar:
    """Return the calendar of several counts together.

    >>> merged({"2026-01-01": 2}, {"2026-01-01": 1}).counts
    {'2026-01-01': 3}
    """
    made: dict[str, int] = {}
    for part in parts:
        for day, count in part.items():
            made[day] = made.get(day, 0) + count
    return Calendar(made)
