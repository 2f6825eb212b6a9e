"""How a score rises with how often its concept was seen: per decade, raw, within groups, binned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.data.frequency.inputs import Values, aligned, check_law

BINS = 12
"""Bins of the paper."""
_SURPRISING = 2.0  # times chance, beyond which "never seen" is not believed
_BREAKS = 40  # places tried for the end of the rise
_BIC = 6.0  # "strong" on the scale of Kass and Raftery


@dataclass(frozen=True)
class FrequencyLaw:
    """What `frequency_law` found; intervals are 95 % over resampled concepts."""

    slope_per_decade: Interval
    """Score gained for ten times the examples, over concepts with a count, in the score's unit."""
    raw_r: Interval
    """Pearson r of log count and score over concepts with a count: the honest one, -1 to 1."""
    within_group_r: Interval | None
    """The same after each group's means are taken off; None without groups."""
    binned_r: Interval
    """Pearson r of bin edges and bin means, as published: high for almost any trend."""
    saturation_point: float | None
    """Count beyond which the score is level; None when a line fits as well."""
    zero_bin_mean: Interval
    """Mean score of concepts with count 0; NaN when there are none."""
    zero_share: float
    """Share of concepts with count 0, 0 to 1."""
    bin_counts: Float[np.ndarray, " bins"]
    """Count at each bin's upper edge."""
    bin_means: Float[np.ndarray, " bins"]
    """Mean score of each bin; NaN for an empty one, which is never taken for 0."""
    bin_sizes: Int[np.ndarray, " bins"]
    """Concepts in each bin."""
    notes: tuple[str, ...] = ()
    """What a reader of these numbers should know."""

    @property
    def explained(self) -> float:
        """Share of the scores' variance that frequency explains, raw r squared."""
        return self.raw_r.value**2


def frequency_law(
    counts: Values,
    scores: Values,
    groups: Sequence[Hashable] | Mapping[Any, Hashable] | np.ndarray | None = None,
    bins: int = BINS,
    *,
    drop: tuple[int, int] = (1, 1),
    chance: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> FrequencyLaw:
    """Relate concepts' scores to how often each was seen in training.

    Published rule for `binned_r`: counts of 0 become 1, `x = ln count`, `bins` equally spaced edges
    from min x to max x, `numpy.digitize(x, edges, right=True)`, mean score per bin, Pearson r of
    edges and means without the first and last bins. Its averaging removes the scatter of single
    concepts, so it is near 1 whenever there is any trend; `raw_r` squared is what frequency
    explains. `slope_per_decade` and `raw_r` are least squares and Pearson r on log10 of the counts
    above 0; `within_group_r` first centres both in each group (data set), so that an easy data set
    with frequent classes does not pass for a law.

    DIFFERS: an empty bin is left out of `binned_r`; the published code has no rule for it.

    Args:
        counts: how often each concept was seen, 0 or more; by name, or in order.
        scores: accuracy or another score, with the same names or order.
        groups: what each concept belongs to, such as its data set.
        bins: edges, at least 4.
        drop: bins left out at the rare and at the frequent end; the paper's (2, 1) for LAION.
            Choose before looking.
        chance: the score of guessing; adds a note when concepts "never seen" are far above it.
        draws: bootstrap resamples of concepts.
        seed: of the resamples.

    Cost: `draws` least-squares fits; 0.5 s for 4,469 concepts.

    Raises:
        InputError: names or lengths that do not match, fewer than 30 concepts, negative or
            non-finite numbers, no count above 0, counts within less than one decade, equal
            scores, or `bins` and `drop` that leave fewer than 3 bins.

    Udandarao et al. 2024, arXiv:2404.04125, section 3 and the authors' notebooks.

    >>> counts = 10 ** np.linspace(0, 4, 200)
    >>> law = frequency_law(counts, 20 + 10 * np.log10(counts), draws=50)
    >>> round(law.slope_per_decade.value, 6), round(law.raw_r.value, 6)
    (10.0, 1.0)
    """
    count, score, group = aligned(counts, scores, groups)
    check_law(count, score, bins, drop)
    x = np.log(np.maximum(count, 1.0))

    def found(rows: np.ndarray) -> list[float]:
        code = None if group is None else group[rows]
        return _numbers(count[rows], x[rows], score[rows], code, bins, drop)

    values = found(np.arange(len(count)))
    rng = stream(seed, "frequency law")
    drawn = np.array([found(rng.integers(len(count), size=len(count))) for _ in range(draws)])
    made = [
        _interval(v, drawn[:, i] if draws else np.empty(0), n)
        for i, (v, n) in enumerate(zip(values, _sizes(count, x, score, bins, drop), strict=True))
    ]
    edges, means, sizes = binned_means(count, score, bins)
    zero = float((count == 0).mean())
    return FrequencyLaw(
        made[0], made[1], None if group is None else made[2], made[3],
        _saturation(count, score), made[4], zero, np.exp(edges), means, sizes,
        _notes(made[4], zero, chance),
    )  # fmt: skip


def binned_means(
    counts: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"], bins: int = BINS
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Mean score by equal widths of ln count, as published; see `frequency_law`.

    Returns:
        ln count at the edges, the mean score of the bin that each closes (NaN for an empty one),
        and how many concepts it holds. The first bin holds the smallest count only.

    Raises:
        InputError: arrays of different length.

    >>> edges, means, sizes = binned_means(np.array([0, 1, 9, 100.0]), np.arange(4.0), bins=3)
    >>> means.tolist(), sizes.tolist()
    ([0.5, 2.0, 3.0], [2, 1, 1])
    """
    if np.shape(counts) != np.shape(scores) or bins < 2:
        raise InputError(
            f"counts {np.shape(counts)}, scores {np.shape(scores)}, {bins} bins",
            "a score for each count, and two bins or more",
            f"bins={BINS}",
        )
    x = np.log(np.where(counts > 0, counts, 1.0))
    edges = np.linspace(x.min(), x.max(), bins)
    place = np.digitize(x, edges, right=True)
    sizes = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, scores, minlength=bins) / sizes
    return edges, means, sizes


def corrected_accuracy(
    logits: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    prior: Float[np.ndarray, " c"] | None = None,
) -> Float[np.ndarray, " c"]:
    """Accuracy of each class once the preference for frequent classes is taken off the logits.

    The prediction is `argmax_c logits[:, c] - ln prior[c]` (Menon et al. 2021, arXiv:2007.07314,
    equation 9). A model trained on skewed data also learns which classes are likely; with the
    scores of this function, `frequency_law` says what is left of the trend.

    Args:
        logits: of test examples.
        labels: class ids; a class without examples gets NaN.
        prior: share of each class in training; by default the mean predicted probability, which
            is the model's own prior when the test set is balanced.

    Raises:
        InputError: logits that are not finite, labels that are no class ids of theirs, or a prior
            of another length or without a share for some class.

    >>> logits = np.array([[2.0, 1.5], [2.0, 0.0]])
    >>> corrected_accuracy(logits, np.array([1, 0]), np.array([0.8, 0.2])).tolist()
    [1.0, 1.0]
    """
    z, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    _check_logits(z, labels, prior)
    if prior is None:
        shifted = np.exp(z - z.max(axis=1, keepdims=True))
        prior = (shifted / shifted.sum(axis=1, keepdims=True)).mean(axis=0)
    right = (z - np.log(np.maximum(np.asarray(prior, dtype=float), 1e-12))).argmax(axis=1) == labels
    n = np.bincount(labels, minlength=z.shape[1])
    with np.errstate(invalid="ignore"):
        return np.bincount(labels, right, minlength=z.shape[1]) / n


def _check_logits(z: np.ndarray, labels: np.ndarray, prior: Any) -> None:
    if z.ndim != 2 or labels.shape != z.shape[:1] or not np.isfinite(z).all():
        raise InputError(
            f"logits {z.shape}, finite or not, and labels {labels.shape}",
            "finite logits (n, c) and a label for each row",
            "leave out examples that overflow",
        )
    if labels.dtype.kind not in "iu" or not len(labels) or not (
        0 <= labels.min() <= labels.max() < z.shape[1]
    ):  # fmt: skip
        raise InputError(
            f"labels {labels.dtype}, such as {labels[:3].tolist()}",
            f"class ids from 0 to {z.shape[1] - 1}",
            "number the classes as the logits' columns are",
        )
    if prior is not None and (np.shape(prior) != z.shape[1:] or not (np.asarray(prior) > 0).all()):
        raise InputError(
            f"a prior {np.shape(prior)} with {int((~(np.asarray(prior) > 0)).sum())} shares not "
            "above 0",
            f"({z.shape[1]},), a share above 0 for each class",
            "add one to every count: a class never seen has no prior to take off",
        )


def _numbers(
    count: np.ndarray,
    x: np.ndarray,
    score: np.ndarray,
    group: np.ndarray | None,
    bins: int,
    drop: tuple[int, int],
) -> list[float]:
    seen = count > 0
    a, b = x[seen] / np.log(10), score[seen]
    slope = _slope(a, b)
    within = np.nan
    if group is not None:
        within = _pearson(_centred(a, group[seen]), _centred(b, group[seen]))
    edges, means, sizes = binned_means(count, score, bins)
    kept = slice(drop[0], bins - drop[1])
    full = sizes[kept] > 0
    binned = _pearson(edges[kept][full], means[kept][full])
    zero = float(score[~seen].mean()) if (~seen).any() else np.nan
    return [slope, _pearson(a, b), within, binned, zero]


def _sizes(
    count: np.ndarray, x: np.ndarray, score: np.ndarray, bins: int, drop: tuple[int, int]
) -> list[int]:
    seen = int((count > 0).sum())
    _, _, sizes = binned_means(count, score, bins)
    return [seen, seen, seen, int((sizes[drop[0] : bins - drop[1]] > 0).sum()), len(x) - seen]


def _interval(value: float, drawn: np.ndarray, n: int) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn.size else (np.nan, np.nan)
    return Interval(value, float(low), float(high), n, 0.95, "percentile bootstrap over concepts")


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    a = x - x.mean()
    total = float(a @ a)
    return float(a @ y) / total if total > 0 else np.nan


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3:
        return np.nan
    a, b = x - x.mean(), y - y.mean()
    total = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / total if total > 0 else np.nan


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    sizes = np.bincount(group)
    return values - (np.bincount(group, values) / np.maximum(sizes, 1))[group]


def _saturation(count: np.ndarray, score: np.ndarray) -> float | None:
    # y = a + b min(x, c) against y = a + b x: one parameter more, so one ln n more to pay.
    seen = count > 0
    x, y = np.log10(count[seen]), score[seen]
    line = _residual(x, y)
    breaks = np.quantile(x, np.linspace(0.05, 0.95, _BREAKS))
    fits = [(_residual(np.minimum(x, c), y), c) for c in breaks if c > x.min()]
    if not fits or line <= 0:
        return None
    best, at = min(fits)
    rises = _slope(np.minimum(x, at), y) > 0
    gain = len(x) * np.log(line / best) - np.log(len(x)) if best > 0 else np.inf
    return float(10**at) if rises and gain > _BIC else None


def _residual(x: np.ndarray, y: np.ndarray) -> float:
    left = y - y.mean() - _slope(x, y) * (x - x.mean())
    return float(left @ left)


def _notes(zero: Interval, share: float, chance: float | None) -> tuple[str, ...]:
    if chance is None or not share or not zero.low > _SURPRISING * chance:
        return ()
    return (
        f"{share:.0%} of the concepts have count 0 and still score {zero.value:.3g} "
        f"({zero.low:.3g} to {zero.high:.3g}), chance being {chance:.3g}: the counter misses "
        "them (synonyms, names of several words), so counts of 0 are not zero examples.",
    )
