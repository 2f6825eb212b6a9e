"""Which code made a result: a short hash for each check."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from heldout.audit.checks import CHECKS
from heldout.papers.code_hash import reached


@cache
def code_of(check: str) -> str:
    """Return a hash of a check, of the stages that it reads, and of all that they import.

    Covers Heldout's own files, comments included; not the zoo's worlds, whose models are compared
    by their accuracies, nor other packages.

    Raises:
        KeyError: no such check.

    >>> len(code_of("gap")), code_of("gap") == code_of("influence")
    (12, False)
    """
    known = CHECKS[check].CHECK
    stages = [f"heldout.audit.collectors.{c}" for c in (*known.needs, *known.uses)]
    names = {n for m in (f"heldout.audit.checks.{check}", *stages) for n in reached(m)}
    total = hashlib.sha256()
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        total.update(name.encode() + b"\n" + Path(spec.origin).read_bytes())
    return total.hexdigest()[:12]
