"""`--fail-on`: which findings end the command with an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from heldout.core.errors import InputError

_LEVELS = {"warning": ("warning", "failed"), "failed": ("failed",)}
_GLOBAL = {**_LEVELS, "could_not_run": ("could_not_run",)}


def exceeds(report: Mapping[str, Any], fail_on: str = "failed") -> list[str]:
    """Return the ids of the checks that `--fail-on` objects to, in the order of the report.

    `fail_on` is `never`, or a comma-separated list of

    - `failed`, `warning` (warning or failed) or `could_not_run`: any check at that level;
    - check ids, with an optional level that holds for the ids before it:
      `leakage,label_noise>=warning`. Without a level it is `failed`. A check asked for by name
      that could not run is objected to as well, since it has not passed.

    Cost: none.

    Raises:
        InputError: a word is neither a level nor the id of a check in the report.

    >>> report = {"checks": {"leakage": {"status": "warning"}, "gap": {"status": "failed"}}}
    >>> exceeds(report, "failed"), exceeds(report, "leakage>=warning"), exceeds(report, "never")
    (['gap'], ['leakage'], [])
    """
    checks: Mapping[str, Any] = report["checks"]
    wanted = _parse(fail_on, checks)
    return [i for i, check in checks.items() if check["status"] in wanted.get(i, set())]


def _parse(fail_on: str, checks: Mapping[str, Any]) -> dict[str, set[str]]:
    """Statuses that are objected to, by check id."""
    wanted: dict[str, set[str]] = {i: set() for i in checks}
    words = [w.strip() for w in fail_on.split(",") if w.strip()]
    if not words:
        raise _unknown(fail_on, checks, "an empty --fail-on")
    if words == ["never"]:
        return wanted
    waiting: list[str] = []
    for word in words:
        name, asked, level = (part.strip() for part in word.partition(">="))
        if asked and level not in _LEVELS:
            raise _unknown(level, _LEVELS, f"level {level!r} in --fail-on {fail_on!r}")
        if name in _GLOBAL and not asked:
            for statuses in wanted.values():
                statuses.update(_GLOBAL[name])
        elif name in checks:
            waiting.append(name)
        else:
            raise _unknown(name, [*_GLOBAL, "never", *checks], f"{name!r} in --fail-on {fail_on!r}")
        if asked:
            _settle(wanted, waiting, level)
    _settle(wanted, waiting, "failed")
    return wanted


def _settle(wanted: dict[str, set[str]], waiting: list[str], level: str) -> None:
    for name in waiting:
        wanted[name].update((*_LEVELS[level], "could_not_run"))
    waiting.clear()


def _unknown(word: str, known: Iterable[str], given: str) -> InputError:
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(names)}"
    return InputError(
        given, "never, failed, warning, could_not_run, or check ids such as leakage>=warning", hint
    )
