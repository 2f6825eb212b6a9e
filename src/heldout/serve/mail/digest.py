"""What an issue of the digest tells: new papers, changed verdicts, and what trends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from heldout.papers.catalogue import claims
from heldout.serve import feed
from heldout.serve.items import Item
from heldout.serve.mail import periods
from heldout.serve.site import Site
from heldout.serve.storage import fetched, issues, trends, verdicts

MOST_NEW = {"daily": 12, "weekly": 20}
"""Papers that are shown with their summary; the rest is a number with a link."""
MOST_CHANGED = 20
"""Verdicts that are shown."""
MOST_TRENDING = 5
"""Papers that are shown."""
SETTLED_S = 600
"""An issue ends so long before it is made: whatever began to be stored by then is stored."""


class Changed(Protocol):
    """A verdict of `storage.verdicts.changed`."""

    @property
    def slug(self) -> str:
        """Slug of the paper."""

    @property
    def claim(self) -> str:
        """Name of the claim."""

    @property
    def before(self) -> str:
        """Verdict before; empty: not measured."""

    @property
    def after(self) -> str:
        """Verdict now."""

    @property
    def at(self) -> float:
        """When, in UTC seconds since 1970."""


@dataclass(frozen=True)
class Turn:
    """A claim whose verdict is another one than before."""

    paper: Item
    """Of the library."""
    claim: str
    """Name."""
    says: str
    """In one sentence."""
    before: str
    """Verdict, or empty for a claim that was not measured."""
    after: str
    """Verdict."""


@dataclass(frozen=True)
class Digest:
    """One issue, the same for everybody who gets it."""

    name: str
    """daily-2026-11-22 or weekly-2026-W47."""
    period: str
    """daily or weekly."""
    since: float
    """UTC seconds since 1970: what came after this is told,"""
    until: float
    """up to this."""
    new: tuple[Item, ...]
    """Papers, those of the library first."""
    new_total: int
    """How many there are in all."""
    changed: tuple[Turn, ...]
    """Verdicts, oldest change first."""
    changed_total: int
    """How many there are in all."""
    trending: tuple[tuple[Item, float], ...]
    """Papers with their score, highest first."""
    stirred: bool
    """Whether something of what trends was voted for or run since the last issue."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell; such an issue is not sent."""
        return not (self.new_total or self.changed_total or self.stirred)

    @property
    def words(self) -> str:
        """Days that it tells of."""
        return periods.in_short(self.since, self.until)

    @property
    def subject(self) -> str:
        """Of the mail.

        >>> Digest("daily-1970-01-02", "daily", 0, 86400, (), 3, (), 1, (), False).subject
        'Heldout: 3 new papers, 1 changed verdict'
        """
        parts = []
        for count, word in ((self.new_total, "new paper"), (self.changed_total, "changed verdict")):
            if count:
                parts.append(f"{count:,} {word}{'' if count == 1 else 's'}")
        if not parts:
            parts.append(f"what trends, {self.words}")
        return f"Heldout: {', '.join(parts)}"


def issue(site: Site, period: str, now: float) -> Digest:
    """Return the issue of a period as it would be sent now, or as it was begun to be sent.

    It tells what came after the last issue of the period; the first one looks back a day or a week.
    An issue that was made before tells of the same time again.

    Args:
        site: the site.
        period: daily or weekly.
        now: UTC seconds since 1970.

    Raises:
        StorageError: the database cannot be reached.
    """
    return named(site, periods.issue_name(period, now), now)


def named(site: Site, name: str, now: float) -> Digest:
    """Return an issue by its name; one that was not made yet ends a little before now.

    Raises:
        StorageError: the database cannot be reached.
    """
    period = periods.period_of(name) or periods.PERIODS[0]
    with site.database.read() as connection:
        until = issues.until(connection, name)
        # Whole seconds, as they are kept: the same time when the issue is made once more.
        until = float(int(now - SETTLED_S)) if until is None else until
        since = issues.latest(connection, period, until)
        since = until - periods.DAYS[period] * 86400 if since is None else since
        start, first = issues.first_seen(connection)
        turns = _turns(site, verdicts.changed(connection, since), until, start, first)
        keys, fetched_total = issues.new_fetched(connection, since, until, MOST_NEW[period])
        read = fetched.by_key(connection, keys)
        happened = trends.happened(connection, since)
    stirred = {paper for what, paper, _, _ in happened if what in ("vote", "run")}
    own = [i for i in site.library.items.values() if _is_new(i.key, since, until, start, first)]
    shown = [*own, *(read[key] for key in keys if key in read)][: MOST_NEW[period]]
    trending = _trending(site, until)
    return Digest(
        name, period, since, until, tuple(shown), len(own) + fetched_total,
        tuple(turns[:MOST_CHANGED]), len(turns), trending,
        any(item.key in stirred for item, _ in trending),
    )  # fmt: skip


def _is_new(
    slug: str, since: float, until: float, start: float, first: dict[str, float]
) -> bool:  # fmt: skip
    seen = first.get(slug, 0.0)
    return since < seen <= until and seen > start + trends.FIRST_S


def _turns(
    site: Site, found: list[verdicts.Change], until: float, start: float, first: dict[str, float]
) -> list[Turn]:
    made = []
    kept: list[Changed] = [c for c in found if c.at <= until and c.slug in site.library.items]
    for change in kept:
        # Of a paper that is new all claims are, and at the first start everything was.
        began = change.at <= max(first.get(change.slug, 0.0), start) + trends.FIRST_S
        if not change.before and began:
            continue
        says = {claim.id: claim.says for claim in claims(change.slug)}.get(change.claim)
        if says is not None:
            item = site.library.items[change.slug]
            made.append(Turn(item, change.claim, says, change.before, change.after))
    return made


def _trending(site: Site, now: float) -> tuple[tuple[Item, float], ...]:
    found = []
    for key, score in feed.trending(site, now)[:MOST_TRENDING]:
        item = feed.item(site, key)
        if item is not None:
            found.append((item, score))
    return tuple(found)
