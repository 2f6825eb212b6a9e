"""What a run has measured: the numbers of its records, small enough to be kept in its row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heldout.core.errors import ArtifactError
from heldout.serve.jobs.queue import claims_of
from heldout.serve.storage.jobs import Wanted


def outcome(folder: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """Return what is in the records of a run, in the order of the claims; of others nothing."""
    from heldout.core.files import read_json  # late: it needs numpy

    found = []
    for claim in claims_of(wanted):
        try:
            record = read_json(folder / wanted.slug / f"{claim.id}.json")
        except ArtifactError:
            continue
        if isinstance(record, dict) and record.get("scale") == wanted.scale:
            found.append({"claim": claim.id, **numbers(record)})
    return found


def numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return verdict, effect and time of a record.

    >>> made = numbers({"verdict": "toy", "seeds": [{"wall_s": 1.5}, {"wall_s": 2}]})
    >>> made["verdict"], made["value"], made["seconds"]
    ('toy', None, 3.5)
    """
    effect = record.get("effect") or {}
    return {
        "verdict": str(record.get("verdict", "")),
        "reason": str(record.get("reason", "")),
        "value": effect.get("value"),
        "low": effect.get("ci_low"),
        "high": effect.get("ci_high"),
        "n": int(effect.get("n") or 0),
        "unit": str(effect.get("unit") or ""),
        "scale": str(record.get("scale", "")),
        "seconds": round(sum(s.get("wall_s") or 0.0 for s in record.get("seeds") or ()), 1),
    }
