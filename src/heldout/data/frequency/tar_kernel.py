"""Compiled loop: headers of a tar archive, and the captions among its members. Needs numba."""

# mypy: ignore-errors
# Compiled code is typed by numba, from what it is called with.

from __future__ import annotations

import numpy as np
from numba import njit

MORE, WHOLE, ODD, ROOM = 0, 1, 2, 3
"""Why a scan stopped: at the window's end, at the end mark, at what it does not read, for room."""
LONGEST = 4096
"""Bytes of a sample's name."""
_BLOCK = 512
_PATH = np.frombuffer(b"path\0", np.uint8)
# Each as long as the longest.
_NO_MATTER = np.frombuffer(b"mtimeatimectimeunamegnameuid\0\0gid\0\0", np.uint8).reshape(-1, 5)
_CACHED = {"cache": True, "nogil": True, "boundscheck": False}


@njit(**_CACHED)
def _octal(data, start, end):
    # A number field, or -1: blanks, octal digits, then blanks or zeros.
    i, found, digits = start, 0, 0
    while i < end and data[i] == 32:
        i += 1
    while i < end and data[i] >= 48 and data[i] < 56:
        found, digits, i = 8 * found + np.int64(data[i]) - 48, digits + 1, i + 1
    return found if digits > 0 and (i == end or data[i] == 0 or data[i] == 32) else -1


@njit(**_CACHED)
def _sound(data, at):
    total = np.int64(8 * 32)
    for i in range(148):
        total += np.int64(data[at + i])
    for i in range(156, _BLOCK):
        total += np.int64(data[at + i])
    return total == _octal(data, at + 148, at + 156)


@njit(**_CACHED)
def _zeros(data, start, end):
    for i in range(start, end):  # noqa: SIM110 - generators are not compiled
        if data[i] != 0:
            return False
    return True


@njit(**_CACHED)
def _until_zero(data, start, end):
    for i in range(start, end):
        if data[i] == 0:
            return i
    return end


@njit(**_CACHED)
def _is(data, start, end, word):
    for i in range(len(word)):
        if (data[start + i] if start + i < end else 0) != word[i]:
            return False
    return end - start <= len(word)


@njit(**_CACHED)
def _pax_path(data, start, end):
    # Where the path of a pax header is: (0, 0) without one, (-1, -1) where the header says more
    # than names, owners and times. A record is "length key=value\n".
    first, last, at = 0, 0, start
    while at < end:
        size, i = 0, at
        while i < end and data[i] >= 48 and data[i] < 58 and i < at + 10:
            size, i = 10 * size + np.int64(data[i]) - 48, i + 1
        key, stop = i + 1, at + size
        if (
            i == at
            or i >= end
            or data[i] != 32
            or stop > end
            or stop <= key
            or data[stop - 1] != 10
        ):
            return -1, -1
        equal = key
        while equal < stop and data[equal] != 61:
            equal += 1
        if equal == stop:
            return -1, -1
        if _is(data, key, equal, _PATH):
            first, last = equal + 1, stop - 1
        else:
            plain = False
            for word in _NO_MATTER:
                plain |= _is(data, key, equal, word)
            if not plain:
                return -1, -1
        at = stop
    return first, last


@njit(**_CACHED)
def _kind(data, start, end):
    # 1: txt, 2: json, 0: another; of what follows the first dot, in any case.
    n = end - start
    a = data[start] | 32 if n > 0 else 0
    b = data[start + 1] | 32 if n > 1 else 0
    c = data[start + 2] | 32 if n > 2 else 0
    if n == 3 and a == 116 and b == 120 and c == 116:
        return 1
    if n == 4 and a == 106 and b == 115 and c == 111 and (data[start + 3] | 32) == 110:
        return 2
    return 0


@njit(**_CACHED)
def _header(data, at, have):
    # Of the member at `at`: state, its type, where its content is, its size, and where its name is.
    path, stop, kind, ahead = 0, 0, np.uint8(0), False
    while True:
        if at + _BLOCK > have:
            return MORE, kind, 0, 0, 0, 0
        if data[at] == 0 and _zeros(data, at, at + _BLOCK):
            if ahead:
                return ODD, kind, 0, 0, 0, 0
            if at + 2 * _BLOCK > have:
                return MORE, kind, 0, 0, 0, 0
            whole = _zeros(data, at + _BLOCK, at + 2 * _BLOCK)
            return (WHOLE if whole else ODD), kind, at + 2 * _BLOCK, 0, 0, 0
        size, kind = _octal(data, at + 124, at + 136), data[at + 156]
        if size < 0 or not _sound(data, at):
            return ODD, kind, 0, 0, 0, 0
        content = at + _BLOCK
        if kind == 76 or kind == 120:  # L: a long name, x: pax records, both of the next member
            if ahead or size > LONGEST:
                return ODD, kind, 0, 0, 0, 0
            if content + size > have:
                return MORE, kind, 0, 0, 0, 0
            if kind == 76:
                path, stop = content, _until_zero(data, content, content + size)
            else:
                path, stop = _pax_path(data, content, content + size)
            if stop < 0 or (kind == 76 and stop == path):
                return ODD, kind, 0, 0, 0, 0
            at, ahead = content + (size + _BLOCK - 1) // _BLOCK * _BLOCK, True
            continue
        prefix = data[at + 345] != 0  # of a long name, in the older way
        if (kind != 48 and kind != 53) or (kind == 53 and size > 0) or (prefix and stop == 0):
            return ODD, kind, 0, 0, 0, 0
        if stop == 0:
            path, stop = at, _until_zero(data, at, at + 100)
        return MORE, kind, content, size, path, stop


@njit(**_CACHED)
def _dot(data, start, end):
    # The first dot behind the last slash, or the end.
    dot = end
    for i in range(start, end):
        if data[i] == 47:
            dot = end
        elif data[i] == 46 and dot == end:
            dot = i
    return dot


@njit(**_CACHED)
def _same(data, start, end, name, size):
    if end - start != size:
        return False
    for i in range(size):  # noqa: SIM110 - generators are not compiled
        if data[start + i] != name[i]:
            return False
    return True


@njit(**_CACHED)
def _named(data, start, end, name):
    # Keeps the name of a sample; returns its hash.
    key = np.uint64(0)
    for i in range(end - start):
        name[i] = data[start + i]
        key = (key ^ np.uint64(name[i])) * np.uint64(0x100000001B3)
        key ^= key >> np.uint64(29)
    return np.int64(key)


@njit(**_CACHED)
def scan(data, have, state, name, samples, texts):
    """Read members as far as the window goes.

    Args:
        data, have: window of the archive, starting at a header, and how many bytes of it are there.
        state: (samples so far, bytes in `texts`, size of `name`, whether a .txt member was met),
            updated.
        name: the last sample's name, updated: folder and what is before the first dot.
        samples: a row each, filled: hash of the name, and start and end in `texts` of its .txt and
            its .json member, or -1.
        texts: filled with the content of the .txt members, or, until one is met, of the .json ones,
            in order.

    Returns:
        Why it stopped, and where in the window to go on: at a header, which may be beyond its end.
    """
    at = 0
    while True:
        if at >= have:
            return MORE, at
        reason, kind, content, size, start, end = _header(data, at, have)
        if reason != MORE or content == 0:
            return reason, (content if reason == WHOLE else at)
        after = content + (size + _BLOCK - 1) // _BLOCK * _BLOCK
        if kind == 53:
            at = after
            continue
        dot = _dot(data, start, end)
        if dot - start > LONGEST:
            return ODD, at
        what, n = _kind(data, dot + 1, end), state[0]
        what = 0 if what == 2 and state[3] > 0 else what
        if what > 0:
            if content + size > have:
                return MORE, at
            if state[1] + size > len(texts):
                return ROOM, at
        if n == 0 or not _same(data, start, dot, name, state[2]):
            if n == len(samples):
                return ROOM, at
            samples[n, 0], samples[n, 1:] = _named(data, start, dot, name), -1
            state[2], n = dot - start, n + 1
        if what > 0:
            if samples[n - 1, 2 * what - 1] >= 0:
                return ODD, at
            if what == 1 and state[3] == 0:
                state[1], state[3] = 0, 1
            samples[n - 1, 2 * what - 1] = state[1]
            for i in range(size):
                texts[state[1] + i] = data[content + i]
            state[1] += size
            samples[n - 1, 2 * what] = state[1]
        state[0] = n
        at = after
