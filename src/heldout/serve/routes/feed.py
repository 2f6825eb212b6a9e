"""The feed: papers by date, by what trends, by package and by verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heldout.serve import feed
from heldout.serve.items import STATUSES, Item
from heldout.serve.periods import KINDS, Calendar, Period, around, in_words
from heldout.serve.site import Site, site_of
from heldout.serve.storage import trends
from heldout.serve.views import SORTS, View, view_of
from heldout.serve.web.errors import problem
from heldout.serve.web.templating import page as rendered

router = APIRouter(include_in_schema=False)

_TOP = 5


@dataclass(frozen=True)
class Dates:
    """Where a visitor can go from the days that are shown."""

    chosen: Period | None
    """What is shown; None: all days."""
    earlier: Period | None
    """The nearest one before it with papers."""
    later: Period | None
    """The nearest one after it."""
    near: tuple[Period, ...]
    """Day, week and month, other than the chosen one, of the newest paper shown."""


@router.get("/")
def show(request: Request) -> Response:
    """Show a page of the feed."""
    site = site_of(request)
    packages = tuple(sorted({i.package for i in site.library.items.values()}))
    view, number = view_of(request.query_params, packages)
    items, total = feed.items_page(site, view, number)
    pages = max(1, -(-total // feed.PER_PAGE))
    if number > pages:
        return problem(request, 404, f"There are {pages:,} pages of these papers, not {number:,}.")
    top = feed.top(site, _TOP) if view.sort != "trending" else []
    with site.database.read() as connection:
        votes, comments = trends.counted(connection, [i.key for i in items])
    return rendered(
        site, "feed.html.jinja", kept=True,
        view=view, items=items, total=total, number=number, pages=pages,
        votes=votes, comments=comments, top=top, packages=packages, sorts=SORTS,
        statuses=STATUSES, dates=dates(feed.calendar(site, view), view), in_words=in_words,
        measured=_measured(site), half_life=feed.HALF_LIFE_DAYS, weights=feed.WEIGHTS,
        seen_days=feed.SEEN_DAYS, back=view.query(number),
    )  # fmt: skip


def dates(calendar: Calendar, view: View) -> Dates:
    """Return the periods that a page of the feed links to: only such as have papers."""
    chosen = view.period
    if not calendar.days:
        return Dates(chosen, None, None, ())
    shown = calendar.between(chosen.first, chosen.last).days if chosen else calendar.days
    near: tuple[Period, ...] = ()
    if shown:
        kinds = [k for k in KINDS if chosen is None or k != chosen.kind]
        near = tuple(around(kind, shown[-1]) for kind in kinds)
    earlier, later = calendar.neighbours(chosen) if chosen else (None, None)
    return Dates(chosen, earlier, later, near)


def _measured(site: Site) -> Item:
    # All claims of the library, counted like those of one paper.
    built = [item for item in site.library.items.values() if item.built]
    counts = sum((Counter(item.counts) for item in built), Counter[str]())
    first = built[0] if built else Item("", "", "", "", "")
    return replace(first, key="", title="", authors=len(built), counts=dict(counts))
