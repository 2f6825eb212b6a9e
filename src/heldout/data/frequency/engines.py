"""Count concepts over many shards: here or on a Ray cluster, with the same counts, resumable.

Why plain Ray tasks. In one trial, whose results are not kept, one job, 4,000 concepts in 2.6
million made-up captions (200 MB of text in 16 Parquet shards), was run by each engine on one
machine of 2 cores: processor time of all of its processes, of which what one shard of 12.5 MB takes
is start-up for the most part; memory at its peak; and the same captions, 12 MB of text, in 1.7 GB
of webdataset archives. All counts were equal.

| engine | Parquet, s | of it one shard, s | memory, MB | archives, s |
|---|---|---|---|---|
| processes here (`local`) | 3.0, 3.6 | 1.7, 1.8 | 170 | 3.7 |
| Ray 2.60 tasks (`ray`) | 8.8, 10.1 | 7.8, 6.8 | 800 | 13.5 |
| Daft 0.7.26, on Ray | 10.3 | 8.6 | 880 | |
| Daft 0.7.26, one machine | 4.7, 3.6 | 2.0, 1.9 | 370 | 3.6 |
| Ray Data 2.60 | 29.8, 22.2 | 15.3, 15.5 | 2100 | 47.8 |
| Spark 4.3 | 35.8, 27.9 | 24.7, 24.3 | 1400 | 60.8 |

Two runs where two are given, on a machine with other load, so differences of a tenth mean nothing;
no cluster of several machines was at hand. Ray Data and Spark move captions between processes;
Daft does so little of that that on a cluster, where it runs on Ray, it costs what plain tasks do,
and is one dependency more. It was given paths of archives and read them as here; Ray Data and Spark
handed whole archives to `tarfile` (Spark: 5.3 GB, and none above 2 GB). In none of the three is a
bad shard left out by name without a task for each shard, which is what is written here, in 20
lines. All are under the Apache licence 2.0, and released often.

Parquet is read by pyarrow: with Polars or DuckDB as reader the same job took 0.91 to 1.03 of the
time (benchmarks/results/concept_reading.json).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heldout.core.errors import ArtifactError, InputError, MissingExtraError
from heldout.core.files import read_json, write_json
from heldout.data.frequency.count import Counts, count_concepts
from heldout.data.frequency.matching import Matcher, Names, compile_concepts
from heldout.data.frequency.shards import KINDS, ShardError, captions_in

Engine = Literal["local", "ray"]
_VERSION = 1
_AHEAD = 4  # shards asked for at once per job: enough to keep workers busy, few to hold in memory


@dataclass(frozen=True)
class Corpus:
    """What `count_shards` counted."""

    counts: Counts
    """Over all shards but those skipped."""
    shards: int
    """Shards counted, each whole."""
    resumed: int
    """Of these, how many an earlier call had counted."""
    skipped: dict[str, str]
    """Shards left out, and why; empty unless bad shards may be skipped."""


def count_shards(
    shards: Sequence[str | Path],
    concepts: Names | Matcher,
    *,
    column: str = "caption",
    out: str | Path | None = None,
    engine: Engine = "local",
    jobs: int = 1,
    skip_bad: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Corpus:
    """Count concepts in captions of shards; see `count.count_concepts`, `shards.captions_in`.

    A shard is counted whole or not at all. With `out`, each finished one leaves a file there,
    written at once, and the same call goes on from those; a shard that has changed since (size or
    time) or other concepts are counted anew.

    Args:
        shards: files, or folders whose shards are taken in order of name.
        concepts: names, names with synonyms, or a matcher.
        column: of Parquet and JSON shards.
        out: folder for finished shards.
        engine: "local": `jobs` processes here; "ray": tasks on the cluster at RAY_ADDRESS, or on
            one started here. Workers must see the files under the same names.
        jobs: shards at once, here.
        skip_bad: leave out shards that are truncated or of another schema, by name, instead of
            stopping at the first.
        progress: called with a shard's name, how many are done, and of how many.
        options: of `matching.compile_concepts`.

    Cost: one pass over the captions; of Parquet only their column is read.

    Raises:
        ShardError: a bad shard, and `skip_bad` is False.
        InputError: no shards, one missing or given twice, `out` in a file, or what
            `compile_concepts` refuses.
        MissingExtraError: numba, pyarrow or ray is not installed.
    """
    matcher = concepts if isinstance(concepts, Matcher) else compile_concepts(concepts, **options)
    paths = find_shards(shards)
    if engine not in ("local", "ray") or jobs < 1:
        raise InputError(f"engine {engine!r}, {jobs} jobs", "local or ray, 1 or more", "jobs=1")
    keys = {path: _key(path, matcher, column) for path in paths}
    kept = Path(out) if out is not None else None
    blocking = [p for p in (kept, *kept.parents) if p.exists() and not p.is_dir()] if kept else []
    if blocking:
        raise InputError(f"out {kept}: {blocking[0]} is a file", "a folder", "another name")
    done = {p: c for p in paths if kept and (c := _read(kept, p, keys[p], matcher)) is not None}
    left = [p for p in paths if p not in done]
    found, skipped, resumed = dict(done), dict[str, str](), len(done)
    run = _local if engine == "local" else _ray
    for path, result in run(left, matcher, column, jobs):
        if not isinstance(result, Counts):
            if not skip_bad:
                raise ShardError(*result)
            skipped[str(path)] = result[0]
        else:
            found[path] = result
            if kept:
                _write(kept, path, keys[path], result)
        if progress is not None:
            progress(path.name, len(found) + len(skipped), len(paths))
    total = Counts(matcher.names, np.zeros(len(matcher.names), np.int64), 0, 0)
    for path in paths:
        if path in found:
            total = total + found[path]
    return Corpus(total, len(found), resumed, skipped)


def find_shards(given: Sequence[str | Path]) -> list[Path]:
    """Return the shards of files and folders, those of a folder by name.

    Raises:
        InputError: nothing given, a file that is missing, a folder without shards, or the same
            shard twice, which would be counted twice.
    """
    found: list[Path] = []
    for item in map(Path, given):
        if item.is_dir():
            inside = sorted(p for p in item.iterdir() if p.name.lower().endswith(KINDS))
            if not inside:
                raise InputError(
                    f"folder {item} without shards", ", ".join(KINDS), "name the files"
                )
            found += inside
        elif item.is_file():
            found.append(item)
        else:
            raise InputError(f"{item}, which does not exist", "files or folders", "check the path")
    real = [p.resolve() for p in found]
    if not found or len(set(real)) < len(real):
        raise InputError(
            "no shards" if not found else f"{len(real) - len(set(real))} shards twice",
            "each shard once",
            "name the files or their folder",
        )
    return found


def count_shard(path: Path, matcher: Matcher, column: str = "caption") -> Counts:
    """Count one shard, whole.

    Raises:
        ShardError: it is truncated, damaged or of another schema.
    """
    total = Counts(matcher.names, np.zeros(len(matcher.names), np.int64), 0, 0)
    for batch in captions_in(path, column):
        total = total + count_concepts(batch, matcher)
    return total


Result = Counts | tuple[str, str, str]
"""Counts, or what was given, expected and to be tried: errors do not travel between processes."""
Results = Iterator[tuple[Path, Result]]


def _local(paths: list[Path], matcher: Matcher, column: str, jobs: int) -> Results:
    if jobs == 1 or len(paths) < 2:
        for path in paths:
            yield _named(path, matcher, column)
        return
    from joblib import Parallel, delayed

    tasks = (delayed(_named)(path, matcher, column) for path in paths)
    yield from Parallel(jobs, return_as="generator_unordered")(tasks)


def _named(path: Path, matcher: Matcher, column: str) -> tuple[Path, Result]:
    try:
        return path, count_shard(path, matcher, column)
    except ShardError as error:
        return path, (error.given, error.expected, error.hint)


def _ray(paths: list[Path], matcher: Matcher, column: str, jobs: int) -> Results:
    # Plain tasks: a shard is the unit that is whole or refused, and what comes back is one small
    # array, so there are no blocks to plan, shuffle or spill.
    if not paths:
        return
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        shared, task = ray.put(matcher), ray.remote(_named)
        given = {p.absolute(): p for p in paths}
        ahead, waiting = list(reversed(given)), list[Any]()
        most = max(_AHEAD * jobs, int(2 * ray.cluster_resources().get("CPU", 1)))
        while ahead or waiting:
            while ahead and len(waiting) < most:
                waiting.append(task.remote(ahead.pop(), shared, column))
            ready, waiting = ray.wait(waiting)
            for path, result in ray.get(ready):
                yield given[path], result
    finally:
        if started:
            ray.shutdown()


def _key(path: Path, matcher: Matcher, column: str) -> dict[str, Any]:
    stat = path.stat()
    return {
        "version": _VERSION, "shard": path.name, "bytes": stat.st_size, "time": stat.st_mtime_ns,
        "column": column, "concepts": matcher.fingerprint,
    }  # fmt: skip


def _file(folder: Path, path: Path) -> Path:
    # Folders of one corpus may hold shards of one name.
    return folder / f"{path.name}-{zlib.crc32(str(path.absolute()).encode()):08x}.json"


def _read(folder: Path, path: Path, key: dict[str, Any], matcher: Matcher) -> Counts | None:
    try:
        stored = read_json(_file(folder, path))
    except ArtifactError:
        return None
    if not isinstance(stored, dict) or stored.get("key") != key:
        return None
    counts = np.zeros(len(matcher.names), np.int64)
    seen = np.array(stored["seen"], np.int64).reshape(-1, 2)
    counts[seen[:, 0]] = seen[:, 1]
    return Counts(matcher.names, counts, *(int(stored[n]) for n in _NUMBERS))


_NUMBERS = ("captions", "matched", "missing", "data_bytes")


def _write(folder: Path, path: Path, key: dict[str, Any], counts: Counts) -> None:
    seen = np.flatnonzero(counts.counts)
    content = {n: getattr(counts, n) for n in _NUMBERS} | {
        "key": key, "seen": np.stack([seen, counts.counts[seen]], axis=1).tolist(),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_json(_file(folder, path), content)
