"""The rare end: which concepts were seen least, and how much worse the model is on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.data.frequency.inputs import FEWEST, Values, aligned


@dataclass(frozen=True)
class Tail:
    """What `tail_report` found."""

    rare: tuple[Any, ...]
    """Names (or positions) of the rarest concepts, lowest score first."""
    rare_mean: Interval
    """Their mean score."""
    rest_mean: Interval
    """Mean score of the others."""
    difference: Interval
    """Rare minus the rest; below 0: rare concepts are worse."""
    largest_rare_count: float
    """Count of the most frequent of the rare ones."""
    head_share: float
    """Share of all examples that the most frequent tenth of the concepts takes, 0 to 1."""
    unseen_share: float
    """Share of concepts with count 0."""


def tail_report(
    counts: Values, scores: Values, share: float = 0.1, *, draws: int = 1000, seed: int = 0
) -> Tail:
    """Compare the rarest concepts with the rest.

    The rare ones are those up to the count of the `share`-th rarest, ties included, so that no
    order of equal counts decides. Intervals: percentile bootstrap over concepts of each side.

    Args:
        counts: how often each concept was seen, by name or in order.
        scores: of the same concepts.
        share: of the concepts that count as rare, above 0 and below 1.
        draws: bootstrap resamples.
        seed: of the resamples.

    Raises:
        InputError: names or lengths that do not match, fewer than 30 concepts, negative or
            non-finite numbers, or ties that make every concept rare.

    Udandarao et al. 2024, arXiv:2404.04125, section 5 (their benchmark takes the 290 rarest).

    >>> report = tail_report(np.arange(1, 101), np.arange(1, 101) / 100, 0.1, draws=50)
    >>> report.rare[:2], round(report.rare_mean.value, 3), round(report.difference.value, 2)
    ((0, 1), 0.055, -0.5)
    """
    count, score, _ = aligned(counts, scores, None)
    names = list(counts) if isinstance(counts, dict) else list(range(len(count)))
    if not 0 < share < 1:
        raise InputError(f"share {share}", "above 0 and below 1", "share=0.1")
    if len(count) < FEWEST:
        raise InputError(f"{len(count)} concepts", f"at least {FEWEST}", "count more concepts")
    if not np.isfinite(count).all() or not np.isfinite(score).all() or (count < 0).any():
        raise InputError(
            "negative or non-finite numbers", "counts of 0 or more, finite scores", "leave them out"
        )
    limit = np.sort(count)[max(0, int(np.ceil(share * len(count))) - 1)]
    rare = count <= limit
    if rare.all():
        raise InputError("counts that are all equal", "rare and frequent concepts", "a wider set")
    rng = stream(seed, "tail")
    a, b = score[rare], score[~rare]
    means = np.array([(_draw(a, rng), _draw(b, rng)) for _ in range(draws)]).reshape(-1, 2)
    order = np.flatnonzero(rare)[np.argsort(score[rare], kind="stable")]
    head = np.sort(count)[::-1][: max(1, len(count) // 10)].sum() / max(count.sum(), 1e-300)
    return Tail(
        tuple(names[i] for i in order.tolist()),
        _interval(float(a.mean()), means[:, 0], len(a)),
        _interval(float(b.mean()), means[:, 1], len(b)),
        _interval(float(a.mean() - b.mean()), means[:, 0] - means[:, 1], min(len(a), len(b))),
        float(limit), float(head), float((count == 0).mean()),
    )  # fmt: skip


def _draw(values: np.ndarray, rng: np.random.Generator) -> float:
    return float(values[rng.integers(len(values), size=len(values))].mean())


def _interval(value: float, drawn: np.ndarray, n: int) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn.size else (np.nan, np.nan)
    return Interval(value, float(low), float(high), n, 0.95, "percentile bootstrap over concepts")
