"""How far a run is, read from what `heldout reproduce` prints.

Its plan has a row for each experiment with the seeds that are left ("xor  ...  2 of 3"), and every
finished seed a line ("benign_xor xor seed 1: 0.4 s").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_ROW = re.compile(r"^(\w+)\s.*?\s{2,}(\d{1,6}) of (\d{1,6})\s{2,}")
_SEED = re.compile(r"^(\w+) (\S+) seed (\d{1,6}): ")


@dataclass(frozen=True)
class Progress:
    """Seeds that are finished, of all."""

    done: int = 0
    """Those that an earlier start of the same run has finished included."""
    total: int = 0
    """0: not known yet."""


def read(before: Progress, slug: str, line: str) -> Progress:
    """Return how far a run is after one more line.

    >>> row = "benign_xor  one_step_fits, linear      2 of 3              0.02     0.04"
    >>> found = read(Progress(), "benign_xor", row)
    >>> found, read(found, "benign_xor", "benign_xor xor seed 1: 0.4 s")
    (Progress(done=1, total=3), Progress(done=2, total=3))
    >>> read(Progress(1, 3), "benign_xor", "something else")
    Progress(done=1, total=3)
    """
    if found := _ROW.match(line):
        left, all_ = int(found[2]), int(found[3])
        if found[1] != slug or left > all_:
            return before
        return replace(before, done=before.done + all_ - left, total=before.total + all_)
    if (seed := _SEED.match(line)) and seed[1] == slug and before.done < before.total:
        return replace(before, done=before.done + 1)
    return before
