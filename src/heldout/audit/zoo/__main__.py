"""`python -m heldout.audit.zoo`: make the track record, or print its README table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from heldout.audit.zoo.run import run
from heldout.audit.zoo.score import track_record
from heldout.audit.zoo.table import update
from heldout.core.files import read_json, write_json

RECORD = Path(__file__).parents[2] / "records" / "audit" / "track_record.json"


@dataclass(frozen=True)
class Options:
    """Audit the zoo of models with known defects, and write the track record."""

    folder: Path = Path("runs/zoo")
    """One result per case; cases that have one are not run again."""
    jobs: int = 2
    """Processes."""
    readme: Path = Path("README.md")
    """File whose table is rewritten, where it exists."""
    only: str = ""
    """Run only cases whose id contains this, and write no record."""
    half: Literal["", "tune", "report"] = ""
    """Run only this half, and write no record."""
    checks: str = ""
    """Checks to run again where a result is there, with commas (`coverage,influence`); cases
    without one are audited whole. What the other checks said stays."""
    record_only: bool = False
    """Run nothing, and write the record from the results that are there."""


def main() -> None:
    """Run the zoo and write the record."""
    options = tyro.cli(Options)
    if options.record_only:
        results = [read_json(p) for p in sorted(options.folder.glob("*.json"))]
    else:
        checks = [name for name in options.checks.split(",") if name]
        results = run(options.folder, options.jobs, options.only, options.half, checks)
    if options.only or options.half:
        return
    record = track_record(results)
    write_json(RECORD, record)
    if options.readme.is_file():
        update(options.readme, record)


if __name__ == "__main__":
    main()
