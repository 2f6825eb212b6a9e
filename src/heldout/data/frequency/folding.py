"""Captions beyond ASCII brought into the form that is compared, at the speed of compiled code.

Folding as `words.fold` does it looks at whole strings. But where a character begins that neither
is a mark nor joins what stands before it, the text can be cut: what is folded apart and joined is
what is folded whole. So each such character is folded once and its result kept in a table, and
so is each one followed by marks ("e" and an acute accent), in any Unicode form.
"""

from __future__ import annotations

import threading
import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np

from heldout.core.errors import InputError, MissingExtraError
from heldout.data.frequency.words import fold, follows

_CODES = 0x110000
_KEPT = 1 << 24  # bytes of units that are kept from one call to the next
_ASKED = 1 << 16


class _Known(threading.local):
    # What was folded before. One for each thread: compiled loops run side by side.

    def __init__(self) -> None:
        self.table = np.zeros(_CODES, np.uint64)
        self.forget()

    def forget(self) -> None:
        self.units, self.used = np.zeros((1 << 10, 4), np.int64), 0
        self.text, self.filled = np.zeros(1 << 12, np.uint8), 0


_KNOWN = _Known()


def plain_rows(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return which captions that are to be read have ASCII characters only.

    >>> data = np.frombuffer("añ".encode(), np.uint8)
    >>> plain_rows(data, np.array([0, 1, 3]), np.array([True, True])).tolist()
    [True, False]
    """
    plain = np.empty(len(valid), np.bool_)
    _kernel().plain_rows(data, offsets, valid, plain)
    return plain


def fold_rows(
    data: np.ndarray, offsets: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fold captions given as UTF-8 bytes; return the bytes of all, and where each starts (n + 1).

    Each comes out as `words.fold` folds it, but for line feeds, which become blanks.

    Args:
        data: bytes of all captions.
        offsets: where each caption starts in them (n + 1).
        rows: numbers of those to fold.

    Cost: about 150 MB a second on one core, once a text's characters have been met.

    Raises:
        InputError: a caption that is no UTF-8.
        MissingExtraError: numba is not installed.

    >>> data = np.frombuffer("Zwei CAFÉS".encode(), np.uint8)
    >>> bytes(fold_rows(data, np.array([0, 11]), np.array([0]))[0]).decode()
    'zwei cafés'
    """
    loops, known = _kernel(), _KNOWN
    if known.filled > _KEPT:
        known.forget()
    size = int((offsets[rows + 1] - offsets[rows]).sum())
    out, starts = np.empty(2 * size + 1024, np.uint8), np.zeros(len(rows) + 1, np.int64)
    pages, asked = np.zeros(_CODES >> 8, np.bool_), np.empty((_ASKED, 2), np.int64)
    while True:
        missing, unknown, short, wrong = loops.fold_rows(
            data, offsets, rows, known.table, known.units, known.text, out, starts, pages, asked
        )
        if wrong >= 0:
            raise InputError(f"caption {wrong}, which is not UTF-8", "UTF-8 text", "decode it")
        if short:
            out = np.empty(2 * len(out) + short, np.uint8)
        elif unknown:
            _learn_characters(loops, known.table, pages)
        elif missing:
            _learn_units(loops, known, data, asked[:missing])
        else:
            return out[: starts[-1]], starts


def _learn_characters(loops: Any, table: np.ndarray, pages: np.ndarray) -> None:
    for page in np.flatnonzero(pages).tolist():
        first = page << 8
        table[first : first + 256] = [_entry(loops, c) for c in range(first, first + 256)]
    pages[:] = False


def _entry(loops: Any, code: int) -> int:
    if 0xD800 <= code < 0xE000:
        return int(loops.GLUED)  # no character; never in UTF-8
    char = chr(code)
    folded = fold(char).replace("\n", " ").encode()
    if not folded or not begins_anew(char):
        return int(loops.GLUED)
    if len(folded) > 7:
        return int(loops.LONG)
    return int.from_bytes(folded, "little") << 8 | (len(folded) + 1)


def begins_anew(char: str) -> bool:
    """Return whether text before this character is folded the same without it, and it without that.

    True when it, and what case folding makes of it, starts with a character that is no combining
    mark, is not the second of two that Unicode composes, and is no mark of a script without blanks.

    >>> [begins_anew(c) for c in ("é", "\\u0301", "東", "\\u1161", "\\u314f", "\\u0e34")]
    [True, False, True, False, False, False]
    """
    folded = unicodedata.normalize("NFKC", char).casefold()
    firsts = (unicodedata.normalize("NFKD", part)[0] for part in (char, folded))
    return not any(follows(c) or c in _seconds() for c in firsts)


@lru_cache(maxsize=1)
def _seconds() -> frozenset[str]:
    # Planes from 2 on have no pairs: ideographs, tags and private use.
    found = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for code in range(0x20000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return frozenset(found)


def _learn_units(loops: Any, known: _Known, data: np.ndarray, asked: np.ndarray) -> None:
    new = dict.fromkeys(data[a:b].tobytes() for a, b in asked.tolist())
    folded = [fold(unit.decode().replace("\n", " ")).encode() for unit in new]
    needed = known.filled + sum(map(len, new)) + sum(map(len, folded))
    if needed > len(known.text):
        known.text = np.concatenate([known.text[: known.filled], np.zeros(2 * needed, np.uint8)])
    while 4 * (known.used + len(new)) > len(known.units):
        _spread(loops, known)
    for unit, form in zip(new, folded, strict=True):
        at = known.filled
        known.text[at : at + len(unit) + len(form)] = np.frombuffer(unit + form, np.uint8)
        place = loops.unit_slot(known.units, known.text, known.text, at, at + len(unit))
        known.units[place] = at, len(unit), at + len(unit), len(form)
        known.filled, known.used = at + len(unit) + len(form), known.used + 1


def _spread(loops: Any, known: _Known) -> None:
    old = known.units[known.units[:, 1] > 0]
    known.units = np.zeros((4 * len(known.units), 4), np.int64)
    for unit in old:
        place = loops.unit_slot(known.units, known.text, known.text, unit[0], unit[0] + unit[1])
        known.units[place] = unit


def _kernel() -> Any:
    try:
        from heldout.data.frequency import fold_kernel
    except ImportError as error:
        raise MissingExtraError("numba", "count") from error
    return fold_kernel
