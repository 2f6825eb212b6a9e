"""Rows that occur twice, and how many would do so by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heldout.core.errors import InputError

IntArray = NDArray[np.int64]
HashArray = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_BLOCKS = 24  # random blocks of columns tried by the chance estimate


@dataclass(frozen=True)
class ExactMatches:
    """Rows of one set that are identical to rows of another."""

    rows: IntArray
    """Positions in `b` that have at least one identical row in `a`."""
    partners: IntArray
    """For each of them, the first such row of `a`."""
    copies: IntArray
    """For each of them, how many rows of `a` are identical to it."""


def column_hashes(x: np.ndarray, seed: int = 0) -> HashArray:
    """Hash every value: one 64-bit number per row and column, equal for equal values.

    A row's hash is the wrapping sum over its columns, so leaving a column out is one
    subtraction. `-0.0` counts as `0.0`, and integers and strings are hashed by value.

    Args:
        x: (n, ...) numbers, booleans or strings; trailing axes are flattened.
        seed: salt of the columns.

    Returns:
        (n, d) hashes. One pass over the data.

    Raises:
        InputError: object columns that are not strings.

    >>> h = column_hashes(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])).sum(axis=1)
    >>> bool(h[0] == h[2]), bool(h[0] == h[1])
    (True, False)
    """
    flat = np.asarray(x).reshape(len(x), -1)
    if flat.dtype.kind in "OUS":
        codes = np.array([[hash_text(str(v)) for v in row] for row in flat], dtype=np.uint64)
        bits = codes.reshape(flat.shape)
    elif flat.dtype.kind in "fiub":
        bits = np.ascontiguousarray(flat.astype(np.float64) + 0.0).view(np.uint64)
    else:
        raise InputError(f"values of dtype {flat.dtype}", "numbers or strings", "encode them first")
    salt = np.random.default_rng(seed).integers(1, 2**63, flat.shape[1], dtype=np.uint64)
    return _mix(bits + salt[None] * _ODD)


def hash_text(text: str) -> int:
    """Hash a string to 64 bits, the same in every process.

    >>> hash_text("a") == hash_text("a") != hash_text("b")
    True
    """
    import hashlib

    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def row_hashes(x: np.ndarray, seed: int = 0) -> HashArray:
    """Hash every row to 64 bits; identical rows have identical hashes.

    Two different rows collide with probability about 2^-64 per pair.

    Args:
        x: (n, ...) numbers, booleans or strings.
        seed: salt; use the same for sets to be compared.

    Returns:
        (n,) hashes. One pass over the data, in blocks of bounded memory.

    Raises:
        InputError: see `column_hashes`.

    >>> len(set(row_hashes(np.array([[1, 2], [1, 2], [3, 4]])).tolist()))
    2
    """
    width = max(1, int(np.prod(np.shape(x)[1:])))
    step = max(1, 20_000_000 // width)
    parts = [column_hashes(x[i : i + step], seed).sum(axis=1) for i in range(0, len(x), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def exact_matches(a: HashArray, b: HashArray | None = None) -> ExactMatches:
    """Find rows of `b` that also occur in `a`, from their hashes.

    Args:
        a: (n,) row hashes.
        b: (m,) row hashes; None looks for repeats inside `a`, each after its first occurrence.

    Returns:
        The matches, in order of position. O((n + m) log n).

    >>> a = row_hashes(np.array([[1], [2], [2]]))
    >>> exact_matches(a, row_hashes(np.array([[2], [5]]))).rows
    array([0])
    >>> exact_matches(a).rows
    array([2])
    """
    order = np.argsort(a, kind="stable")
    values = a[order]
    wanted = a if b is None else b
    low, high = np.searchsorted(values, wanted), np.searchsorted(values, wanted, side="right")
    first = order[np.minimum(low, max(len(a) - 1, 0))] if len(a) else np.zeros(len(wanted), int)
    found = high > low
    if b is None:
        found &= first < np.arange(len(a))
    rows = np.flatnonzero(found)
    return ExactMatches(rows, first[rows], (high - low)[rows] - (1 if b is None else 0))


def repeat_rate(hashes: HashArray) -> float:
    """Share of rows that have an identical other row in the same set.

    >>> repeat_rate(row_hashes(np.array([[1], [2], [2], [3]])))
    0.5
    """
    if len(hashes) == 0:
        return 0.0
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return float((counts[inverse] > 1).mean())


def expected_pairs(x: np.ndarray | Sequence[np.ndarray], seed: int = 0) -> tuple[float, int]:
    """Identical pairs of rows to expect by chance, and the number there are.

    For a block B of columns, let G be the pairs of rows that agree outside B, E those that agree
    everywhere and p the chance that two rows agree on B. If values coincide only by chance,
    `E = p G`, so chance explains `(G - E) p / (1 - p)` of the pairs. A copied row agrees
    everywhere without leaving such near-misses. The largest explanation over single columns,
    contiguous blocks and random blocks is returned: it errs on the side of "by chance".

    Args:
        x: (n, ...) rows, or several such arrays of the same rows; at most 64 columns are left
            out one at a time.
        seed: draws the blocks.

    Returns:
        Pairs expected by chance, and identical pairs found. O(n d) per hundred blocks.

    >>> rng = np.random.default_rng(0)
    >>> coarse = rng.integers(0, 3, size=(200, 3))
    >>> chance, found = expected_pairs(coarse)
    >>> bool(0.5 < chance / found < 2)
    True
    >>> fine = rng.normal(size=(100, 3))
    >>> expected_pairs(np.vstack([fine, fine[:10]]))
    (0.0, 10)
    """
    arrays = [x] if isinstance(x, np.ndarray) else list(x)
    hashes = np.hstack([column_hashes(a, seed + i) for i, a in enumerate(arrays)])
    total = hashes.sum(axis=1)
    found = _pairs(total)
    n, d = hashes.shape
    if found == 0 or n < 2:
        return 0.0, found
    best = 0.0
    every = n * (n - 1) / 2
    for block in _column_blocks(d, np.random.default_rng(seed)):
        part = hashes[:, block].sum(axis=1)
        agree = _pairs(part) / every
        near = _pairs(total - part) - found
        if agree < 1:
            best = max(best, near * agree / (1 - agree))
    return float(best), found


def _column_blocks(d: int, rng: np.random.Generator) -> list[IntArray]:
    singles = rng.permutation(d)[:64]
    blocks = [np.array([c]) for c in singles]
    for width in (2, 3, 4, 6, 10):
        if width < d:
            starts = rng.permutation(d - width + 1)[:_BLOCKS]
            blocks += [np.arange(s, s + width) for s in starts]
    for _ in range(_BLOCKS):
        size = int(rng.integers(2, max(3, d // 2))) if d > 2 else 1
        blocks.append(rng.permutation(d)[: min(size, d - 1) or 1])
    return blocks


def _pairs(hashes: HashArray) -> int:
    counts = np.unique(hashes, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _mix(h: HashArray) -> HashArray:
    # Finalizer of splitmix64: every input bit reaches every output bit.
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
