"""Parts of the input with what was collected about them, for `shortcuts`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.dynamics.reliance import Reliance
from heldout.dynamics.shortcut_evidence import Evidence, evidence


@dataclass(frozen=True)
class Part:
    """A region of the input and what speaks for and against its being a cue."""

    k: int
    """Its number in `interventions/regions`."""
    name: str
    """For a reader."""
    kind: str
    """See `heldout.dynamics.regions.Region`, as for `space`, `share` and `cells`."""
    space: str
    """`input` or `spectrum`."""
    share: float
    """Of the coordinates, 0 to 1."""
    cells: frozenset[int]
    """Flat positions."""
    seen: Evidence
    """Interventions and probes, summarized."""

    def apart(self, other: Part) -> bool:
        """Whether two parts of one space share no coordinate."""
        return self.space == other.space and not (self.cells & other.cells)


def parts_of(artifacts: Artifacts) -> list[Part]:
    """Return every part that was intervened on, in the order of `interventions/regions`."""
    about = artifacts.read("interventions/regions")
    rows = artifacts.read("interventions/sample")["rows"]
    whole = artifacts.read("interventions/whole")
    right = artifacts.correct("test")[rows]
    names = [s for s in artifacts.splits if s != "train"]
    truth = {s: whole.get(f"labels/{s}") for s in names}
    probes = by_part(artifacts, "probed")
    answers = by_part(artifacts, "asked")
    seen_by = [whole["whole/test"], *(p[a] for p in probes for a in p if a.endswith("/test"))]
    best = max(float(right.mean()), *(float(np.mean(a == truth["test"])) for a in seen_by))
    found = []
    for k, (name, probe) in enumerate(zip(about["name"].tolist(), probes, strict=True)):
        asked = answers[k]
        cells = about["cells"][about["start"][k] : about["start"][k + 1]]
        seen = evidence(
            right,
            _reliance(asked),
            truth,
            {s: probe[f"alone/{s}"] for s in names},
            {s: probe[f"rest/{s}"] for s in names} if "bound" in probe else None,
            best,
            float(probe.get("bound", np.nan)),
        )
        kind, space = str(about["kind"][k]), str(about["space"][k])
        share = float(about["share"][k])
        found.append(Part(k, name, kind, space, share, frozenset(cells.tolist()), seen))
    return found


def by_part(artifacts: Artifacts, what: str) -> list[Arrays]:
    """Arrays of each part, in order."""
    found: dict[int, Arrays] = {}
    for key in artifacts.keys("interventions"):
        if key.startswith(f"interventions/{what}-"):
            for name, array in artifacts.read(key).items():
                k, rest = name.split("/", 1)
                found.setdefault(int(k), {})[rest] = array
    return [found[k] for k in sorted(found)]


def _reliance(asked: Arrays) -> Reliance:
    return Reliance(
        asked["randomized"].astype(bool),
        asked["alone"].astype(bool),
        asked["swapped"],
        asked["donors"],
    )


def distinct(cues: list[Part]) -> list[Part]:
    """Keep the strongest of parts that overlap, or that name one cue in two spaces."""
    kept: list[Part] = []
    for part in cues:
        if all(part.apart(other) for other in kept):
            kept.append(part)
    return kept
