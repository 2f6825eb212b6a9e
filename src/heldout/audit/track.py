"""How often each check is right, measured on models with known defects."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def track_records() -> dict[str, dict[str, Any]]:
    """Return the shipped track record of each check, by check id; empty where none is shipped.

    Source: `records/audit/track_record.json`, written by `make zoo`.
    """
    file = resources.files("heldout") / "records" / "audit" / "track_record.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return dict(found.get("checks", {}))
