"""When an issue of the digest is due, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from heldout.serve.periods import in_words

PERIODS = ("daily", "weekly")
DAYS = {"daily": 1, "weekly": 7}
"""Days that the first issue looks back."""
HOUR = 6
"""Of the day (UTC) from which an issue is due; a weekly one is, from Monday on."""


def issue_name(period: str, now: float) -> str:
    """Return the name of the issue of a day or an ISO week: the one in which it is sent.

    >>> issue_name("daily", 0), issue_name("weekly", 0)
    ('daily-1970-01-01', 'weekly-1970-W01')
    """
    day = datetime.fromtimestamp(now, UTC).date()
    if period == "daily":
        return f"daily-{day.isoformat()}"
    year, week, _ = day.isocalendar()
    return f"weekly-{year:04d}-W{week:02d}"


def period_of(issue: str) -> str | None:
    """Return the period of an issue; None for a mail that is no digest.

    >>> period_of("weekly-1970-W01"), period_of("confirm-1")
    ('weekly', None)
    """
    period = issue.partition("-")[0]
    return period if period in PERIODS else None


def is_due(period: str, now: float, hour: int = HOUR) -> bool:
    """Whether the page by itself sends the issue of this day or week by now.

    >>> is_due("daily", 5 * 3600), is_due("daily", 6 * 3600), is_due("weekly", 4 * 86400 + 1)
    (False, True, False)
    """
    moment = datetime.fromtimestamp(now, UTC)
    return moment.hour >= hour or (period == "weekly" and moment.weekday() > 0)


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether HELDOUT_DIGEST lets the page send digests by itself.

    >>> wanted({"HELDOUT_DIGEST": "on"}), wanted({})
    (True, False)
    """
    return environment.get("HELDOUT_DIGEST", "").strip().lower() in ("on", "1", "yes", "true")


def in_short(since: float, until: float) -> str:
    """Return the days between two times for a reader: what is new since the last issue.

    >>> in_short(0, 86400), in_short(0, 7 * 86400), in_short(30 * 86400, 37 * 86400)
    ('1 to 2 January 1970', '1 to 8 January 1970', '31 January to 7 February 1970')
    """
    first, last = (
        in_words(datetime.fromtimestamp(t, UTC).date().isoformat()) for t in (since, until)
    )
    if first == last:
        return last
    for shared in (last.partition(" ")[2], last[-4:]):
        if first.endswith(f" {shared}"):
            return f"{first.removesuffix(f' {shared}')} to {last}"
    return f"{first} to {last}"
