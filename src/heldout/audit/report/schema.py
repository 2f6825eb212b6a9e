"""The JSON Schema of a report, versioned, in the wheel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from heldout.core.errors import InputError, MissingExtraError

SCHEMA_VERSION = 1
"""Version of the report's JSON; raised whenever an older reader would misread it."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report.

    >>> schema()["properties"]["schema_version"]
    {'const': 1}
    """
    text = files("heldout.audit.report").joinpath("schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def validate(report: Mapping[str, Any], check_ids: Iterable[str] = ()) -> None:
    """Hold a report against the schema.

    Args:
        report: the report's dict, as it is written to JSON.
        check_ids: ids that must be present besides those that the schema names, such as those
            of plug-ins.

    Cost: some milliseconds, more with long rankings.

    Raises:
        InputError: something is missing or of another kind; names the place.
        MissingExtraError: jsonschema is not installed.

    >>> validate({"schema_version": 2})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    heldout.core.errors.InputError: given: a report that breaks the schema at its top: ...
    """
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise MissingExtraError("jsonschema", "dev") from error
    rules = schema()
    rules["properties"]["checks"]["required"] += sorted(check_ids)
    found = sorted(Draft202012Validator(rules).iter_errors(report), key=lambda e: list(e.path))
    if found:
        first = found[0]
        place = "/".join(map(str, first.absolute_path)) or "its top"
        raise InputError(
            f"a report that breaks the schema at {place}: {first.message[:300]}",
            f"JSON of schema version {SCHEMA_VERSION}",
            f"mend this place and {len(found) - 1} more, or make the report again",
        )


def check_version(report: Any, what: str = "the report") -> None:
    """Refuse what is no report, or one of another schema version.

    Raises:
        InputError: there is no `schema_version`, or it is not the one this release reads.

    >>> check_version({"schema_version": 1, "checks": {}, "headline": {}})
    """
    keys = isinstance(report, Mapping) and {"schema_version", "checks", "headline"} <= set(report)
    if not keys:
        shown = sorted(report)[:6] if isinstance(report, Mapping) else type(report).__name__
        raise InputError(
            f"{what}, which holds {shown}",
            "the JSON that heldout audit writes, with schema_version, headline and checks",
            "pass the path of its report.json",
        )
    version = report["schema_version"]
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{what}, of schema version {version!r}",
            f"schema version {SCHEMA_VERSION}",
            "run the audit again, or read it with the Heldout release that wrote it",
        )
