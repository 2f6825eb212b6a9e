"""Islands among examples of one label, so that classes are not taken for sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.data.diversity.factors import table

_FEWEST = 3  # rows of a label at a source
_LEAST = 10  # rows in all, counted at the smaller source of each comparison


@dataclass(frozen=True)
class WithinClass:
    """How far sources lie apart among examples of one label."""

    score: Interval
    """1 - (within one + within the other) / (2 between), distances of rows with one label."""
    chance: float
    """95 % quantile of `score` when sources are dealt at random within each label."""
    p: float
    """Share of such deals at or above `score`."""
    spread: Float[np.ndarray, " m"]
    """Mean distance of two rows with one label, by source; NaN where it is in no comparison."""
    gaps: Float[np.ndarray, "m m"]
    """Between minus the mean of both within, by pair of sources; 0 where not compared."""


def islands_within_class(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    sources: Int[np.ndarray, " n"],
    *,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> WithinClass | None:
    """Energy coefficient of sources given the label, summed over labels and pairs of sources.

    A pair of sources is compared on each label of which both have at least 3 rows, weighted by
    the smaller number. Labels that occur more often at one source therefore leave it at 0.

    Args:
        features: (n, d); distances are Euclidean.
        labels: (n,).
        sources: 0 .. M-1 (n,).
        draws: bootstrap resamples within label and source, and deals within labels.
        level: coverage of the percentile interval.
        seed: of both.

    Returns:
        None where sources share too few labels: the smaller source of each comparison has fewer
        than 10 rows in all of them together.

    Cost: distances within each label, and `2 draws` products of them with M columns.

    Raises:
        InputError: lengths that differ, sources that are no whole numbers from 0, or features
            that are no finite numbers.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y, source = np.arange(200) % 2, np.arange(200) // 100
    >>> islands_within_class(x + 9 * y[:, None], y, source, draws=50).score.value < 0.05
    True
    >>> islands_within_class(x + 9 * source[:, None], y, source, draws=50).score.value > 0.5
    True
    """
    labels, sources = as_numpy(labels), as_numpy(sources)
    if sources.dtype.kind not in "iu" or not len(sources) or sources.min() < 0 or (
        labels.shape != sources.shape
    ):  # fmt: skip
        raise InputError(
            f"{labels.shape} labels and sources {sources.dtype} {sources.shape}",
            "a label and a source for each row, sources counted from 0",
            "np.unique(sources, return_inverse=True)[1] for names",
        )
    features = table(features, len(sources))
    m, rng = int(sources.max()) + 1, stream(seed, "islands within class")
    blocks = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        counts = np.bincount(sources[rows], minlength=m)
        rows = rows[counts[sources[rows]] >= _FEWEST]
        if (counts >= _FEWEST).sum() > 1:
            blocks.append((cdist(features[rows], features[rows]), np.eye(m)[sources[rows]]))
    whole = _sums([(d, w, w) for d, w in blocks]) if blocks else None
    if whole is None or whole[2].sum() / 2 < _LEAST:
        return None
    value = _score(whole)
    resampled, dealt = [], []
    for _ in range(draws):
        resampled.append(_score(_sums([(d, w, _resampled(w, rng)) for d, w in blocks])))
        mixed = [(d, w[rng.permutation(len(w))]) for d, w in blocks]
        dealt.append(_score(_sums([(d, w, w) for d, w in mixed])))
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(resampled, tails)
    n = sum(len(w) for _, w in blocks)
    p = (1 + sum(d >= value - 1e-12 for d in dealt)) / (1 + draws)
    within, between, weight = whole
    used = np.maximum(weight, 1e-300)
    alone = np.where(weight.sum(1) > 0, within.sum(1) / np.maximum(weight.sum(1), 1e-300), np.nan)
    gaps = np.where(weight > 0, (between - (within + within.T) / 2) / used, 0.0)
    return WithinClass(
        Interval(value, float(low), float(high), n, level, "percentile bootstrap"),
        float(np.quantile(dealt, 0.95)), float(p), alone, gaps,
    )  # fmt: skip


def _resampled(onehot: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weight = np.zeros(len(onehot))
    for k in np.flatnonzero(onehot.any(axis=0)):
        rows = np.flatnonzero(onehot[:, k])
        weight[rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
    return onehot * weight[:, None]


def _sums(blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Weighted sums over labels, by pair: within the first, between, and the weights."""
    m = blocks[0][1].shape[1]
    within, between, weights = np.zeros((m, m)), np.zeros((m, m)), np.zeros((m, m))
    for distance, onehot, weighted in blocks:
        counts, total = onehot.sum(axis=0), weighted.sum(axis=0)
        pairs = np.outer(total, total) - np.diag((weighted**2).sum(axis=0))
        mean = weighted.T @ (distance @ weighted) / np.maximum(pairs, 1e-300)
        weight = np.minimum.outer(counts, counts)
        np.fill_diagonal(weight, 0)
        # A resample may hold one row alone, which has no distance within.
        alone = np.diag(pairs) < 1e-9
        weight[alone], weight[:, alone] = 0, 0
        within += weight * np.diag(mean)[:, None]
        between += weight * mean
        weights += weight
    return within, between, weights


def _score(sums: tuple[np.ndarray, ...]) -> float:
    within, between, _ = sums
    total = float(between.sum())
    return 1 - float(within.sum()) / total if total > 0 else 0.0
