"""A compact summary for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from heldout.audit.report.text import STATUS_WORDS, clean, gain_words, short

_STYLES = {
    "failed": "bold red",
    "warning": "yellow",
    "passed": "green",
    "not_applicable": "dim",
    "could_not_run": "dim",
    "not ready": "bold red",
    "caution": "bold yellow",
    "ready": "bold green",
}
_ORDER = list(STATUS_WORDS)


def summary(report: Mapping[str, Any], actions: int = 5) -> Group:
    """Return a rich renderable: the headline, every check with its status, the first actions.

    Strings from the user's data are shown as they are, never read as markup.

    Args:
        report: the report's dict.
        actions: how many actions to list.

    >>> from rich.console import Console
    >>> report = {"headline": {"word": "ready", "sentence": "Fine."}, "checks": {}, "actions": []}
    >>> console = Console(width=60, file=__import__("io").StringIO())
    >>> console.print(summary(report)); console.file.getvalue().split()[:2]
    ['ready', 'Fine.']
    """
    head = report["headline"]
    word = clean(head["word"], 40)
    first = Text.assemble((word, _STYLES.get(word, "bold")), "  ", clean(head["sentence"], 600))
    return Group(
        Text(),
        first,
        Padding(_key_numbers(head), (1, 0, 1, 2)),
        Padding(_checks(report["checks"]), (0, 0, 1, 2)),
        *_actions(report["actions"], actions),
    )


def _key_numbers(head: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, label in (
        ("shifted_accuracy", "expected on shifted data"),
        ("test_accuracy", "test accuracy"),
        ("gap", "gap, train minus test"),
    ):
        if head.get(key):
            table.add_row(Text(label, style="dim"), Text(short(head[key])))
    return table


def _checks(checks: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    ranked = sorted(
        checks.items(),
        key=lambda item: (_ORDER.index(item[1]["status"]), -float(item[1].get("evidence") or 0)),
    )
    for name, check in ranked:
        status = check["status"]
        table.add_row(
            Text(STATUS_WORDS[status], style=_STYLES[status]),
            Text(clean(name, 40)),
            Text(clean(check.get("reason", ""), 300)),
        )
    return table


def _actions(actions: list[Mapping[str, Any]], limit: int) -> list[Any]:
    if not actions:
        return []
    table = Table.grid(padding=(0, 2))
    for rank, action in enumerate(actions[:limit], 1):
        table.add_row(
            Text(f"{rank}.", style="dim"),
            Text.assemble(clean(action["title"], 200), "  ", (gain_words(action), "dim")),
        )
    more = len(actions) - limit
    shown: list[Any] = [Text("What to do", style="bold"), Padding(table, (0, 0, 1, 2))]
    if more > 0:
        shown.append(Text(f"  and {more} more in the report", style="dim"))
    return shown
