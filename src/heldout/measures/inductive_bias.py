"""Bits of inductive bias: how improbable a test loss is among hypotheses that fit the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import proportion
from heldout.measures.quadratic_law import QuadraticLaw

Family = Literal["ncx2", "gp_exact", "empirical"]

FEWEST = 100
"""Losses below which no law is fitted."""
FARTHEST = 8.0
"""Standard deviations below the mean beyond which a fitted law is not asked."""
_MEDIAN = "the target is at or above the median: at most one bit, any fitting hypothesis will do"
_UNSEEN = "no sampled hypothesis reached the target: a lower end is all that can be certified"
_EXTRAPOLATED = "below every sampled loss: the number is the fitted law's, not the samples'"


@dataclass(frozen=True)
class Bits:
    """Minus the binary logarithm of the chance that a random hypothesis does as well."""

    value: float
    """Bits; may be infinite where the target is out of reach of every hypothesis."""
    interval: Interval
    """95 %; a point where the law is exact."""
    sd_from_mean: float
    """(target - mean) / sd of the losses: negative below the mean."""
    extrapolated: bool
    """Whether the target lies where no loss was sampled."""
    chernoff: float | None = None
    """Lower bound of the bits without sampling; only where the law is exact."""
    per_point: float | None = None
    """Bits per test point; None where their number is not known."""
    note: str = ""
    """What to keep in mind when reading it."""


def bits(
    losses: Float[np.ndarray, " n"] | QuadraticLaw,
    target: float,
    family: Family = "ncx2",
    bootstrap: int = 200,
    points: int | None = None,
    seed: int = 0,
) -> Bits:
    """Return `-log2 P(loss <= target)` of random hypotheses that fit the data (arXiv:2406.15941).

    - "empirical": share of the losses at or below the target, with Wilson's interval. n losses
      can certify at most log2(n) bits.
    - "ncx2": a scaled non-central chi-square fitted by maximum likelihood, as in the paper.
      DIFFERS: its tail is inverted numerically where the paper's code falls back to a normal
      approximation, so it is never infinite; the interval resamples the losses.
    - "gp_exact": the law itself, from `GPBase.law`, instead of losses.

    Args:
        losses: test losses of random hypotheses, or their law.
        target: loss of the model, or the one aimed at.
        family: how the probability is found.
        bootstrap: resamples for the interval of "ncx2"; each moves the fit by one Newton step.
        points: test points behind each loss, for bits per point; a law knows its own.
        seed: of the resamples.

    Raises:
        InputError: fewer than 100 losses, losses that are not positive and finite or all equal, a
            target that is not positive, "ncx2" for one more than 8 standard deviations below the
            mean, a law with another family, or losses with "gp_exact".

    Cost: one fit of some hundred passes over the losses, or one inversion.

    >>> law = QuadraticLaw(np.full(1, 0.1), np.full(1, 10.0), np.zeros(1), points=10)
    >>> exact = bits(law, 0.3, "gp_exact")
    >>> fitted = bits(law.sample(2000), 0.3, "ncx2")
    >>> round(exact.value, 1), abs(fitted.value - exact.value) < 1, exact.chernoff < exact.value
    (5.8, True, True)
    """
    if not (math.isfinite(target) and target > 0):
        raise InputError(f"target {target}", "a finite loss above 0", "the model's test loss")
    if isinstance(losses, QuadraticLaw):
        if family != "gp_exact":
            raise InputError(f"a law and family={family!r}", "'gp_exact'", "family='gp_exact'")
        return _exact(losses, target)
    if family == "gp_exact":
        raise InputError("losses and family='gp_exact'", "a law", "GPBase(kernel).law(...)")
    if family not in ("ncx2", "empirical") or (points is not None and points < 1) or bootstrap < 0:
        raise InputError(
            f"family={family!r}, points={points}, bootstrap={bootstrap}",
            "'ncx2' or 'empirical' for losses, a test point or more, no resamples or more",
            "points=len(x_test)",
        )
    losses = _checked(losses)
    away = (target - losses.mean()) / losses.std(ddof=1)
    note = _MEDIAN if target >= np.median(losses) else ""
    found = _empirical(losses, target) if family == "empirical" else None
    if found is None:
        found = _fitted(losses, target, float(away), bootstrap, seed)
        note = note or (_EXTRAPOLATED if target < losses.min() else "")
    elif math.isinf(found.high):
        note = _UNSEEN
    per_point = None if points is None else found.value / points
    unseen = bool(target < losses.min())
    return Bits(found.value, found, float(away), unseen, None, per_point, note)


def fit_ncx2(losses: Float[np.ndarray, " n"]) -> QuadraticLaw:
    """Fit `scale * noncentral chi-square(degrees, offset)` by maximum likelihood, location 0.

    Args:
        losses: at least 100, positive, not all equal.

    Raises:
        InputError: otherwise.

    Cost: some hundred passes over the losses.

    >>> law = QuadraticLaw(np.full(1, 0.5), np.full(1, 6.0), np.zeros(1))
    >>> round(fit_ncx2(law.sample(3000)).mean, 1)
    3.0
    """
    return _law(_maximum(_checked(losses)))


def _exact(law: QuadraticLaw, target: float) -> Bits:
    value = -law.log_cdf(target) / math.log(2) + 0.0  # no negative zero
    note = _MEDIAN if value <= 1 else ""
    return Bits(
        value,
        Interval(value, value, value, law.points, method="exact law"),
        float((target - law.mean) / law.sd),
        False,
        -law.chernoff(target) / math.log(2) + 0.0,
        value / law.points,
        note,
    )


def _checked(losses: np.ndarray) -> np.ndarray:
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 1 or len(losses) < FEWEST:
        raise InputError(
            f"losses of shape {losses.shape}", f"at least {FEWEST} in one row", "draws=10_000"
        )
    if not (np.isfinite(losses).all() and (losses > 0).all()):
        raise InputError(
            "losses that are NaN, infinite, zero or negative",
            "finite losses above 0",
            "drop hypotheses that did not train; use a squared error",
        )
    if np.ptp(losses) <= 1e-12 * losses.max():
        raise InputError("losses that are all equal", "a spread", "are the hypotheses random?")
    return losses


def _empirical(losses: np.ndarray, target: float) -> Interval:
    n, hits = len(losses), int((losses <= target).sum())
    share = proportion(hits, n)
    if hits == 0:
        # With no hit the share is at most 1 - 0.05^(1/n), at 95 %.
        least = -math.log2(-math.expm1(math.log(0.05) / n))
        return Interval(math.log2(n), least, math.inf, n, method="no hit in n: 95 % lower end")
    low, high = -math.log2(min(share.high, 1.0)) + 0.0, -math.log2(share.low)
    return Interval(-math.log2(share.value) + 0.0, low, high, n, method="wilson, in bits")


def _fitted(losses: np.ndarray, target: float, away: float, draws: int, seed: int) -> Interval:
    if away < -FARTHEST:
        raise InputError(
            f"a target {-away:.1f} standard deviations below the mean loss",
            f"at most {FARTHEST:g}: farther out the fitted family decides alone",
            "family='gp_exact' with GPBase(kernel).law(...)",
        )
    best = _maximum(losses)
    value = _law(best).log_cdf(target) / -math.log(2) + 0.0
    moved = [_law(p).log_cdf(target) / -math.log(2) for p in _resampled(losses, best, draws, seed)]
    low, high = np.quantile(moved, [0.025, 0.975]) if moved else (math.nan, math.nan)
    low, high = max(float(low), 0.0), float(high)
    return Interval(value, low, high, len(losses), method="one-step bootstrap of the fit")


def _law(p: np.ndarray) -> QuadraticLaw:
    degrees, offset, scale = np.exp(p)
    return QuadraticLaw(np.array([scale]), np.array([degrees]), np.array([scale * offset]))


def _log_density(p: np.ndarray, losses: np.ndarray) -> np.ndarray:
    degrees, offset, scale = np.exp(p)
    return np.asarray(stats.ncx2.logpdf(losses / scale, degrees, offset) - np.log(scale))


_BOUNDS = ((-5.0, 14.0), (-12.0, 14.0), (-60.0, 60.0))  # of the logarithms

_ENDS, _GROUPS = 40, 240


def _maximum(losses: np.ndarray) -> np.ndarray:
    """Logarithms of degrees, offset and scale at the largest likelihood."""

    values, weights = _grouped(losses)

    def cost(p: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            found = -float(weights @ _log_density(p, values))
        return found if math.isfinite(found) else 1e10

    mean, variance = losses.mean(), losses.var()
    best = None
    for share in (0.1, 0.5, 0.9):  # of the mean that is offset: the likelihood is flat along it
        # mean = a (k + l), variance = 2 a^2 (k + 2 l) with l = share (k + l)
        scale = variance / (2 * mean * (1 + share))
        total = mean / scale
        start = np.log([total * (1 - share), total * share, scale])
        start = np.clip(start, *np.array(_BOUNDS).T)
        found = optimize.minimize(
            cost, start, method="Nelder-Mead", bounds=_BOUNDS,
            options={"xatol": 1e-4, "fatol": 1e-8, "maxiter": 400},
        )  # fmt: skip
        best = found if best is None or found.fun < best.fun else best
    assert best is not None
    return np.asarray(best.x)


def _grouped(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of small groups of neighbouring losses and their shares: a density costs 1 us each."""
    ordered = np.sort(losses)
    # Both ends one by one: there a mean would stand for values that differ.
    groups = np.array_split(ordered[_ENDS:-_ENDS], min(_GROUPS, len(ordered) - 2 * _ENDS))
    values = [ordered[:_ENDS], np.array([g.mean() for g in groups]), ordered[-_ENDS:]]
    sizes = [np.ones(_ENDS), np.array([len(g) for g in groups]), np.ones(_ENDS)]
    return np.concatenate(values), np.concatenate(sizes) / len(ordered)


def _resampled(losses: np.ndarray, best: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Parameters after one Newton step in each resample, as `best - mean score / information`."""
    n, step = len(losses), 1e-3
    with np.errstate(all="ignore"):
        scores = np.stack(
            [(_log_density(best + d, losses) - _log_density(best - d, losses)) / (2 * step)
             for d in step * np.eye(3)], axis=1,
        )  # fmt: skip
    scores = np.nan_to_num(scores - scores.mean(axis=0))
    # The outer product of scores is positive where a differenced Hessian need not be; directions
    # along which the likelihood is flat are left alone.
    inverse = np.linalg.pinv(scores.T @ scores / n, rcond=1e-6, hermitian=True)
    rng = stream(seed, "inductive bias bootstrap")
    out = []
    for _ in range(draws):
        weights = rng.multinomial(n, np.full(n, 1 / n))
        moved = best + inverse @ (weights @ scores / n)
        out.append(np.clip(moved, *np.array(_BOUNDS).T))
    return out
