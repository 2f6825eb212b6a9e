"""Counting concepts in captions, side by side: Heldout, pyahocorasick, ahocorasick_rs, Polars.

    python benchmarks/concept_counting.py    # two minutes; rewrites results/concept_counting.json

All read the same made-up ASCII captions on one core and take turns in every round, so that other
load on the machine strikes them alike; a ratio is the median over rounds of a method's speed
divided by pyahocorasick's in the same round (processor time, so that waiting does not count).
"bare" methods only find substrings, without word boundaries and without counting a caption once;
"pyahocorasick" does both and must reach Heldout's counts exactly, or the run stops. Heldout with
lemmas counts plurals, too. Cost grows with what is found, not with what is looked for: of each
number of concepts, one set is drawn from the captions' words (the more, the more matches) and one
has 100 that occur and others that do not.
Peers that are not installed are left out, and the record says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import pyarrow as pa

from heldout.data.frequency.count import count_concepts
from heldout.data.frequency.matching import compile_concepts

RESULTS = Path(__file__).parent / "results" / "concept_counting.json"
CONCEPTS = 4000
PEERS = ("pyahocorasick", "ahocorasick_rs")
SIZES = (100, 1000, 4000, 16000)
Run = Callable[[], object]


def vocabulary(n: int, rng: np.random.Generator) -> list[str]:
    """Made-up lower-case words with the lengths of English ones."""
    letters = list("etaoinshrdlcumwfgypbvk")
    weight = np.linspace(2, 0.3, len(letters))
    found: dict[str, None] = {}
    while len(found) < n:
        size = int(np.clip(rng.poisson(6), 2, 14))
        found["".join(rng.choice(letters, size, p=weight / weight.sum()))] = None
    return list(found)


def names(n: int, words: list[str], rng: np.random.Generator) -> list[str]:
    """Concepts, one in four of two or three words."""
    found: dict[str, None] = {}
    while len(found) < n:
        found[" ".join(rng.choice(words, int(rng.choice([1, 1, 1, 2, 3]))))] = None
    return list(found)


def captions(n: int, concepts: list[str], words: list[str], rng: np.random.Generator) -> list[str]:
    """Captions of about 75 bytes: words by Zipf's law, a concept in six of ten."""
    weight = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(words, (n, 10), p=weight / weight.sum())
    found = []
    for row in drawn:
        parts = row.tolist()
        if rng.random() < 0.6:
            parts.insert(int(rng.integers(10)), concepts[int(rng.integers(len(concepts)))])
        found.append(" ".join(parts).capitalize() + ".")
    return found


def main() -> None:
    """Measure every method in turn and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    words = vocabulary(30_000, rng)
    every = names(max(SIZES), words[200:], rng)
    concepts = every[:CONCEPTS]
    texts = captions(options.captions, concepts, words, rng)
    column = pa.array(texts, pa.large_string())
    size = sum(map(len, texts)) / 1e6
    methods, absent = _methods(concepts, texts, column)
    matches: dict[str, float] = {}
    absent_words = [f"{word}q" for word in words]  # no made-up word has a q
    for n in SIZES:
        others = names(n, absent_words, np.random.default_rng(n))[: n - SIZES[0]]
        for kind, chosen in (("drawn from the words", every[:n]),
                             (f"{SIZES[0]} that occur", every[: SIZES[0]] + others)):  # fmt: skip
            matcher, name = compile_concepts(chosen), f"heldout, {n} concepts, {kind}"
            methods[name] = lambda m=matcher: count_concepts(column, m)
            matches[name] = round(
                float(count_concepts(column, matcher).counts.sum()) / len(texts), 2
            )
    _agree(methods)
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(options.rounds):
        for name, run in methods.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    base = times.get("pyahocorasick, bare")
    found = {
        name: {
            "MB_per_s": round(size / statistics.median(t), 1),
            **({"matches_per_caption": matches[name]} if name in matches else {}),
            "times_pyahocorasick_bare": base
            and round(statistics.median(b / a for a, b in zip(t, base, strict=True)), 2),
        }
        for name, t in times.items()
    }
    record = {
        "captions": len(texts), "megabytes": round(size, 2), "concepts": CONCEPTS,
        "rounds": options.rounds, "not_installed": absent, "results": found,
        "environment": {
            "machine": platform.machine(), "python": platform.python_version(),
            "cores": os.cpu_count(),
            **{p: _version(p) for p in ("numpy", "numba", "polars", *PEERS)},
        },
    }  # fmt: skip
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _agree(methods: dict[str, Run]) -> None:
    peer = methods.get("pyahocorasick")
    if peer is not None and peer() != methods["heldout, no lemmas"]().by_name():
        raise SystemExit("counts differ: not timed")


def _methods(
    concepts: list[str], texts: list[str], column: pa.Array
) -> tuple[dict[str, Run], list[str]]:
    plain, lemmas = compile_concepts(concepts, lemmatize=False), compile_concepts(concepts)
    methods: dict[str, Run] = {
        "heldout": lambda: count_concepts(column, lemmas),
        "heldout, no lemmas": lambda: count_concepts(column, plain),
    }
    absent: list[str] = []
    try:
        import ahocorasick

        automaton = ahocorasick.Automaton()
        for name in concepts:
            automaton.add_word(name, name)
        automaton.make_automaton()
        methods["pyahocorasick"] = lambda: _counted(automaton, concepts, texts)
        methods["pyahocorasick, bare"] = lambda: sum(
            1 for t in texts for _ in automaton.iter(t.lower())
        )
    except ImportError:
        absent.append("pyahocorasick")
    try:
        import ahocorasick_rs

        rust = ahocorasick_rs.AhoCorasick(concepts)
        methods["ahocorasick_rs, bare"] = lambda: sum(
            len(rust.find_matches_as_indexes(t.lower(), overlapping=True)) for t in texts
        )
    except ImportError:
        absent.append("ahocorasick_rs")
    try:
        import polars as pl

        series = pl.Series(texts)
        methods["polars extract_many, bare"] = lambda: series.str.extract_many(
            concepts, ascii_case_insensitive=True, overlapping=True
        )
    except ImportError:
        absent.append("polars")
    return methods, absent


def _counted(automaton: object, concepts: list[str], texts: list[str]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for text in texts:
        low, seen = text.lower(), set()
        for end, name in automaton.iter(low):  # type: ignore[attr-defined]
            start = end - len(name) + 1
            before = start == 0 or not low[start - 1].isalnum()
            if before and (end + 1 == len(low) or not low[end + 1].isalnum()):
                seen.add(name)
        found.update(seen)
    return {name: found[name] for name in concepts}


if __name__ == "__main__":
    main()
