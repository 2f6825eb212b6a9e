"""Sparse parity: the parity of a few bits among many that do not matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from heldout.core.errors import InputError
from heldout.core.seeds import stream


@dataclass(frozen=True)
class SparseParity:
    """Distinct bit strings in two parts; no string is in both."""

    relevant: Int[np.ndarray, " k"]
    """Places of the bits that decide the label, ascending."""
    train_inputs: Float[np.ndarray, "n bits"]
    """Bits to train on, 0 or 1, float32."""
    train_labels: Int[np.ndarray, " n"]
    """Parity of the relevant bits, 0 or 1."""
    test_inputs: Float[np.ndarray, "m bits"]
    """Bits of strings that are not in training."""
    test_labels: Int[np.ndarray, " m"]
    """Their parities."""


def sparse_parity(
    n: int, bits: int, k: int, train_share: float = 0.5, seed: int = 0
) -> SparseParity:
    """Draw n distinct strings of fair bits with y = (sum of k of the bits) mod 2.

    Which bits matter is drawn too. Any k - 1 of the relevant bits, and every other bit, say
    nothing about the label: a linear classifier stays at chance unless k = 1, and a learner that
    has memorized its training set without finding the k bits is at chance elsewhere. The task of
    "Hidden Progress in Deep Learning: SGD Learns Parities Near the Computational Limit",
    arXiv:2207.08799, in which "Grokking at the Edge of Numerical Stability", arXiv:2501.04697,
    takes 3 bits of 43, 2000 strings and half of them for training.

    DIFFERS: the relevant bits lie anywhere, there they come first; to a fully connected network
    that is the same.

    Args:
        n: strings in all, at most 2^bits.
        bits: length of a string, 1 to 62.
        k: how many bits matter, 1 to `bits`.
        train_share: share of the strings to train on; round(share * n) of them.
        seed: of the relevant bits, the strings and the split.

    Raises:
        InputError: a size out of its range, more strings than there are, or a share that leaves
            either part empty.

    >>> task = sparse_parity(200, 20, 3)
    >>> task.train_inputs.shape, task.test_inputs.shape
    ((100, 20), (100, 20))
    >>> bool((task.train_inputs[:, task.relevant].sum(1) % 2 == task.train_labels).all())
    True
    """
    _check(n, bits, k, train_share)
    rng = stream(seed, "sparse_parity", int(bits), int(k))
    relevant = np.sort(rng.choice(bits, k, replace=False))
    codes = _distinct(n, bits, rng)
    x = ((codes[:, None] >> np.arange(bits)) & 1).astype(np.float32)
    y = x[:, relevant].sum(1).astype(np.int64) % 2
    cut = round(train_share * n)
    return SparseParity(relevant, x[:cut], y[:cut], x[cut:], y[cut:])


def _distinct(n: int, bits: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    # n different integers below 2^bits, each set equally likely, in random order
    if n > 2**bits // 4:
        return rng.permutation(2**bits)[:n]
    found = np.empty(0, dtype=np.int64)
    while len(found) < n:
        drawn = np.concatenate([found, rng.integers(2**bits, size=n - len(found))])
        found = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return found


def _check(n: int, bits: int, k: int, train_share: float) -> None:
    whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in (n, bits, k))
    if not whole or not 1 <= bits <= 62 or not 1 <= k <= bits or not 2 <= n <= 2**bits:
        raise InputError(
            f"{n!r} strings of {bits!r} bits, {k!r} of them relevant",
            "integers: 1 to 62 bits, 1 to that many relevant, 2 to 2^bits strings",
            "sparse_parity(2000, 43, 3)",
        )
    if not (np.isfinite(train_share) and 1 <= round(train_share * n) < n):
        raise InputError(
            f"train share {train_share} of {n} strings",
            "a share that leaves at least one string on each side",
            "0.5",
        )
