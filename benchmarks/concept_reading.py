"""Counting concepts from shards to counts, and in captions beyond ASCII, side by side.

    python benchmarks/concept_reading.py    # two minutes; rewrites results/concept_reading.json

Made-up captions as in concept_counting.py, on one core; methods take turns in every round, and a
ratio is the median over rounds (processor time). Speeds are of caption text, in MB a second.

- "shards": reading alone and reading with counting, of Parquet (Snappy, Zstandard) and of
  webdataset archives with a picture of 8 kB and a .json member in each sample, read as here and by
  Python's `tarfile`; Polars and DuckDB as readers of the same Parquet before the same matcher.
- "scripts": captions in other scripts and Unicode forms. "pyahocorasick" folds each caption by the
  same rules in Python and minds word boundaries; it must reach the same counts, or the run stops.
  "bare" is NFKC and case folding by Python's own functions, and substrings wherever they are.

Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tarfile
import tempfile
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from concept_counting import _version, captions, names, vocabulary

from heldout.data.frequency.count import count_concepts
from heldout.data.frequency.engines import count_shard
from heldout.data.frequency.matching import Matcher, compile_concepts
from heldout.data.frequency.shards import _by_tarfile, captions_in
from heldout.data.frequency.words import fold

RESULTS = Path(__file__).parent / "results" / "concept_reading.json"
PICTURE = 8000
Runs = dict[str, Callable[[], object]]


def main() -> None:
    """Measure every method in turn and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=300_000)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    words = vocabulary(30_000, rng)
    concepts = names(4000, words[200:], rng)
    texts = captions(min(options.captions, 100_000), concepts, words, rng)
    drawn = [texts[i] for i in rng.integers(0, len(texts), options.captions)]
    record = {
        "shards": _shards(drawn, texts[: options.samples], compile_concepts(concepts), options),
        "scripts": {name: _script(name, words[:8000], rng, options) for name in SCRIPTS},
        "captions": options.captions, "samples": options.samples, "rounds": options.rounds,
        "environment": {
            "machine": platform.machine(), "python": platform.python_version(),
            "cores": os.cpu_count(), "unicode": unicodedata.unidata_version,
            **{p: _version(p) for p in ("numpy", "numba", "pyarrow", "polars", "duckdb",
                                        "pyahocorasick")},
        },
    }  # fmt: skip
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _timed(runs: Runs, rounds: int) -> dict[str, list[float]]:
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return times


def _ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    pairs = zip(times[slow], times[fast], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 2)


def _shards(
    texts: list[str], few: list[str], matcher: Matcher, options: argparse.Namespace
) -> dict[str, object]:
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("snappy", "zstd", "tar"):
            path = Path(folder) / ("a.tar" if kind == "tar" else f"{kind}.parquet")
            said = few if kind == "tar" else texts
            if kind == "tar":
                _write_tar(path, said)
            else:
                table = pa.table({"url": [f"{i}.jpg" for i in range(len(said))], "caption": said})
                pq.write_table(table, path, compression=kind)
            runs: Runs = {
                "read": lambda p=path: sum(len(part) for part in captions_in(p)),
                "read and count": lambda p=path: count_shard(p, matcher),
                **(_tar_peer(path, matcher) if kind == "tar" else _readers(path, matcher)),
            }
            wanted = count_shard(path, matcher).by_name()
            for name, run in runs.items():
                if name.endswith("count") and run().by_name() != wanted:  # type: ignore[attr-defined]
                    raise SystemExit(f"{name}: counts differ, not timed")
            times, size = _timed(runs, options.rounds), sum(map(len, said)) / 1e6
            found[kind] = {
                "megabytes_of_text": round(size, 2),
                "megabytes": round(path.stat().st_size / 1e6, 2),
                "MB_per_s": {n: round(size / statistics.median(t), 1) for n, t in times.items()},
                "share_of_reading": _ratio(times, "read", "read and count"),
                "times_slower": {n: _ratio(times, n, "read and count") for n in runs},
            }
    return found


def _write_tar(path: Path, texts: list[str]) -> None:
    picture = np.random.default_rng(0).bytes(PICTURE)
    with tarfile.open(path, "w") as tar:
        for i, text in enumerate(texts):
            about = json.dumps({"caption": text, "url": f"{i}.jpg", "width": 256}).encode()
            for kind, content in (("jpg", picture), ("json", about), ("txt", text.encode())):
                info = tarfile.TarInfo(f"{i:09d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _tar_peer(path: Path, matcher: Matcher) -> Runs:
    return {"tarfile, then count": lambda: count_concepts(_by_tarfile(path, "caption"), matcher)}


def _readers(path: Path, matcher: Matcher) -> Runs:
    def total(parts: Iterable[object]) -> object:
        counts = [count_concepts(part, matcher) for part in parts]
        return sum(counts[1:], counts[0])

    runs: Runs = {}
    try:
        import polars as pl

        lazy = pl.scan_parquet(path).select("caption")
        runs["polars, then count"] = lambda: total(
            frame["caption"] for frame in lazy.collect_batches(chunk_size=1 << 16)
        )
    except ImportError:
        pass
    try:
        import duckdb

        base = duckdb.connect()
        base.execute("SET threads = 1")
        runs["duckdb, then count"] = lambda: total(
            part.column(0)
            for part in base.sql(f"SELECT caption FROM '{path}'").to_arrow_reader(1 << 16)
        )
    except ImportError:
        pass
    return runs


def _accented(word: str) -> str:
    return word.translate({ord(a): b for a, b in zip("eou", "éöü", strict=True)})


def _han(word: str) -> str:
    parts = (word[i : i + 2].encode() for i in range(0, len(word), 2))
    return "".join(chr(0x4E00 + zlib.crc32(part) % 6000) for part in parts)


def _devanagari(word: str) -> str:
    # A consonant, and a vowel sign after every other one.
    return "".join(
        chr(0x915 + ord(c) % 30) + chr(0x93E + ord(c) % 9) * (ord(c) % 2) for c in word
    )  # fmt: skip


SCRIPTS: dict[str, Callable[[str], str]] = {
    "Latin, composed": _accented,
    "Latin, decomposed": lambda w: unicodedata.normalize("NFD", _accented(w)),
    "Cyrillic": lambda w: "".join(chr(ord(c) - 97 + 0x430) for c in w),
    "Han": _han,
    "Devanagari": _devanagari,
}


def _script(
    name: str, words: list[str], rng: np.random.Generator, options: argparse.Namespace
) -> dict[str, object]:
    written = list(dict.fromkeys(SCRIPTS[name](w) for w in words))
    weight = 1 / np.arange(1, len(written) + 1)
    drawn = rng.choice(written, (options.samples, 8), p=weight / weight.sum())
    texts = [" ".join(row).capitalize() + "." for row in drawn.tolist()]
    concepts = list(dict.fromkeys(" ".join(fold(w).split()) for w in written[100:4100]))
    matcher = compile_concepts(concepts, lemmatize=False)
    column, size = pa.array(texts, pa.large_string()), sum(len(t.encode()) for t in texts) / 1e6
    ours = count_concepts(column, matcher)
    runs: Runs = {"heldout": lambda: count_concepts(column, matcher)}
    try:
        import ahocorasick

        automaton, bare = ahocorasick.Automaton(), ahocorasick.Automaton()
        for concept in concepts:
            automaton.add_word(concept, concept)
            bare.add_word(concept.replace(" ", ""), concept)
        automaton.make_automaton()
        bare.make_automaton()
        if _peer(automaton, texts) != Counter({n: c for n, c in ours.by_name().items() if c}):
            raise SystemExit(f"{name}: counts differ, not timed")
        runs["pyahocorasick"] = lambda: _peer(automaton, texts)
        runs["pyahocorasick, bare"] = lambda: sum(
            1 for t in texts for _ in bare.iter(unicodedata.normalize("NFKC", t).casefold())
        )
    except ImportError:
        pass
    times = _timed(runs, options.rounds)
    return {
        "megabytes": round(size, 2),
        "matches_per_caption": round(float(ours.counts.sum()) / len(texts), 2),
        "MB_per_s": {n: round(size / statistics.median(t), 1) for n, t in times.items()},
        "times_slower": {n: _ratio(times, n, "heldout") for n in runs},
    }


def _peer(automaton: object, texts: list[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts:
        line, seen = f" {' '.join(fold(text).split())} ", set()
        for end, name in automaton.iter(line):  # type: ignore[attr-defined]
            if line[end + 1] == " " and line[end - len(name)] == " ":
                seen.add(name)
        found.update(seen)
    return found


if __name__ == "__main__":
    main()
