"""BM25 over the papers' words, on disk, with tantivy.

    score(d) = sum over terms t and fields f of
               w_t w_f ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) 2.2 c / (c + 1.2 (0.25 + 0.75 l / L))

with c the times that t stands in field f of d, l the field's length, L its mean over all N papers.
Why tantivy: 100,000 made-up papers of some 130 words, the best 300 for each of 107 queries, on one
core of a busy machine, so that only large ratios mean something (`benchmarks/serve_search.py
engines` measures again):

    engine       index   add 1000   disk     memory    p50      p99
    tantivy       10 s      0.2 s    17 MB      77 MB    0.3 ms     2 ms
    SQLite FTS5    7 s      0.1 s   149 MB       5 MB     11 ms   218 ms
    bm25s         59 s       90 s        -    1546 MB      3 ms   158 ms
    PostgreSQL   105 s      0.7 s        -  (server)    200 ms  1629 ms

PostgreSQL ranks by ts_rank, which knows no rarity; bm25s cannot add to what it has.

The index holds, for each paper, the number of its row and a stamp of its text, so it knows itself
what it has: nothing beside it can be out of step after a crash.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout.serve.search.analysis import indexed
from heldout.serve.search.passages import Text

VERSION = 2
"""Of what is kept on disk; with a new one the index is made anew."""
FIELDS = {"title": 1.5, "body": 1.0, "part": 1.0, "setting": 0.25, "asked": 0.0}
"""What a word counts in each field. What people ask is counted apart (`ranking.ranked`): among many
fetched papers, which have none, its mean length is next to nothing, and BM25 would drop it."""
_HEAP = 48_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """A paper that words have found."""

    row: int
    """Number in the index."""
    score: float
    """BM25."""


class WordIndex:
    """The index of one site; one thread changes it while others search.

    Args:
        folder: where it is kept; None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder / f"words-{VERSION}" if folder else None
        self._index = self._open()
        self.reload()

    def _open(self) -> Any:
        import tantivy

        if self.folder is None:
            return tantivy.Index(_schema())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return tantivy.Index(_schema(), path=str(self.folder))
        except Exception as error:  # tantivy raises ValueError, OSError and panics alike
            _log.warning("The search index could not be read and is made anew: %s", error)
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            return tantivy.Index(_schema(), path=str(self.folder))
        except Exception as error:
            _log.warning("The search index cannot be kept on disk: %s", error)
            self.folder = None
            return tantivy.Index(_schema())

    def reload(self) -> None:
        """Search what was last committed, by this process or another one."""
        self._index.reload()
        self._searcher = self._index.searcher()

    @property
    def papers(self) -> int:
        """Number of papers in the index."""
        return int(self._searcher.num_docs)

    def stamps(self) -> dict[int, int]:
        """Return the stamp of every paper in the index, by row; cost: one pass over two columns."""
        import tantivy

        searcher = self._searcher
        if not searcher.num_docs:
            return {}
        found = searcher.search(tantivy.Query.all_query(), limit=searcher.num_docs, count=False)
        places = [place for _, place in found.hits]
        rows = searcher.fast_field_values("row", places)
        return dict(zip(rows, searcher.fast_field_values("stamp", places), strict=True))

    def vocabulary(self) -> dict[str, int]:
        """Return every word as it is written, with the number of papers that have it."""
        return {str(w): int(n) for w, n in self._searcher.terms_with_prefix("plain", "")}

    def papers_with(self, stem: str) -> int:
        """Return in how many papers' titles or bodies a stem stands, whichever is more."""
        return max(int(self._searcher.doc_freq(name, stem)) for name in FIELDS)

    def rarity(self, stem: str) -> float:
        """Return ln(1 + (N - n + 0.5) / (n + 0.5)) for n papers of N with the stem."""
        n, total = self.papers_with(stem), self.papers
        return math.log1p((max(total, n) - n + 0.5) / (n + 0.5))

    def change(self, texts: Iterable[Text], gone: Iterable[int] = ()) -> None:
        """Add papers, each in place of what was under its number, and drop others; all or nothing.

        Raises:
            ValueError: another process changes the index now.
        """
        writer = self._index.writer(_HEAP, num_threads=1)
        try:
            for row in gone:
                writer.delete_documents_by_term("row", row)
            for text in texts:
                writer.delete_documents_by_term("row", text.row)
                writer.add_document(_document(text))
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        writer.wait_merging_threads()
        del writer  # its lock goes with it
        self.reload()

    def find(
        self, weights: Mapping[str, float], most: int, library: bool | None = None
    ) -> list[Hit]:
        """Return the papers that have any of the stems, best first; of equal ones the lower row.

        Args:
            weights: of the query's stems.
            most: papers at most.
            library: only the library's papers, or only fetched ones; None: both.
        """
        if not weights:
            return []
        import tantivy

        schema, query = self._index.schema, tantivy.Query
        parts = [
            (
                tantivy.Occur.Should,
                query.boost_query(
                    query.term_query(schema, name, stem, index_option="freq"), weight * field
                ),
            )
            for stem, weight in weights.items()
            for name, field in FIELDS.items()
            if field and (library is not False or name in ("title", "body"))
        ]
        asked = query.boolean_query(parts)
        if library is not None:
            only = query.const_score_query(
                query.term_query(schema, "kind", _kind(library), index_option="basic"), 0.0
            )
            asked = query.boolean_query([(tantivy.Occur.Must, asked), (tantivy.Occur.Must, only)])
        searcher = self._searcher
        found = searcher.search(asked, limit=most, count=False).hits
        rows = searcher.fast_field_values("row", [place for _, place in found])
        hits = [Hit(int(row), float(hit[0])) for hit, row in zip(found, rows, strict=True)]
        return sorted(hits, key=lambda h: (-h.score, h.row))


def _kind(library: bool) -> str:
    return "library" if library else "fetched"


def _schema() -> Any:
    import tantivy

    made = tantivy.SchemaBuilder()
    for name in FIELDS:
        made.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    made.add_text_field("plain", tokenizer_name="whitespace", index_option="basic")
    made.add_text_field("kind", tokenizer_name="raw", index_option="basic")
    made.add_integer_field("row", indexed=True, fast=True)
    made.add_integer_field("stamp", fast=True)
    return made.build()


def _document(text: Text) -> Any:
    import tantivy

    made = tantivy.Document()
    made.add_integer("row", text.row)
    made.add_integer("stamp", text.stamp)
    made.add_text("kind", _kind(text.library))
    seen: dict[str, None] = {}
    for name, value in text.fields.items():
        stems, plains = indexed(value)
        made.add_text(name, " ".join(stems))
        seen |= dict.fromkeys(plains)
    made.add_text("plain", " ".join(seen))
    return made
