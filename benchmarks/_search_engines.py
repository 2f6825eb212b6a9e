"""Engines for search by words, side by side on the same stems of the same made-up papers.

Every engine answers the same ranked query: any of the words, the title counting double, best 300.
Analysis of the text (words, stems) is the same for all and is not in the times.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 300
Papers = list[tuple[int, str, str]]
"""(row, stems of the title, stems of the abstract)."""


@dataclass
class Measured:
    """Of one engine."""

    index_s: float
    add_s: float
    memory_mb: float
    disk_mb: float
    times_ms: list[float]

    def row(self) -> dict[str, float]:
        times = sorted(self.times_ms)
        return {
            "index_s": round(self.index_s, 2),
            "add_1000_s": round(self.add_s, 3),
            "memory_mb": round(self.memory_mb, 1),
            "disk_mb": round(self.disk_mb, 1),
            "p50_ms": round(statistics.median(times), 2),
            "p99_ms": round(times[int(0.99 * (len(times) - 1))], 2),
        }


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def size_mb(folder: str) -> float:
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 2**20


def tails(n: int, seed: int = 0, known: int = 150_000, words: int = 40) -> list[str]:
    """Words without meaning whose frequencies follow Zipf's law, for rare words."""
    rng = random.Random(seed)
    parts = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    vocabulary = sorted({"".join(rng.choices(parts, k=rng.randint(2, 5))) for _ in range(known)})
    rng.shuffle(vocabulary)
    weights, total = [], 0.0
    for rank in range(len(vocabulary)):
        total += 1 / (rank + 20)
        weights.append(total)
    return [" ".join(rng.choices(vocabulary, cum_weights=weights, k=words)) + "." for _ in range(n)]


def measure(
    papers: Papers, more: Papers, queries: list[list[str]], make: Callable[..., Any]
) -> Measured:
    """Index papers, add 1000 more, and ask every query."""
    folder = tempfile.mkdtemp()
    before = resident_mb()
    start = time.perf_counter()
    add, ask = make(papers, folder)
    index_s = time.perf_counter() - start
    start = time.perf_counter()
    add(more)
    add_s = time.perf_counter() - start
    for query in queries[:5]:
        ask(query)
    times = []
    for query in queries:
        start = time.perf_counter()
        ask(query)
        times.append(1000 * (time.perf_counter() - start))
    found = Measured(index_s, add_s, resident_mb() - before, size_mb(folder), times)
    shutil.rmtree(folder)
    return found


def tantivy_engine(papers: Papers, folder: str) -> tuple[Any, Any]:
    import tantivy as t

    schema = t.SchemaBuilder()
    for name in ("title", "body"):
        schema.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    schema.add_integer_field("row", indexed=True, fast=True)
    built = schema.build()
    index = t.Index(built, path=folder)

    def add(rows: Papers) -> None:
        writer = index.writer(48_000_000, num_threads=1)
        for row, title, body in rows:
            document = t.Document()
            document.add_integer("row", row)
            document.add_text("title", title)
            document.add_text("body", body)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        index.reload()

    def ask(query: list[str]) -> Any:
        parts = [
            (t.Occur.Should, t.Query.boost_query(
                t.Query.term_query(built, name, word, index_option="freq"), boost))
            for word in query for name, boost in (("title", 2.0), ("body", 1.0))
        ]  # fmt: skip
        searcher = index.searcher()
        hits = searcher.search(t.Query.boolean_query(parts), limit=MOST, count=False).hits
        return searcher.fast_field_values("row", [place for _, place in hits])

    add(papers)
    return add, ask


def fts5_engine(papers: Papers, folder: str) -> tuple[Any, Any]:
    base = sqlite3.connect(Path(folder) / "a.db")
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE VIRTUAL TABLE t USING fts5(title, body, content='', tokenize='ascii')")

    def add(rows: Papers) -> None:
        with base:
            base.executemany("INSERT INTO t (rowid, title, body) VALUES (?, ?, ?)", rows)

    def ask(query: list[str]) -> Any:
        asked = " OR ".join(f'"{word}"' for word in query)
        order = "SELECT rowid FROM t WHERE t MATCH ? ORDER BY bm25(t, 2.0, 1.0) LIMIT ?"
        return base.execute(order, (asked, MOST)).fetchall()

    add(papers)
    return add, ask


def bm25s_engine(papers: Papers, folder: str) -> tuple[Any, Any]:
    import bm25s

    everything = list(papers)
    made: dict[str, Any] = {}

    def add(rows: Papers) -> None:
        # It cannot add to what it has: all is counted anew.
        if rows is not papers:
            everything.extend(rows)
        model = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        model.index([f"{t} {t} {b}".split() for _, t, b in everything], show_progress=False)
        made["model"] = model

    def ask(query: list[str]) -> Any:
        return made["model"].retrieve([query], k=MOST, show_progress=False)

    add(papers)
    return add, ask


def postgresql_engine(papers: Papers, folder: str) -> tuple[Any, Any]:
    import psycopg

    base = psycopg.connect(os.environ["HELDOUT_TEST_POSTGRES"], autocommit=True)
    base.execute("DROP TABLE IF EXISTS search_bench")
    base.execute("CREATE TABLE search_bench (id bigint PRIMARY KEY, words tsvector)")
    base.execute("CREATE INDEX search_bench_words ON search_bench USING gin (words)")

    def add(rows: Papers) -> None:
        statement = (
            "INSERT INTO search_bench VALUES (%s, setweight(to_tsvector('simple', %s), 'A') || "
            "setweight(to_tsvector('simple', %s), 'B'))"
        )
        with base.transaction(), base.cursor() as cursor:
            cursor.executemany(statement, rows)

    def ask(query: list[str]) -> Any:
        asked = " | ".join(query)
        order = (
            "SELECT id FROM search_bench, to_tsquery('simple', %s) q WHERE words @@ q "
            "ORDER BY ts_rank('{0, 0, 0.5, 1}', words, q, 1) DESC LIMIT %s"
        )
        return base.execute(order, (asked, MOST)).fetchall()

    add(papers)
    base.execute("ANALYZE search_bench")
    return add, ask


ENGINES = {
    "tantivy": tantivy_engine,
    "sqlite_fts5": fts5_engine,
    "bm25s": bm25s_engine,
    "postgresql": postgresql_engine,
}
