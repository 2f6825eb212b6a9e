"""How varied the parts of pooled data are, how far apart, and whether they give tasks away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import derived_seed, stream
from heldout.core.statistics import bootstrap, mean
from heldout.data.diversity.dependence import (
    Correction,
    Dependence,
    entropy,
    normalized_information,
)
from heldout.data.diversity.factors import Binning, binned, continuous, discrete, finite
from heldout.data.diversity.gaps import mmd_gap, neighbour_overlap, wasserstein_gap
from heldout.data.diversity.islands import Islands, island_scores, sampled

FEWEST = 50
"""Rows that a part must have: distances and information from fewer say little."""

_ROWS = 1500  # of all parts together, for distances: intervals are narrow enough by then


@dataclass(frozen=True)
class PartReport:
    """One part of the pooled data."""

    name: str
    n: int
    """Rows."""
    diversity: Interval
    """Mean distance between two of its rows, in the features' unit."""
    entropy: float
    """Of the irrelevant factor inside the part, nats, Miller-Madow."""
    task_entropy: float
    """Of the task labels inside the part, nats, Miller-Madow."""


@dataclass(frozen=True)
class PairReport:
    """Two parts of the pooled data."""

    first: str
    second: str
    gap: Interval
    """Wasserstein-1 distance (sliced for several columns), in the features' unit."""
    gap_by_chance: float
    """Its mean when the rows of both are dealt at random: what finite samples show anyway."""
    mmd: float
    """Maximum mean discrepancy, Gaussian kernel of median width, 0 to sqrt 2."""
    overlap: Interval
    """Neighbours from the other part over what mixing would give: 1 mixed, 0 islands."""
    island_score: Interval
    """Energy coefficient: 0 one distribution, towards 1 for small islands far apart."""


@dataclass(frozen=True)
class DatasetReport:
    """Diversity inside parts, disparity between them, and dependence of tasks on a factor."""

    nmi: Dependence
    """Between task and irrelevant factor (between task and part, where none was measured)."""
    source_nmi: Dependence
    """Between task and part."""
    nmi_by_size: dict[float, float]
    """`nmi` with half, the stated, and twice the size of the bins; empty for discrete factors."""
    parts: list[PartReport]
    """Empty where no factor was measured, as are `pairs`."""
    pairs: list[PairReport]
    islands: Islands | None
    """Distances and the island score with its chance level; None where no factor was measured."""

    @property
    def island_score(self) -> Interval:
        """Energy coefficient over all pairs; NaN where no factor was measured."""
        return self.islands.score if self.islands else Interval(np.nan, np.nan, np.nan, 0)


def dataset_report(
    irrelevant_features: Any,
    task_labels: Any,
    parts: Any,
    *,
    binning: Binning | None = None,
    scale: Literal["none", "pooled"] = "none",
    correction: Correction = "miller-madow",
    draws: int = 200,
    seed: int = 0,
) -> DatasetReport:
    """Report whether a pooled data set invites a shortcut from an irrelevant factor to the task.

    The shortcut potential is `2 I(u; v) / (H(u) + H(v))` between task u and factor v, corrected
    for finite samples. Once parts share no value of v it says nothing of how far apart they lie,
    and models do: read it together with gaps, overlap and island score.

    Args:
        irrelevant_features: what must not decide the task, such as a camera's angle or an
            embedding of the background: (n,) or (n, d), numbers or, for (n,), names. None where
            none was measured; only information between task and part is then reported.
        task_labels: task or class of each row (n,), discrete.
        parts: sub-data-set, site or robot of each row (n,), discrete, two or more of them.
        binning: how continuous features become discrete for information.
        scale: `pooled` divides columns by their standard deviation, for features of different
            units. It also divides a gap by itself: do not compare gaps of data sets scaled so.
        correction: of information, see `normalized_information`.
        draws: bootstrap resamples and random deals; intervals are 95 %.
        seed: of both, and of samples for distances (1,500 rows at most).

    Cost: about 0.3 s for two parts, growing with the number of pairs.

    Raises:
        InputError: one part only; parts of fewer than 50 rows; no factor measured while parts
            and tasks are one-to-one; continuous features without `binning`; lengths that differ;
            NaN.

    Jang et al. 2025, arXiv:2508.06426. DIFFERS: energy coefficient, Wasserstein distance and
    neighbours stand beside the paper's information, which does not see distance.

    >>> rng = np.random.default_rng(0)
    >>> part = np.repeat([0, 1], 200)
    >>> angle, task = 10.0 * part + rng.uniform(size=400), 2 * part + rng.integers(0, 2, 400)
    >>> found = dataset_report(angle, task, part, binning=Binning("width", 0.5), draws=20)
    >>> round(found.island_score.value, 1), round(found.nmi.nmi.value, 1)
    (1.0, 0.5)
    """
    u, part = discrete(task_labels, "task_labels"), discrete(parts, "parts")
    given = as_numpy(parts)
    kinds = np.unique(given.astype(str) if given.dtype.kind == "O" else given)
    names = [str(name) for name in kinds.tolist()]
    _check(u, part, names, irrelevant_features)
    information = _informed(correction, draws, seed)
    source = information(u, part)
    if irrelevant_features is None:
        return DatasetReport(source, source, {}, [], [], None)
    raw = as_numpy(irrelevant_features)
    if len(raw) != len(u):
        raise InputError(f"{len(raw)} features and {len(u)} labels", "one per row", "align them")
    codes, _ = binned(raw, binning, derived_seed(seed, "clusters"))
    sizes = {}
    if binning is not None and continuous(raw):
        for factor in (0.5, 1.0, 2.0):
            rule = replace(binning, size=binning.size * factor)
            other = binned(raw, rule, derived_seed(seed, "clusters"))[0]
            varied = len(np.unique(other)) > 1
            sizes[rule.size] = information(u, other, 0).nmi.value if varied else 0.0
    features = _matrix(raw, scale)
    kept = sampled(part, _ROWS, seed)
    islands = island_scores(features[kept], part[kept], draws=draws, seed=seed)
    described = [
        PartReport(name, int((part == k).sum()), islands.spread[k],
                   entropy(codes[part == k]), entropy(u[part == k]))
        for k, name in enumerate(names)
    ]  # fmt: skip
    pairs = [
        _pair(features[kept], part[kept], (i, j), names, islands, draws, seed)
        for i, j in combinations(range(len(names)), 2)
    ]
    return DatasetReport(information(u, codes), source, sizes, described, pairs, islands)


def _informed(correction: Correction, draws: int, seed: int) -> Any:
    def information(u: np.ndarray, v: np.ndarray, shuffles: int | None = None) -> Dependence:
        count = max(draws, 19) if shuffles is None or correction == "shuffled" else shuffles
        return normalized_information(u, v, correction=correction, shuffles=count, seed=seed)

    return information


def _matrix(raw: np.ndarray, scale: str) -> Float[np.ndarray, "n d"]:
    if raw.dtype.kind in "OUSb":  # names have no order: two that differ are sqrt 2 apart
        codes = discrete(raw, "irrelevant_features")
        return np.eye(int(codes.max()) + 1)[codes]
    x = finite(raw, "irrelevant_features").reshape(len(raw), -1)
    if scale == "pooled":
        sd = x.std(axis=0)
        x = x / np.where(sd > 0, sd, 1.0)
    return x


def _pair(
    features: np.ndarray,
    part: np.ndarray,
    pair: tuple[int, int],
    names: list[str],
    islands: Islands,
    draws: int,
    seed: int,
) -> PairReport:
    x, y = (features[part == k] for k in pair)
    both, n = np.concatenate([x, y]), len(x)
    rng = stream(seed, "gap", *pair)

    def gap(rows: np.ndarray) -> float:
        # Rows of both are resampled together and then told apart.
        first, second = x[rows[rows < n]], y[rows[rows >= n] - n]
        return wasserstein_gap(first, second, seed=seed) if len(first) and len(second) else np.nan

    deals = [rng.permutation(len(both)) for _ in range(min(draws, 20))]
    chance = [wasserstein_gap(both[d[:n]], both[d[n:]], seed=seed) for d in deals]
    return PairReport(
        names[pair[0]],
        names[pair[1]],
        bootstrap(gap, len(both), rng, draws),
        float(np.mean(chance)) if chance else float("nan"),
        mmd_gap(x, y),
        mean(neighbour_overlap(x, y)),
        islands.pair_score[pair],
    )


def _check(u: np.ndarray, part: np.ndarray, names: list[str], features: Any) -> None:
    if len(u) != len(part):
        raise InputError(f"{len(u)} labels and {len(part)} parts", "one per row", "align them")
    counts = np.bincount(part)
    if len(counts) < 2:
        raise InputError(
            f"one part ({names[0]})",
            "two parts or more: disparity is between them",
            "parts=site, robot, source or date of each row; report.parts gives diversity within",
        )
    if counts.min() < FEWEST:
        small = [f"{names[k]} ({counts[k]})" for k in np.flatnonzero(counts < FEWEST)[:5]]
        raise InputError(
            f"parts of fewer than {FEWEST} rows: {', '.join(small)}",
            f"{FEWEST} rows or more in each part",
            "merge small parts, or leave them out",
        )
    pairs = len(np.unique(u * (part.max() + 1) + part))
    if features is None and pairs == len(counts) == u.max() + 1:
        raise InputError(
            "parts that are the tasks, one-to-one, and no irrelevant factor",
            "a measured factor: what is part and what is task cannot be told apart otherwise",
            "irrelevant_features=camera angle, background embedding, ...",
        )
    if u.max() == 0:
        raise InputError("one task", "two tasks or more", "pass the whole pooled data set")
