"""Compiled loops: bytes of captions to words, words to concepts. Needs numba."""

# mypy: ignore-errors
# Compiled code is typed by numba, from what it is called with.

from __future__ import annotations

import numpy as np
from numba import njit

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, from the golden ratio: spreads a key over the slots of a table."""
PACKED = 8
"""Words up to this many bytes are their key, so that equal keys are equal words."""
_CACHED = {"cache": True, "nogil": True, "boundscheck": False}


@njit(**_CACHED)
def _grown(key, byte):
    return ((key << np.uint64(8)) | (key >> np.uint64(56))) ^ np.uint64(byte)


@njit(**_CACHED)
def key_of(data, start, end):
    """Return the key of one word's bytes: `key = rotate(key, 8) ^ byte`."""
    key = np.uint64(0)
    for i in range(start, end):
        key = _grown(key, data[i])
    return key


@njit(**_CACHED)
def _tokenized(data, start, end, table, ends, keys):
    # Every byte writes its end and key, and only a word's last one moves on: no branch to
    # mispredict once a word, which is what a plain loop spends half of its time on.
    key, k, before, high = np.uint64(0), 0, np.uint8(0), np.uint8(0)
    for i in range(start, end):
        b = data[i]
        c = table[b]
        high |= b
        ends[k] = i
        keys[k] = key
        k += np.int64((c == 0) & (before != 0))
        grown = _grown(key, c)
        key = grown if c != 0 else np.uint64(0)
        before = c
    if before != 0:
        ends[k] = end
        keys[k] = key
        k += 1
    return k, high


@njit(**_CACHED)
def _word(data, start, end, key, table, slots, shift, text):
    # The number of a word, or -1. Never by key alone beyond `PACKED` bytes: counts are exact.
    # A slot is a key, and beside it in the same cache line word << 40 | place in text << 8 | size.
    place, last = np.int64((key * MULTIPLIER) >> shift), len(slots) // 2 - 1
    while slots[2 * place + 1] != 0:
        if slots[2 * place] == key:
            entry = np.int64(slots[2 * place + 1])
            size = entry & 255
            s = end - size
            same = s >= start and (s == start or table[data[s - 1]] == 0)
            if same and size > PACKED:
                at = (entry >> 8) & 0xFFFFFFFF
                for i in range(size):
                    same &= table[data[s + i]] == text[at + i]
            if same:
                return entry >> 40
        place = (place + 1) & last
    return -1


@njit(**_CACHED)
def _known(data, start, end, table, vocabulary, ends, keys, places, ids):
    # Places and numbers of the words of a caption that some concept has, first to last.
    k, high = _tokenized(data, start, end, table, ends, keys)
    bits, fine, slots, shift, text = vocabulary
    maybe = 0
    for j in range(k):
        p = np.int64((keys[j] * MULTIPLIER) >> fine)
        places[maybe] = j
        maybe += np.int64((bits[p >> 6] >> np.uint64(p & 63)) & np.uint64(1))
    known = 0
    for q in range(maybe):
        j = places[q]
        w = _word(data, start, ends[j], keys[j], table, slots, shift, text)
        places[known], ids[known] = j, w
        known += np.int64(w >= 0)
    return known, high


@njit(**_CACHED)
def _below(node, word, slot, node_key):
    key, mask = (np.int64(node) << 32) | np.int64(word), len(slot) - 1
    place = np.int64((np.uint64(key) * MULTIPLIER) >> np.uint64(33)) & mask
    while slot[place] >= 0:
        if node_key[place] == key:
            return slot[place]
        place = (place + 1) & mask
    return -1


@njit(**_CACHED)
def _phrases(known, places, ids, phrases, row, counts, stamp, pairs, n_pairs):
    n_first, slot, node_key, node_at, concepts = phrases
    for a in range(known):
        if ids[a] >= n_first:  # begins no concept
            continue
        node, b = ids[a], a
        while node >= 0:
            for q in range(node_at[node], node_at[node + 1]):
                c = concepts[q]
                if stamp[c] != row:
                    stamp[c] = row
                    counts[c] += 1
                    if n_pairs < len(pairs):
                        pairs[n_pairs, 0], pairs[n_pairs, 1] = row, c
                    n_pairs += 1
            b += 1
            if b >= known or places[b] != places[b - 1] + 1:
                break
            node = _below(node, ids[b], slot, node_key)
    return n_pairs


@njit(**_CACHED)
def _sets(known, ids, sets, row, counts, stamp, pairs, n_pairs):
    anchor_at, anchored, at, words, concepts = sets
    n = len(counts)
    for a in range(known):
        stamp[n + ids[a]] = row
    for a in range(known):
        for q in range(anchor_at[ids[a]], anchor_at[ids[a] + 1]):
            s = anchored[q]
            whole = True
            for p in range(at[s], at[s + 1]):
                whole &= stamp[n + words[p]] == row
            c = concepts[s]
            if whole and stamp[c] != row:
                stamp[c] = row
                counts[c] += 1
                if n_pairs < len(pairs):
                    pairs[n_pairs, 0], pairs[n_pairs, 1] = row, c
                n_pairs += 1
    return n_pairs


@njit(**_CACHED)
def count_rows(
    data, offsets, rows, valid, table, ascii_only, vocabulary, phrases, sets, use_sets,
    counts, stamp, other, pairs,
):  # fmt: skip
    """Count concepts in captions given as bytes; see `matching.Matcher`.

    Args:
        data, offsets: all captions' UTF-8 bytes, and where each starts.
        rows: number of each caption, for `stamp` and `pairs`.
        valid: captions to read.
        table: byte -> folded byte, 0 for what separates words.
        ascii_only: leave captions with other bytes for later, in `other`.
        vocabulary, phrases, sets: of the matcher.
        use_sets: words in any order instead of phrases.
        counts: captions by concept, added to.
        stamp: the last caption that each concept, then each word was seen in.
        other: filled with the positions of captions left for later.
        pairs: filled with (caption, concept) as far as there is room.

    Returns:
        Captions with a concept, captions left for later, pairs found (more than fit: call again).
    """
    longest = 0
    for r in range(len(offsets) - 1):
        longest = max(longest, offsets[r + 1] - offsets[r])
    ends, keys = np.empty(longest + 2, np.int64), np.empty(longest + 2, np.uint64)
    places, ids = np.empty(longest + 2, np.int64), np.empty(longest + 2, np.int64)
    matched, left, found = 0, 0, 0
    for r in range(len(offsets) - 1):
        if not valid[r]:
            continue
        known, high = _known(
            data, offsets[r], offsets[r + 1], table, vocabulary, ends, keys, places, ids
        )
        if ascii_only and high >= 128:
            other[left] = r
            left += 1
            continue
        before = found
        if use_sets:
            found = _sets(known, ids, sets, rows[r], counts, stamp, pairs, found)
        else:
            found = _phrases(known, places, ids, phrases, rows[r], counts, stamp, pairs, found)
        matched += found > before
    return matched, left, found
