"""Right predictions by class or group beside how often each was seen, for few of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats

from heldout.core.errors import InputError
from heldout.core.interval import Interval

SMALLEST = 10
"""Classes and groups with fewer test examples are left out."""
_FEW = 4


@dataclass(frozen=True)
class Seen:
    """Classes or groups with enough test examples."""

    names: list[Any]
    """Of each."""
    counts: Int[np.ndarray, " k"]
    """Training examples of each; may be 0."""
    tested: Int[np.ndarray, " k"]
    """Test examples."""
    right: Int[np.ndarray, " k"]
    """Of these, how many are predicted right."""

    @property
    def decades(self) -> float:
        """Factors of ten between the largest and the smallest count (0 counts as 1)."""
        if len(self.counts) < 2:
            return 0.0
        x = np.log10(np.maximum(self.counts, 1))
        return float(x.max() - x.min())


def seen_rates(
    train: np.ndarray, test: np.ndarray, correct: Bool[np.ndarray, " m"], fewest: int = SMALLEST
) -> Seen:
    """Count training examples, test examples and right predictions of each value.

    Args:
        train: class or group of each training example.
        test: of each test example.
        correct: whether it is predicted right.
        fewest: test examples that a value needs.

    Raises:
        InputError: `test` and `correct` of different lengths.

    >>> a, b = np.array(["x", "x", "y"]), np.array(["x", "y", "z"])
    >>> found = seen_rates(a, b, np.array([True, False, True]), 1)
    >>> found.names, found.counts.tolist(), found.right.tolist()
    (['x', 'y', 'z'], [2, 1, 0], [1, 0, 1])
    """
    if len(test) != len(correct):
        raise InputError(f"{len(test)} and {len(correct)} test examples", "one each", "same rows")
    names, code = np.unique(np.asarray(test), return_inverse=True)
    tested = np.bincount(code, minlength=len(names))
    right = np.bincount(code, np.asarray(correct), minlength=len(names)).astype(np.int64)
    known, sizes = np.unique(np.asarray(train), return_counts=True)
    size = dict(zip(known.tolist(), sizes.tolist(), strict=True))
    counts = np.array([size.get(n, 0) for n in names.tolist()], dtype=np.int64)
    kept = tested >= fewest
    return Seen(names[kept].tolist(), counts[kept], tested[kept], right[kept])


def slope(seen: Seen, rng: np.random.Generator, level: float = 0.95, draws: int = 1000) -> Interval:
    """Accuracy gained for ten times the training examples, every class or group counting alike.

    Least squares of accuracy on log10 count. From four values on the interval is Student's with
    k - 2 degrees of freedom: classes differ in difficulty, too, and this is what it covers. With
    two or three that cannot be told, and the interval is a binomial bootstrap of the test examples.

    >>> counts = np.array([10, 100, 1000, 10000])
    >>> seen = Seen(list("abcd"), counts, np.full(4, 100), np.array([20, 41, 59, 80]))
    >>> round(slope(seen, np.random.default_rng(0)).value, 3)
    0.198
    """
    x = np.log10(np.maximum(seen.counts, 1))
    rates = seen.right / seen.tested
    if len(x) >= _FEW:
        fit = stats.linregress(x, rates)
        half = float(stats.t.ppf((1 + level) / 2, len(x) - 2) * fit.stderr)
        value = float(fit.slope)
        return Interval(value, value - half, value + half, len(x), level, "student t over classes")
    centred = x - x.mean()
    drawn = rng.binomial(seen.tested, rates, size=(draws, len(x))) / seen.tested
    found = drawn @ centred / (centred @ centred)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    value = float(rates @ centred / (centred @ centred))
    n = int(seen.tested.sum())
    return Interval(value, float(low), float(high), n, level, "bootstrap of test examples")


def raw_r(seen: Seen, level: float = 0.95) -> Interval:
    """Pearson r of log10 count and accuracy, with Fisher's interval; unbounded below four values.

    >>> seen = Seen(list("abcd"), 10 ** np.arange(1, 5), np.full(4, 100), np.array([2, 4, 6, 9]))
    >>> round(raw_r(seen).value, 3)
    0.994
    """
    x, rates = np.log10(np.maximum(seen.counts, 1)), seen.right / seen.tested
    k, method = len(x), "fisher z over classes"
    if k < 2 or np.ptp(rates) == 0 or np.ptp(x) == 0:
        return Interval(0.0, -1.0, 1.0, k, level, method)
    value = float(np.corrcoef(x, rates)[0, 1])
    if k < _FEW:
        return Interval(value, -1.0, 1.0, k, level, method)
    z = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    half = stats.norm.ppf((1 + level) / 2) / np.sqrt(k - 3)
    return Interval(value, float(np.tanh(z - half)), float(np.tanh(z + half)), k, level, method)
