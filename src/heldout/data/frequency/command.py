"""`python -m heldout.data.frequency`: count concepts over shards, and relate counts to scores."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from heldout.core.errors import ArtifactError, HeldoutError, InputError
from heldout.core.files import plain, read_json, write_json
from heldout.data.frequency.engines import count_shards
from heldout.data.frequency.law import frequency_law
from heldout.data.frequency.tail import tail_report


@dataclass(frozen=True)
class Count:
    """Count in how many captions each concept occurs."""

    shards: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Parquet, webdataset tar, JSON lines or text files, or folders of these."""
    concepts: Path
    """JSON: a list of names, or an object of names with lists of synonyms; or .txt, one a line."""
    out: Path = Path("concept_counts")
    """Folder: counts.json, and shards/ from which the same command goes on."""
    column: str = "caption"
    """Of Parquet and JSON shards."""
    match: Literal["phrase", "words"] = "phrase"
    """phrase: the words one after another; words: all of them anywhere, as in the paper."""
    lemmatize: bool = True
    """Singular and plural are one word (English)."""
    engine: Literal["local", "ray"] = "local"
    """Processes here, or a Ray cluster (RAY_ADDRESS)."""
    jobs: int = 1
    """Shards at once."""
    skip_bad: bool = False
    """Leave out shards that are truncated or of another schema; they are named in counts.json."""


@dataclass(frozen=True)
class Law:
    """Relate counts to scores: slope per decade, raw, within-group and binned r, rare end."""

    counts: Annotated[Path, tyro.conf.Positional]
    """JSON: counts by concept, or counts.json of `count`."""
    scores: Annotated[Path, tyro.conf.Positional]
    """JSON: scores of the same concepts."""
    groups: Path | None = None
    """JSON: the data set or other group of each concept."""
    chance: float | None = None
    """Score of guessing, in the scores' unit."""
    bins: int = 12
    """Edges of the binned r."""
    drop: tuple[int, int] = (1, 1)
    """Bins left out at the rare and the frequent end."""


def run(arguments: Sequence[str]) -> int:
    """Run the command; 0: done, 2: bad input, and nothing was counted of what was refused."""
    options = tyro.extras.subcommand_cli_from_dict(
        {"count": Count, "law": Law}, args=list(arguments), prog="python -m heldout.data.frequency"
    )
    try:
        return _count(options) if isinstance(options, Count) else _law(options)
    except HeldoutError as error:
        print(f"{type(error).__name__}\n{error}", file=sys.stderr)
        return 2


def _count(options: Count) -> int:
    def progress(name: str, done: int, total: int) -> None:
        print(f"{done}/{total} {name}", file=sys.stderr)

    found = count_shards(
        options.shards, _concepts(options.concepts), column=options.column,
        out=options.out / "shards", engine=options.engine, jobs=options.jobs,
        skip_bad=options.skip_bad, progress=progress, match=options.match,
        lemmatize=options.lemmatize,
    )  # fmt: skip
    counts = found.counts
    content = {
        "counts": counts.by_name(), "captions": counts.captions, "matched": counts.matched,
        "missing": counts.missing, "bytes": counts.data_bytes, "shards": found.shards,
        "skipped": found.skipped, "match": options.match, "lemmatize": options.lemmatize,
    }  # fmt: skip
    write_json(options.out / "counts.json", content)
    for path, why in found.skipped.items():
        print(f"skipped {path}: {why}", file=sys.stderr)
    seen = sum(n > 0 for n in counts.counts.tolist())
    print(
        f"{counts.captions} captions in {found.shards} shards ({found.resumed} counted before, "
        f"{len(found.skipped)} skipped), {counts.missing} missing; {seen} of "
        f"{len(counts.names)} concepts occur. {options.out / 'counts.json'}"
    )
    return 0


def _law(options: Law) -> int:
    counts, scores = _numbers(options.counts), _numbers(options.scores)
    groups = None if options.groups is None else _read(options.groups)
    law = frequency_law(
        counts, scores, groups, options.bins, drop=options.drop, chance=options.chance
    )
    tail = tail_report(counts, scores)
    said: dict[str, Any] = {
        name: None if part is None else {"value": part.value, "low": part.low, "high": part.high}
        for name, part in (
            ("slope_per_decade", law.slope_per_decade), ("raw_r", law.raw_r),
            ("within_group_r", law.within_group_r), ("binned_r", law.binned_r),
            ("zero_bin_mean", law.zero_bin_mean), ("rare_minus_rest", tail.difference),
        )
    }  # fmt: skip
    said |= {
        "explained": law.explained, "saturation_point": law.saturation_point,
        "zero_share": law.zero_share, "worst_rare": tail.rare[:10], "notes": law.notes,
    }  # fmt: skip
    print(json.dumps(plain(said), indent=1, ensure_ascii=False))
    return 0


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}, which is no file", "a JSON file", "check the path")
    try:
        return read_json(path)
    except ArtifactError as error:  # its advice is for files that the library wrote itself
        raise InputError(
            f"{path}, which cannot be read as JSON", "a JSON file in UTF-8", "mend its text"
        ) from error


def _numbers(path: Path) -> dict[str, float]:
    found = _read(path)
    if isinstance(found, dict) and isinstance(found.get("counts"), dict):
        found = found["counts"]
    if not isinstance(found, dict) or not all(isinstance(v, int | float) for v in found.values()):
        raise InputError(f"{path.name}", "an object of numbers by concept", '{"dog": 12}')
    return {str(name): float(value) for name, value in found.items()}


def _concepts(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"--concepts {path}, which is no file", "a .json or .txt file", "a path")
    if path.suffix == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path.name}, not UTF-8", "UTF-8 text", "convert it") from error
        return [line for line in lines if line.strip()]
    found = _read(path)
    if not isinstance(found, list | dict):
        raise InputError(f"{path.name}", "a list of names, or names with synonyms", '["dog"]')
    return found
