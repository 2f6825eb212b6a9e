"""Count concepts in captions that are in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from heldout.core.errors import InputError, MissingExtraError
from heldout.data.frequency.folding import fold_rows, plain_rows
from heldout.data.frequency.matching import Matcher, Names, compile_concepts, kernel


@dataclass(frozen=True)
class Counts:
    """How many captions name each concept."""

    names: tuple[str, ...]
    """Of the concepts."""
    counts: Int[np.ndarray, " c"]
    """Captions that name each, a caption counting once."""
    captions: int
    """Captions read, without those that are missing."""
    matched: int
    """Captions that name at least one concept."""
    missing: int = 0
    """Rows without a caption."""
    data_bytes: int = 0
    """UTF-8 bytes read."""

    def by_name(self) -> dict[str, int]:
        """Return counts by name, for `frequency_law`.

        >>> count_concepts(["A dog!", None, "two dogs"], ["dog", "cat"]).by_name()
        {'dog': 2, 'cat': 0}
        """
        return dict(zip(self.names, self.counts.tolist(), strict=True))

    def __add__(self, other: Counts) -> Counts:
        if self.names != other.names:
            raise InputError("counts of other concepts", "counts of the same", "count again")
        return Counts(
            self.names, self.counts + other.counts, self.captions + other.captions,
            self.matched + other.matched, self.missing + other.missing,
            self.data_bytes + other.data_bytes,
        )  # fmt: skip


def count_concepts(captions: Any, concepts: Names | Matcher, **options: Any) -> Counts:
    """Count in how many captions each concept occurs.

    One pass over the bytes whatever the number of concepts: each word is hashed as it is read and
    looked up, and what is found is compared byte by byte, so counts are exact.

    Args:
        captions: strings (None: missing), or a column of text as Arrow array or Polars series.
        concepts: names, names with synonyms, or a matcher.
        options: of `matching.compile_concepts`.

    Cost: 130 to 270 MB a second on one core for ASCII captions, by how many match; about half of
    that for others, which are folded first, and less where each letter is a word (Han, Thai).

    Raises:
        InputError: captions that are not text; what `compile_concepts` refuses.
        MissingExtraError: numba is not installed.

    Udandarao et al. 2024, arXiv:2404.04125, section 2; they count single words of spaCy lemmas.

    >>> count_concepts(["Hot dogs", "a dog; hot"], ["dog", "hot dog"]).counts.tolist()
    [2, 1]
    """
    matcher = _matcher(concepts, options)
    return _counted(captions, matcher, None)[0]


def caption_concepts(
    captions: Any, concepts: Names | Matcher, **options: Any
) -> Int[np.ndarray, "pairs 2"]:
    """Return the (caption, concept) pairs that `count_concepts` counts, sorted.

    >>> caption_concepts(["a cat", "", "cats and a dog"], ["dog", "cat"]).tolist()
    [[0, 1], [2, 0], [2, 1]]
    """
    matcher = _matcher(concepts, options)
    _, found = _counted(captions, matcher, 1 << 16)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _matcher(concepts: Names | Matcher, options: dict[str, Any]) -> Matcher:
    if isinstance(concepts, Matcher):
        if options:
            raise InputError(
                f"a matcher and {', '.join(options)}", "options when compiling", "compile_concepts"
            )
        return concepts
    return compile_concepts(concepts, **options)


def _counted(captions: Any, matcher: Matcher, room: int | None) -> tuple[Counts, np.ndarray]:
    loops = kernel()
    data, offsets, valid = text_buffers(captions)
    n, counts = len(valid), np.zeros(len(matcher.names), np.int64)
    plain = plain_rows(data, offsets, valid)
    # Captions are read where they lie as far as they are ASCII; the others are folded first.
    parts = [(data, offsets, np.arange(n), plain, _ASCII)]
    rest = np.flatnonzero(valid & ~plain)
    if len(rest):
        folded, starts = fold_rows(data, offsets, rest)
        parts.append((folded, starts, rest, np.ones(len(rest), np.bool_), _FOLDED))
    pairs, none_left = np.empty((room or 0, 2), np.int64), np.empty(0, np.int64)
    while True:
        counts[:] = 0
        stamp = np.full(len(counts) + matcher.words, -1, np.int64)
        matched = found = 0
        for part in parts:
            more, _, extra = loops.count_rows(
                *part, False, matcher.vocabulary, matcher.phrases, matcher.sets,
                matcher.match == "words", counts, stamp, none_left, pairs[found:],
            )  # fmt: skip
            matched, found = matched + more, found + extra
        if room is None or found <= len(pairs):
            break
        pairs = np.empty((found, 2), np.int64)
    read = int(valid.sum())
    size = int((np.diff(offsets) * valid).sum())
    return Counts(matcher.names, counts, read, int(matched), n - read, size), pairs[:found]


def text_buffers(captions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all UTF-8 bytes, where each caption starts (n + 1), and which are not missing.

    Raises:
        InputError: something else than text.
        MissingExtraError: a column without pyarrow.

    >>> data, offsets, valid = text_buffers(["ab", None, "c"])
    >>> bytes(data), offsets.tolist(), valid.tolist()
    (b'abc', [0, 2, 2, 3], [True, False, True])
    """
    if type(captions).__module__.startswith("polars"):
        captions = captions.to_arrow()
    if type(captions).__module__.startswith("pyarrow"):
        return _arrow_buffers(captions)
    if isinstance(captions, str) or not isinstance(captions, Sequence | np.ndarray):
        raise InputError(
            f"captions of type {type(captions).__name__}", "a list of strings", "[caption]"
        )
    valid = np.array([c is not None for c in captions], dtype=np.bool_)
    try:
        coded = [b"" if c is None else c.encode() for c in captions]
    except (AttributeError, UnicodeEncodeError) as error:
        raise InputError(
            f"a caption that is no text ({type(error).__name__})", "strings or None", "str(caption)"
        ) from error
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in coded], dtype=np.int64)])
    return np.frombuffer(b"".join(coded), np.uint8), offsets.astype(np.int64), valid


def _arrow_buffers(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("pyarrow", "count") from error
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(test(kind) for test in text):
        raise InputError(f"captions of type {column.type}", "text", "choose another column")
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    n, start = len(column), column.offset
    _, places, data = column.buffers()
    offsets = np.frombuffer(places, np.int64)[start : start + n + 1] if places else np.zeros(1)
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return raw, offsets.astype(np.int64), valid


def _tables() -> tuple[np.ndarray, np.ndarray]:
    plain = np.zeros(256, np.uint8)
    for code in range(128):
        if chr(code).isalnum():
            plain[code] = ord(chr(code).lower())
    folded = plain.copy()
    folded[128:] = np.arange(128, 256)  # what `fold` leaves beyond ASCII belongs to words
    return plain, folded


_ASCII, _FOLDED = _tables()
