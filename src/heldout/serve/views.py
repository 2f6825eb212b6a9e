"""What a visitor asks of the feed, as it stands in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from heldout.core.errors import InputError
from heldout.serve.items import STATUSES, Item
from heldout.serve.periods import KINDS, Period, period

SORTS = ("newest", "oldest", "trending")
"""The first is what the feed shows unasked."""
_LARGEST_PAGE = 10**6


@dataclass(frozen=True)
class View:
    """Order and filters; empty ones let everything through."""

    sort: str = "newest"
    """newest, oldest or trending."""
    day: str = ""
    """YYYY-MM-DD; of day, week and month at most one."""
    week: str = ""
    """YYYY-Www."""
    month: str = ""
    """YYYY-MM."""
    package: str = ""
    """Package of the library that has the reusable part."""
    verdict: str = ""
    """What at least one of a paper's claims must be; one of `items.STATUSES`."""

    @property
    def period(self) -> Period | None:
        """The day, week or month, if one is chosen.

        >>> View(month="2026-11").period.last
        '2026-11-30'
        """
        for kind in KINDS:
            if name := getattr(self, kind):
                return period(kind, name)
        return None

    @property
    def fetched(self) -> bool:
        """Whether papers that are not in the library can be among what is shown."""
        return not self.package and self.verdict in ("", "not built")

    def lets(self, item: Item) -> bool:
        """Whether a paper passes the filters; order and period do not count.

        >>> View(verdict="fails").lets(Item("a", "", "", "", "", counts={"holds": 1}))
        False
        """
        return (not self.package or item.package == self.package) and (
            not self.verdict or item.counts.get(self.verdict, 0) > 0
        )

    def query(self, page: int = 1, **changes: str) -> str:
        """Return the address of this view, or one that differs, below the feed's own.

        Args:
            page: number from 1.
            changes: fields; a day, week or month takes the place of the one that was chosen.

        >>> View(day="2026-11-22", package="data").query(month="2026-11", sort="oldest")
        '?sort=oldest&month=2026-11&package=data'
        >>> View().query()
        ''
        """
        if any(changes.get(kind) for kind in KINDS):
            changes = {**dict.fromkeys(KINDS, ""), **changes}
        made = replace(self, **changes)
        names = ("sort", *KINDS, "package", "verdict")
        fields: dict[str, Any] = {n: v for n in names if (v := getattr(made, n))}
        if made.sort == SORTS[0]:
            del fields["sort"]
        if page > 1:
            fields["page"] = page
        return f"?{urlencode(fields)}" if fields else ""


def view_of(asked: Mapping[str, str], packages: tuple[str, ...]) -> tuple[View, int]:
    """Return the view and the page number that an address asks for; unknown names are passed over.

    Args:
        asked: parameters of the address.
        packages: those that the library has.

    Raises:
        InputError: a value that no view has.

    >>> view_of({"verdict": "holds", "page": "2", "day": ""}, ())
    (View(sort='newest', day='', week='', month='', package='', verdict='holds'), 2)
    """
    known = {"sort": SORTS, "package": packages, "verdict": STATUSES}
    names = [f for f in View.__dataclass_fields__ if asked.get(f, "").strip()]
    values = {name: asked[name].strip() for name in names}
    for name, choices in known.items():
        if name in values and values[name] not in choices:
            hint = f"?{urlencode({name: choices[0]})}" if choices else "leave it out"
            raise InputError(f"{name} {values[name][:60]!r}", f"one of {', '.join(choices)}", hint)
    chosen = [kind for kind in KINDS if kind in values]
    if len(chosen) > 1:
        raise InputError(
            " and ".join(chosen) + " together", "one of day, week and month",
            f"?{urlencode({chosen[0]: values[chosen[0]]})}",
        )  # fmt: skip
    view = View(**values)
    assert view.period is None or chosen  # raises for a date that does not exist
    return view, _page(asked.get("page", "").strip() or "1")


def _page(text: str) -> int:
    # `isdigit` alone lets superscripts through, which `int` does not read, nor thousands of digits.
    good = text.isascii() and text.isdigit() and len(text) < 8
    if not good or not 1 <= int(text) <= _LARGEST_PAGE:
        raise InputError(f"page {text[:20]!r}", "a number from 1 on", "?page=1")
    return int(text)
