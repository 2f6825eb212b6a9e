"""How one number, or one status, changed between two reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from heldout.audit.report.text import STATUS_WORDS, decimals, figure, is_share, number_words

ABSENT = "absent"
"""Status of a check that a report does not hold; absent has never passed."""


def difference(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return the change from one number dict to another, None when either is missing.

    See `heldout.audit.report.compare.compare` for the formula of the interval.

    >>> number = {"value": 0.9, "ci_low": 0.87, "ci_high": 0.93, "unit": "x", "worse": "lower"}
    >>> difference(number, {**number, "value": 0.8, "ci_low": 0.76, "ci_high": 0.84})["verdict"]
    'worse'
    """
    if not old or not new:
        return None
    row: dict[str, Any] = {"old": dict(old), "new": dict(new)}
    row |= {"difference": None, "ci_low": None, "ci_high": None, "overlap": None}
    a: list[Any] = [old.get(k) for k in ("value", "ci_low", "ci_high")]
    b: list[Any] = [new.get(k) for k in ("value", "ci_low", "ci_high")]
    same_kind = old.get("unit") == new.get("unit") and old.get("worse") == new.get("worse")
    if not same_kind or a[0] is None or b[0] is None:
        return row | {"verdict": "not comparable"}
    change = b[0] - a[0]
    row["difference"] = change
    if None in a or None in b:
        return row | {"verdict": "no clear change" if change == 0 else "not comparable"}
    low = change - math.hypot(b[0] - b[1], a[2] - a[0])
    high = change + math.hypot(b[2] - b[0], a[0] - a[1])
    row |= {"ci_low": low, "ci_high": high, "overlap": b[1] <= a[2] and a[1] <= b[2]}
    rising_is_bad = new.get("worse") == "higher"
    verdict = "no clear change"
    if low > 0 or high < 0:
        verdict = "worse" if (low > 0) == rising_is_bad else "better"
    return row | {"verdict": verdict}


def status_word(status: str, side: str = "old") -> str:
    """Write the status of one side of a comparison.

    >>> status_word("absent"), status_word("could_not_run")
    ('not in the old report', 'could not run')
    """
    return f"not in the {side} report" if status == ABSENT else STATUS_WORDS.get(status, status)


def change_words(row: Mapping[str, Any]) -> dict[str, str]:
    """Put one entry of `numbers` into words.

    Returns:
        `old`, `old_interval`, `new`, `new_interval`, `difference`, `interval`, `unit`, `worse`.

    >>> change_words(difference({"value": 1.0, "ci_low": 0.5, "ci_high": 1.5, "unit": "points"},
    ...                         {"value": 3.0, "ci_low": 2.5, "ci_high": 3.5, "unit": "points"}))[
    ...     "interval"]
    '+1.3 to +2.7'
    """
    old, new = number_words(row["old"]), number_words(row["new"])
    change, low, high = row["difference"], row["ci_low"], row["ci_high"]
    percent = is_share(str(row["new"].get("unit") or ""), change)
    times = 100.0 if percent else 1.0
    places = 1 if percent or new["unit"].startswith("points") else decimals(low, high, change)

    def put(x: float | None) -> str:
        return figure(None if x is None else x * times, places, sign=True)

    return {
        "old": old["value"],
        "old_interval": old["interval"],
        "new": new["value"],
        "new_interval": new["interval"],
        "difference": put(change),
        "interval": f"{put(low)} to {put(high)}" if low is not None else "no interval",
        "unit": "points" if percent else new["unit"],
        "worse": new["worse"],
    }
