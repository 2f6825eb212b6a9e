"""The track record as a Markdown table, kept between two markers of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heldout.core.files import write_text

BEGIN = "<!-- track record: begin (made by `make zoo`) -->"
END = "<!-- track record: end -->"

_COLUMNS = ("check", "finds the defect", "false alarms", "more")
_EXTRA = {
    "average_precision": "average precision, 10 % wrong",
    "average_precision_peer": "cleanlab's",
    "average_precision_above_peer": "difference to it",
    "rate_error": "error of the rate",
    "precision": "precision",
    "recall": "recall",
    "mean_absolute_error": "mean absolute error",
    "error_without_shortcuts": "the same without planted shortcuts",
    "coverage": "interval covers",
    "error_same_as_test": "assuming test accuracy",
    "error_average_confidence": "average confidence",
    "hit_rate": "finds the defect",
    "false_alarm_rate": "false alarms",
    "wrong_among_first": "wrong labels among the first rows",
    "wrong_among_all": "among all",
}


def table(record: Mapping[str, Any]) -> str:
    """Return the Markdown table of a track record.

    >>> share = {"value": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": 8}
    >>> print(table({"checks": {"gap": {"hit_rate": share}}, "cases": 9, "reported_on": 5}))
    | check | finds the defect | false alarms | more |
    |---|---|---|---|
    | `gap` | 0.50 (0.25 to 0.75, n = 8) | not measured | |
    <BLANKLINE>
    9 models; every number is from the 5 on which no threshold was set, with 95 % intervals.
    """
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|"]
    for name, row in record["checks"].items():
        more = "; ".join(_extras(row))
        none = "not measured" if row.get("alarms", "yes") == "yes" else "never warns"
        cells = (
            f"`{name}`",
            _cell(row.get("hit_rate"), none=none),
            _cell(row.get("false_alarm_rate"), none=none),
            more,
        )
        lines.append("| " + " | ".join(cells).rstrip() + " |")
    return "\n".join([*lines, "", _counted(record["cases"], record["reported_on"])])


def _counted(cases: int, reported: int) -> str:
    if cases == reported:  # results of the half that thresholds were set on were not at hand
        return f"{cases} models, on none of which a threshold was set; 95 % intervals."
    return (
        f"{cases} models; every number is from the {reported} on which no threshold was set, "
        "with 95 % intervals."
    )


def _extras(row: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in row.items():
        base = name.removesuffix("_with_fit")
        if name in ("hit_rate", "false_alarm_rate"):  # they have columns of their own
            continue
        if base in _EXTRA and isinstance(value, Mapping):
            suffix = " with `fit`" if name != base else ""
            found.append(f"{_EXTRA[base]}{suffix} {_cell(value, 3)}")
    return found


def _cell(value: Mapping[str, Any] | None, digits: int = 2, none: str = "not measured") -> str:
    if value is None:
        return none
    said = {k: f"{value[k]:.{digits}f}" for k in ("value", "ci_low", "ci_high")}
    return f"{said['value']} ({said['ci_low']} to {said['ci_high']}, n = {value['n']})"


def with_table(text: str, record: Mapping[str, Any]) -> str:
    """Return a text with the part between the markers replaced.

    Raises:
        ValueError: a marker is missing.
    """
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n{table(record)}\n{END}{after}"


def update(path: Path, record: Mapping[str, Any]) -> None:
    """Rewrite the table in a file."""
    write_text(path, with_table(path.read_text(encoding="utf-8"), record))
