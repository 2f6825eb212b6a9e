"""Compiled loops: captions beyond ASCII brought into the form that is compared. Needs numba."""

# mypy: ignore-errors
# Compiled code is typed by numba, from what it is called with.

from __future__ import annotations

import numpy as np
from numba import njit

GLUED = 9
"""Low byte of a character's entry: it may change with what stands before it."""
LONG = 10
"""Low byte of a character's entry: it begins anew, but its folded form does not fit the entry."""
_CACHED = {"cache": True, "nogil": True, "boundscheck": False}


@njit(**_CACHED)
def plain_rows(data, offsets, valid, plain):
    """Write into `plain` which captions to be read are ASCII; return how many others there are."""
    others = 0
    for r in range(len(valid)):
        high = np.uint8(0)
        for i in range(offsets[r], offsets[r + 1]):
            high |= data[i]
        plain[r] = valid[r] and high < 128
        others += valid[r] and high >= 128
    return others


@njit(**_CACHED)
def _decoded(data, i, end):
    # Code point and bytes of the character at i, or no bytes where there is none: then nothing
    # may be read, as the bytes did not come from an encoder.
    b = np.int64(data[i])
    if b < 128:
        return b, 1
    n = 2 if b < 0xE0 else (3 if b < 0xF0 else 4)
    if b < 0xC2 or b > 0xF4 or i + n > end:
        return 0, 0
    code = b & (0xFF >> (n + 1))
    for j in range(i + 1, i + n):
        if data[j] & 0xC0 != 0x80:
            return 0, 0
        code = (code << 6) | np.int64(data[j] & 0x3F)
    small = (n == 3 and code < 0x800) or (n == 4 and code < 0x10000)
    if small or code > 0x10FFFF or (code >= 0xD800 and code < 0xE000):
        return 0, 0
    return code, n


@njit(**_CACHED)
def unit_slot(units, text, data, start, end):
    """Return the slot of a unit's bytes in the hash table, or the empty one where it belongs."""
    key = np.uint64(end - start)
    for i in range(start, end):
        key = (key ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    mask = len(units) - 1
    place = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while units[place, 1] != 0:
        if units[place, 1] == end - start:
            at, same = units[place, 0], True
            for i in range(end - start):
                same &= text[at + i] == data[start + i]
            if same:
                return place
        place = (place + 1) & mask
    return place


@njit(**_CACHED)
def _past_glued(data, i, end, table):
    # Where the next character is that begins anew; -1 where the bytes are no text.
    while i < end:
        code, n = _decoded(data, i, end)
        if n == 0:
            return -1
        if np.int64(table[code] & np.uint64(255)) != GLUED:
            break
        i += n
    return i


@njit(**_CACHED)
def fold_rows(data, offsets, rows, table, units, text, out, starts, pages, missing):
    """Fold captions, as far as characters and units are known.

    A unit is a character that begins anew and what is glued to it; folding a text is folding its
    units. Most are one character, whose entry has the result; the others are looked up whole.

    Args:
        data, offsets, rows: UTF-8 bytes of all captions, where each starts, those to fold.
        table: by code point: 0 where not known, else up to 7 bytes << 8 | their number + 1, or
            `GLUED`, `LONG`.
        units, text: hash table of units (place, size, place and size of the folded form), bytes.
        out, starts: filled with the folded captions and where each starts.
        pages: marked where entries are missing, 256 characters each.
        missing: filled with start and end of units that are not known, as far as there is room.

    Returns:
        Units and characters missing, bytes that `out` lacks (0: none), and the caption, if any,
        that is no UTF-8 (else -1).
    """
    o, unknown, n_missing, room = 0, 0, 0, len(out)
    for k in range(len(rows)):
        i, end = offsets[rows[k]], offsets[rows[k] + 1]
        starts[k] = o
        if o + 8 * (end - i) + 8 > room:
            return 0, 0, o + 8 * (end - i) + 8 - room, -1
        begin, o_begin = i, o
        while i < end:
            if data[i] < 128 and table[data[i]] != 0:  # the most of most captions
                begin, o_begin = i, o
                out[o] = np.uint8(table[data[i]] >> np.uint64(8))
                o += 1
                i += 1
                continue
            code, n = _decoded(data, i, end)
            if n == 0:
                return 0, 0, 0, rows[k]
            entry = table[code]
            kind = np.int64(entry & np.uint64(255))
            if kind == 0:
                pages[code >> 8] = True
                unknown += 1
            elif kind < GLUED:
                begin, o_begin = i, o
                for _ in range(kind - 1):
                    entry >>= np.uint64(8)
                    out[o] = np.uint8(entry & np.uint64(255))
                    o += 1
            else:
                if kind == LONG:
                    begin, o_begin = i, o
                i = _past_glued(data, i + n, end, table)
                if i < 0:
                    return 0, 0, 0, rows[k]
                place, o = unit_slot(units, text, data, begin, i), o_begin
                if units[place, 1] == 0:
                    if n_missing < len(missing):
                        missing[n_missing, 0], missing[n_missing, 1] = begin, i
                    n_missing += 1
                else:
                    at, size = units[place, 2], units[place, 3]
                    if o + size + 8 * (end - i) + 8 > room:
                        return 0, 0, o + size + 8 * (end - i) + 8 - room, -1
                    for j in range(size):
                        out[o + j] = text[at + j]
                    o += size
                begin, o_begin = i, o
                continue
            i += n
    starts[len(rows)] = o
    return n_missing, unknown, 0, -1
