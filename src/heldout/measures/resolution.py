"""How close examples of different classes come: the resolution that a task asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from heldout.core.errors import InputError
from heldout.core.seeds import stream
from heldout.measures.intrinsic_dimension import finite_points

_SHARE = 2000  # the closest 1 of 2,000 pairs is the tail: 2,000 of the authors' 4 million
_FEWEST, _MOST = 20, 2000  # pairs in the tail
_KEPT = 4  # times as many pairs are kept, so that resamples still fill their tails


@dataclass(frozen=True)
class ClosestPairs:
    """The closest pairs of examples with different labels."""

    rows: Int[np.ndarray, "p 2"]
    """Positions of both examples, closest pair first."""
    distances: Float[np.ndarray, " p"]
    """Euclidean, growing."""
    tail: int
    """How many of them the extreme-value estimate rests on."""
    examples: int
    """Examples among which pairs were looked for."""
    total: int
    """Examples in the whole data set, to which the estimate is carried over."""

    @property
    def smallest(self) -> float:
        """Smallest distance that was seen."""
        return float(self.distances[0])


def closest_pairs(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    total: int | None = None,
    most: int = 2000,
    seed: int = 0,
) -> ClosestPairs:
    """Return the closest pairs of examples that have different labels.

    Args:
        x: finite inputs.
        y: labels.
        total: size of the data set of which x is a sample; len(x) when None.
        most: more examples than this are sampled down to it.
        seed: of that sample.

    Raises:
        InputError: NaN or infinite values, lengths that differ, fewer than two classes, equal
            inputs with different labels, fewer than 80 pairs, or a total below len(x).

    Cost: min(n, most)^2 d.

    >>> closest_pairs(np.arange(40.0)[:, None], np.arange(40) >= 20).smallest
    1.0
    """
    x, y = finite_points(x), np.asarray(y)
    if len(x) != len(y) or len(np.unique(y)) < 2:
        raise InputError(
            f"{len(x)} inputs and {len(y)} labels of {len(np.unique(y))} classes",
            "one label per input, two classes or more",
            "resolution is a distance between classes",
        )
    total = len(x) if total is None else total
    if total < len(x) or most < 2:
        raise InputError(
            f"total={total}, most={most} for {len(x)} inputs",
            "a data set of which x is a sample, and two examples or more to compare",
            "total=None when x is all there is",
        )
    rows = np.arange(len(x))
    if len(x) > most:
        rows = np.sort(stream(seed, "resolution rows").choice(len(x), most, replace=False))
    first, second, pairs = _candidates(x[rows], y[rows])
    distances = np.linalg.norm(x[rows[first]] - x[rows[second]], axis=1)
    order = np.argsort(distances, kind="stable")
    found = np.stack([rows[first], rows[second]], axis=1)[order]
    if distances[order[0]] == 0:
        i, j = found[0]
        raise InputError(
            f"rows {i} and {j} that are equal and have different labels",
            "inputs that determine their label",
            "drop or relabel them: the classes cannot be told apart at any resolution",
        )
    return ClosestPairs(found, distances[order], _tail(pairs), len(rows), total)


def _tail(pairs: int) -> int:
    return int(np.clip(pairs // _SHARE, _FEWEST, _MOST))


def _candidates(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows of the closest pairs by matrix products, and how many pairs there are."""
    # Centred, so that rounding is that of the spread and not of the mean; the distances
    # themselves are taken from differences afterwards.
    z = x - x.mean(axis=0)
    square = (z**2).sum(axis=1)
    far = square[:, None] + square[None, :] - 2 * z @ z.T
    far[(y[:, None] == y[None, :]) | np.tri(len(y), dtype=bool)] = np.inf
    pairs = int(np.isfinite(far).sum())
    kept = _KEPT * _tail(pairs)
    if pairs < kept:
        raise InputError(
            f"{pairs} pairs of different labels", f"at least {kept}", "more examples per class"
        )
    flat = np.argpartition(far, kept - 1, axis=None)[:kept]
    first, second = np.unravel_index(flat, far.shape)
    return first, second, pairs


def resolution(pairs: ClosestPairs) -> float:
    """Extreme-value estimate of the smallest distance between classes in the whole data set.

    With X the inverse distances of the tail, X_k the one just below it, and M1, M2 the mean and
    mean square of `ln(X / X_k)`: `gamma = M1 + 1 - 1 / (2 (1 - M1^2 / M2))`, and
    `1 / delta = X_k (1 + M1 (a^gamma - 1) / gamma)`, where a is the number of pairs of the whole
    data set that belong to the tail. Never above the smallest distance that was seen.

    DIFFERS: from the code of arXiv:2305.01034, which draws 4 million pairs with repeats and
    counts each pair of the data set twice, we take every pair of at most 2,000 examples, once.

    Args:
        pairs: found by `closest_pairs`.

    Cost: none over the data.

    >>> x = np.random.default_rng(0).normal(size=(400, 2)) + 9 * np.repeat([[0], [1]], 200, axis=0)
    >>> pairs = closest_pairs(x, np.repeat([0, 1], 200))
    >>> 0.8 < resolution(pairs) / pairs.smallest <= 1
    True
    """
    return _moment(pairs.distances[: pairs.tail + 1], _scale(pairs))


def resolution_draws(
    pairs: ClosestPairs, draws: int = 200, seed: int = 0
) -> Float[np.ndarray, " draws"]:
    """Return the resolution in bootstrap resamples of the examples.

    A smallest distance is not an average: no bootstrap is consistent for it, and resamples miss
    the closest pair about every second time. The draws show how much the estimate hangs on a
    few examples, which is a range and not a confidence interval.

    Args:
        pairs: found by `closest_pairs`.
        draws: resamples.
        seed: of the resamples.

    Cost: none over the data.

    >>> x = np.random.default_rng(0).normal(size=(400, 2)) + 9 * np.repeat([[0], [1]], 200, axis=0)
    >>> pairs = closest_pairs(x, np.repeat([0, 1], 200))
    >>> resolution_draws(pairs, 50).max() > resolution(pairs)
    np.True_
    """
    rng = stream(seed, "resolution draws")
    _, at = np.unique(pairs.rows, return_inverse=True)
    at = at.reshape(pairs.rows.shape)
    present = int(at.max()) + 1
    found = []
    for _ in range(draws):
        # Rows that are in no close pair are drawn as well: they only take up places.
        drawn = rng.integers(pairs.examples, size=pairs.examples)
        times = np.bincount(drawn[drawn < present], minlength=present)
        weight = times[at[:, 0]] * times[at[:, 1]]
        found.append(_moment(np.repeat(pairs.distances, weight)[: pairs.tail + 1], _scale(pairs)))
    return np.array(found)


def _scale(pairs: ClosestPairs) -> float:
    """How many times more pairs the whole data set has than were looked at."""
    return (pairs.total / pairs.examples) ** 2


def _moment(distances: np.ndarray, scale: float) -> float:
    if len(distances) < 3:
        return float(distances[0]) if len(distances) else float("nan")
    k = len(distances) - 1
    inverse = 1 / distances
    logs = np.log(inverse[:k] / inverse[k])
    m1, m2 = float(logs.mean()), float((logs**2).mean())
    if not m2 > m1**2 * (1 + 1e-9):  # ties: no tail to speak of
        return float(distances[0])
    gamma = m1 + 1 - 0.5 / (1 - m1**2 / m2)
    a = np.log(k * scale)
    growth = a if abs(gamma) < 1e-9 else np.expm1(gamma * a) / gamma
    return float(min(distances[0], 1 / (inverse[k] * (1 + m1 * growth))))
