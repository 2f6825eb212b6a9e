"""The search of one site: its index, its vectors, and the thread that keeps both up to date."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import numpy as np

from heldout.core.errors import HeldoutError
from heldout.serve.items import Library
from heldout.serve.search import rows
from heldout.serve.search.analysis import indexed
from heldout.serve.search.follow import follow, learn
from heldout.serve.search.index import WordIndex
from heldout.serve.search.meaning import Encoder
from heldout.serve.search.passages import Passage, Text, fetched_text, library_texts, passages_of
from heldout.serve.search.typos import Vocabulary
from heldout.serve.search.vectors import MOST, Place, VectorStore
from heldout.serve.storage.database import Database

_log = logging.getLogger(__name__)
_WORDS_AT_ONCE = 20_000
_AT_ONCE = 5000  # papers whose words are read before the first page
_VECTORS_AT_ONCE, _FLUSH = 16, 256
T = TypeVar("T")


class _Ended(Exception):
    pass


class Engine:
    """Searches, and follows what is fetched.

    Args:
        database: with the fetched papers.
        library: the shipped ones.
        folder: where index and vectors are kept; None: in memory.
        encoder: makes one, or gives up when its argument is set; None: by words only.
    """

    def __init__(
        self,
        database: Database,
        library: Library,
        folder: Path | None = None,
        encoder: Callable[[threading.Event], Encoder] | None = None,
    ) -> None:
        self.database, self.library, self.folder = database, library, folder
        self.slugs = sorted(library.items)
        self.passages: list[list[Passage]] = [passages_of(slug) for slug in self.slugs]
        self.stems = [[(p, frozenset(indexed(p.text)[0])) for p in made] for made in self.passages]
        self.asked = [
            Counter(s for p in made if p.kind in ("terms", "question") for s in indexed(p.text)[0])
            for made in self.passages
        ]
        self.index = WordIndex(folder)
        self.vocabulary = Vocabulary.of({})
        self.encoder: Encoder | None = None
        self.vectors: VectorStore | None = None
        self._make_encoder = encoder
        self._own = {text.row: text for text in library_texts(library)}
        self.known: dict[int, int] | None = None  # stamps of all texts, by row, once looked at
        self.ended, self._updating = threading.Event(), threading.Lock()
        self._failed = self._encoding = False
        self._threads: list[threading.Thread] = []
        self._library_words()

    def start(self) -> None:
        """Follow the database, and load the model if there is one, in threads that never wait."""
        tasks = {"search": follow} | ({"search-meaning": learn} if self._make_encoder else {})
        self._threads = [
            threading.Thread(target=task, args=(self,), name=name, daemon=True)
            for name, task in tasks.items()
        ]
        for thread in self._threads:
            thread.start()

    def ask_to_stop(self) -> None:
        """End the encoder, so that who waits for it gets results by words, and ask the threads."""
        self.ended.set()
        encoder, self.encoder = self.encoder, None
        if encoder:
            encoder.close()

    def stop(self) -> None:
        """End the threads and the encoder."""
        self.ask_to_stop()
        for thread in self._threads:
            thread.join(5.0)

    @property
    def library_rows(self) -> range:
        """Rows of the library's papers: -1 for the first slug, -2 for the second."""
        return range(-1, -1 - len(self.slugs), -1)

    def slug(self, row: int) -> str:
        """Return the slug of a row of the library's."""
        return self.slugs[-1 - row]

    @property
    def state(self) -> str:
        """How far search by meaning is.

        "none": there is no model; "loading": words only until it is there; "partly": some papers
        have no vector yet; "ready".
        """
        if self._make_encoder is None or self._failed:
            return "none"
        if self.encoder is None or self.vectors is None or not len(self.vectors):
            return "loading"
        return "partly" if self._encoding else "ready"

    def update_words(self) -> int:
        """Bring the index up to date with the database; return how many papers changed.

        Raises:
            StorageError: the database cannot be reached.
            ValueError: another process changes the index now.
        """
        with self._updating:
            wanted = {r: t.stamp for r, t in self._own.items()} | rows.stamps(self.database)
            here = self.index.stamps()
            changed = sorted(r for r, stamp in wanted.items() if here.get(r) != stamp)
            gone = sorted(r for r in here if r not in wanted)
            for part in _parts(changed, _WORDS_AT_ONCE) if changed else [[]] if gone else []:
                try:
                    self.index.change(self._texts(part, wanted), gone)
                except _Ended:
                    return 0
                gone = []
            self.known = wanted
            if changed or not self.vocabulary.counts:
                self.vocabulary = Vocabulary.of(self.index.vocabulary())
            return len(changed)

    def update_vectors(self) -> int:
        """Encode the passages that have no vector of their present text; return how many.

        Raises:
            StorageError: the database cannot be reached.
            EncoderError: the encoder has ended.
        """
        encoder, vectors = self.encoder, self.vectors
        if encoder is None or vectors is None:
            return 0
        if self.known is not None:
            vectors.keep({(row, -1): stamp for row, stamp in self.known.items()})
        waiting: list[tuple[Place, int, str]] = []
        count, self._encoding = 0, True
        for place, stamp, text in self._wanted_vectors(vectors):
            waiting.append((place, stamp, text))
            if len(waiting) >= _FLUSH:
                count += self._encode(encoder, vectors, waiting)
                waiting = []
            if self.ended.is_set():
                return count
        count += self._encode(encoder, vectors, waiting)
        self._encoding = False
        return count

    def load_encoder(self) -> bool:
        """Load the model, in its own process; False when there is none or it cannot be loaded."""
        if self._make_encoder is None:
            return False
        try:
            made = self._make_encoder(self.ended)
        except (HeldoutError, OSError) as error:
            if self.ended.is_set():
                return False
            _log.warning("Search is by words only: %s", error)
            self._failed = True
            return False
        if self.ended.is_set():
            made.close()
            return False
        if self.vectors is None:
            folder = self.folder / f"meaning-{made.name}" if self.folder else None
            self.vectors = VectorStore(made.size, folder)
        self.encoder, self._failed = made, False
        return True

    def lost(self, error: Exception) -> None:
        """Do without the encoder, whose process has ended; the thread starts it again."""
        encoder, self.encoder = self.encoder, None
        if encoder and not self.ended.is_set():
            _log.warning("Search is by words only for now: %s", error)
        if encoder:
            encoder.close()

    def _library_words(self) -> None:
        # A fraction of a second, so the first visitor can search at once.
        here = self.index.stamps()
        changed = [t for t in self._own.values() if here.get(t.row) != t.stamp]
        try:
            if changed:
                self.index.change(changed)
        except ValueError:
            _log.info("Another process keeps the search index up to date.")
        if self.index.papers <= _AT_ONCE:  # of more it takes as long as a page may, in a thread
            self.vocabulary = Vocabulary.of(self.index.vocabulary())

    def _texts(self, part: Sequence[int], wanted: dict[int, int]) -> Iterator[Text]:
        for row in part:
            if row in self._own:
                yield self._own[row]
        fetched = [row for row in part if row not in self._own]
        for row, _, title, abstract in rows.texts(self.database, fetched):
            if self.ended.is_set():
                raise _Ended  # a page that stops does not wait for thousands of papers
            yield fetched_text(row, wanted[row], title, abstract)

    def _wanted_vectors(self, vectors: VectorStore) -> Iterator[tuple[Place, int, str]]:
        for row in self.library_rows:
            for number, passage in enumerate(self.passages[-1 - row]):
                if passage.kind in ("setting", "terms"):
                    continue  # found by words; as meanings they are all alike, or none
                stamp = crc32(passage.text.encode())
                if not vectors.has((row, number), stamp):
                    yield (row, number), stamp, passage.text
            whole = self._own[row]
            if not vectors.has((row, -1), whole.stamp):
                yield (row, -1), whole.stamp, whole.whole
        known = dict(self.known or {})
        waiting = [r for r, s in known.items() if r > 0 and not vectors.has((r, -1), s)]
        waiting.sort(reverse=True)  # what was fetched last first
        room = max(0, MOST - len(vectors))
        for row, _, title, abstract in rows.texts(self.database, waiting[:room]):
            yield (row, -1), known[row], f"{title}. {abstract}"

    def _encode(
        self, encoder: Encoder, vectors: VectorStore, waiting: list[tuple[Place, int, str]]
    ) -> int:
        if not waiting:
            return 0
        waiting = sorted(waiting, key=lambda w: len(w[2]))  # of like length, for less padding
        made = []
        for part in _parts(waiting, _VECTORS_AT_ONCE):
            start = time.monotonic()
            made.append(encoder.encode([text for _, _, text in part]))
            if len(waiting) == _FLUSH:  # much to do: leave half of a core to visitors
                self.ended.wait(0.5 * (time.monotonic() - start))
            if self.ended.is_set():
                break
        done = waiting[: sum(len(m) for m in made)]
        vectors.add([p for p, _, _ in done], [s for _, s, _ in done], np.concatenate(made))
        return len(done)


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
