"""Counts and scores of concepts brought into one order, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heldout.core.errors import InputError

FEWEST = 30
"""Fewer concepts are refused: a line through them says nothing about rare and frequent ones."""

Values = Mapping[Any, float] | Sequence[float] | np.ndarray
"""Numbers by concept's name, or in order."""


def aligned(
    counts: Values, scores: Values, groups: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return counts, scores and group numbers in one order, the names having been matched.

    Raises:
        InputError: names or lengths that do not match.

    >>> aligned({"a": 1, "b": 2}, {"b": 0.2, "a": 0.1}, None)[1].tolist()
    [0.1, 0.2]
    """
    if isinstance(counts, Mapping) != isinstance(scores, Mapping):
        raise InputError(
            f"counts of type {type(counts).__name__}, scores of type {type(scores).__name__}",
            "both by name or both in order",
            "dict(zip(names, scores))",
        )
    names: list[Any] | None = None
    if isinstance(counts, Mapping) and isinstance(scores, Mapping):
        apart = sorted({str(k) for k in counts.keys() ^ scores.keys()})
        if apart:
            raise InputError(
                f"{len(apart)} names on one side only, such as {', '.join(apart[:3])}",
                "counts and scores of the same concepts",
                "keep what both have, or map the names first",
            )
        names = list(counts)
        counts, scores = [counts[k] for k in names], [scores[k] for k in names]
    if isinstance(groups, Mapping):
        missing = [k for k in names or [] if k not in groups]
        if names is None or missing:
            raise InputError(
                f"groups by name, {len(missing)} concepts without one",
                "a group for each concept, by name when counts are",
                "groups=[...] in the order of counts",
            )
        groups = [groups[k] for k in names]
    count, score = np.asarray(counts, dtype=float), np.asarray(scores, dtype=float)
    if count.ndim != 1 or count.shape != score.shape:
        raise InputError(
            f"counts of shape {count.shape}, scores of shape {score.shape}",
            "one of each for every concept",
            "both as flat arrays in one order",
        )
    if groups is None:
        return count, score, None
    if len(groups) != len(count):
        raise InputError(
            f"{len(groups)} groups for {len(count)} concepts", "one each", "groups=None"
        )
    code: dict[Any, int] = {}
    return count, score, np.array([code.setdefault(g, len(code)) for g in groups])


def check_law(count: np.ndarray, score: np.ndarray, bins: int, drop: tuple[int, int]) -> None:
    """Raise for counts and scores that a law cannot be fitted to; see `law.frequency_law`.

    Raises:
        InputError: as listed there.

    >>> check_law(10 ** np.linspace(0, 2, 40), np.arange(40.0), 12, (1, 1))
    """
    if len(count) < FEWEST:
        raise InputError(f"{len(count)} concepts", f"at least {FEWEST}", "count more concepts")
    if not np.isfinite(count).all() or not np.isfinite(score).all() or (count < 0).any():
        raise InputError(
            "negative or non-finite counts or scores",
            "counts of 0 or more, finite scores",
            "leave out concepts that were not scored",
        )
    seen = count[count > 0]
    if not len(seen):
        raise InputError(
            "counts that are all 0", "concepts that were seen", "check the counter's names"
        )
    decades = float(np.log10(seen.max() / seen.min()))
    if decades < 1 or len(seen) < 3:
        raise InputError(
            f"counts from {seen.min():g} to {seen.max():g} ({decades:.2f} decades)",
            "at least one decade between rare and frequent concepts",
            "add rarer or more frequent concepts; a slope per decade needs a decade",
        )
    if np.ptp(score) == 0:
        raise InputError("scores that are all equal", "scores that differ", "check the evaluation")
    if bins - sum(drop) < 3 or min(drop) < 0:
        raise InputError(
            f"{bins} bins, {drop[0]} and {drop[1]} dropped", "at least 3 left", "bins=12"
        )
