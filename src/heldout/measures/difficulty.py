"""Bits of inductive bias that a task asks for, whatever the model: a bound in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.measures.intrinsic_dimension import (
    dimension_draws,
    finite_points,
    neighbour_log_ratios,
)
from heldout.measures.resolution import closest_pairs, resolution, resolution_draws

DETERMINED = "the data already determine the class of functions: no bits are left to supply"
EMPTY = "the error aimed at is so large that the bound says nothing"
_STEP = 1e-4  # of the logarithms in a central difference


@dataclass(frozen=True)
class Report:
    """A bound on the bits, and what it hangs on. Its order of magnitude is what it says."""

    bits: float
    """0 where `note` says why; infinite above 1e308, where `log10_bits` goes on."""
    log10_bits: float
    """Minus infinity where `bits` is 0."""
    elasticities: dict[str, float]
    """d ln bits / d ln x for m, delta, n, eps: per cent of change for one per cent of x."""
    per_dimension: float
    """log10 of what one more intrinsic dimension multiplies the bits by."""
    note: str = ""
    """Why there is no positive bound; empty where there is one."""


@dataclass(frozen=True)
class Estimate(Report):
    """A bound with what was estimated from data, and the range over resamples."""

    m: Interval = field(kw_only=True)
    """Intrinsic dimension."""
    delta: Interval = field(kw_only=True)
    """Resolution, in units of the inputs; a range, see `resolution_draws`."""
    radius: float = field(kw_only=True)
    """Largest norm of an input."""
    n: int = field(kw_only=True)
    """Examples that the bound counts."""
    log10_range: Interval = field(kw_only=True)
    """log10 of the bits over joint resamples of m and delta; a range, not a confidence."""


def bound_bits(n: int, m: float, radius: float, delta: float, n_classes: int, eps: float) -> Report:
    """Bound the bits needed to generalize to error eps from n examples (arXiv:2305.01034).

    Functions on an m-sphere of radius R, band-limited at the resolution delta:
    `M = 2 pi R / delta`, `K = (sqrt((m - 1)^2 + 4 M^2) - (m - 1)) / 2`,
    `E = binom(m + K, m) + binom(m + K - 1, m)` of them, for real K by log-gamma;
    `bits = (2 D C E - n D) log2(sqrt(D C) L W / eps)` with C classes, `D = C - 1`,
    `L = K sqrt(D) / R` and
    `ln W = ln(m / 6) / 2 + (ln 2 + (m + 1) / 2 ln pi + ln C - lnGamma((m + 1) / 2)) / m + ln R
    - ln(n) / m`.

    Args:
        n: training examples.
        m: intrinsic dimension, above 0. DIFFERS: the authors round it; a jump of tenfold per
            unit would then come and go with the third digit of an estimate.
        radius: largest norm of an input.
        delta: smallest distance between classes, in the same unit.
        n_classes: 2 or more.
        eps: error aimed at, between 0 and 1.

    Returns:
        A report; bits are never negative, `note` says where there is no bound.

    Raises:
        InputError: an argument outside its range, or delta above 2 R.

    Cost: no pass over data.

    >>> found = bound_bits(60_000, 14, 17.18, 2.399, 10, 0.001)  # the authors' MNIST
    >>> f"{found.bits:.1e}", round(found.elasticities["delta"], 1)
    ('1.5e+16', -13.7)
    >>> bound_bits(60_000, 1, 1.0, 0.5, 2, 0.1).note == DETERMINED
    True
    """
    _check(n, m, radius, delta, n_classes, eps)

    def value(m_: float, delta_: float, n_: float, eps_: float) -> tuple[float, str]:
        return _log_bits(n_, m_, radius, delta_, n_classes, eps_)

    return _report(value, {"m": m, "delta": delta, "n": float(n), "eps": eps})


def control_bits(n: int, m: int, actions: int, delta: float = 1e-3, eps: float = 1e-3) -> Report:
    """Bound the bits of a control task with m observed numbers in a unit range.

    `bits = D (2 (2 pi / delta)^m pi^(m/2) / Gamma(m/2 + 1) - n) log2(4 pi^2 D sqrt(m / 6)
    / (delta n^(1/m) eps))`, the authors' form for MuJoCo; Cartpole with T observations of an
    angle is m = 2 T and D = 1.

    Args:
        n: time steps seen.
        m: observed numbers.
        actions: numbers that an action consists of (D).
        delta: resolution, in the range's unit.
        eps: error aimed at.

    Raises:
        InputError: an argument outside its range.

    Cost: no pass over data.

    >>> f"{control_bits(10_000, 2, 1).bits:.0e}, {control_bits(1_000_000, 6, 2).bits:.0e}"
    '4e+09, 3e+25'
    """
    _check(n, m, 1.0, delta, 1 + actions, eps)

    def value(m_: float, delta_: float, n_: float, eps_: float) -> tuple[float, str]:
        ball = math.log(2) + m_ * math.log(2 * math.pi / delta_) + m_ / 2 * math.log(math.pi)
        parameters = math.log(actions) + ball - float(gammaln(m_ / 2 + 1))
        scale = math.log(4 * math.pi**2 * actions * math.sqrt(m_ / 6) / delta_)
        nats = scale - math.log(n_) / m_ - math.log(eps_)
        return _product(parameters, math.log(n_ * actions), nats)

    return _report(value, {"m": float(m), "delta": delta, "n": float(n), "eps": eps})


def estimate(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    eps: float = 0.01,
    k: int = 5,
    total: int | None = None,
    draws: int = 200,
    most: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Bound the bits with intrinsic dimension and resolution estimated from data.

    The estimate moves by orders of magnitude with noise, scaling and sample size: a finer
    resolution raises the bits by a power of about m, and the resolution is the smallest of all
    distances between classes.

    Args:
        x: inputs; trailing axes are flattened. Scaling of single features changes the result.
        y: labels.
        eps: error aimed at.
        k: neighbours for the intrinsic dimension.
        total: examples in the data set of which x is a sample; len(x) when None.
        draws: joint resamples of the examples' log-ratios and of the closest pairs.
        most: examples among which pairs of classes are compared.
        seed: of samples and resamples.

    Raises:
        InputError: what `bound_bits`, `neighbour_log_ratios` or `closest_pairs` refuse.

    Cost: n^2 d for distances.

    >>> x = np.random.default_rng(0).normal(size=(500, 10))
    >>> found = estimate(x, x[:, 0] > 0)
    >>> found.log10_range.low < found.log10_bits, found.m.value < 10
    (True, True)
    """
    if not 0 < eps < 1 or draws < 1:
        raise InputError(
            f"eps={eps}, {draws} draws", "an error between 0 and 1, a draw or more", "eps=0.01"
        )
    x = finite_points(x)
    pairs = closest_pairs(x, y, total, most, seed)
    ratios = neighbour_log_ratios(x, k, seed)
    return from_parts(
        m=float(1 / ratios.mean()),
        delta=resolution(pairs),
        radius=float(np.linalg.norm(x, axis=1).max()),
        n_classes=len(np.unique(y)),
        n=pairs.total,
        eps=eps,
        m_draws=dimension_draws(ratios, draws, seed),
        delta_draws=resolution_draws(pairs, draws, seed),
        points=(len(ratios), pairs.examples),
    )


def from_parts(
    m: float,
    delta: float,
    radius: float,
    n_classes: int,
    n: int,
    eps: float,
    m_draws: Float[np.ndarray, " draws"],
    delta_draws: Float[np.ndarray, " draws"],
    points: tuple[int, int],
) -> Estimate:
    """Make an `Estimate` of an intrinsic dimension, a resolution and their resamples.

    Args:
        m: intrinsic dimension.
        delta: resolution.
        radius: largest norm of an input.
        n_classes: classes.
        n: training examples.
        eps: error aimed at.
        m_draws: dimension in resamples.
        delta_draws: resolution in resamples; NaN where one had no pair.
        points: how many points each of both rests on.

    Raises:
        InputError: an argument outside its range.

    Cost: no pass over data.

    >>> same = np.ones(9)
    >>> found = from_parts(9, 0.5, 3.0, 2, 100, 0.1, 9 * same, 0.5 * same, (100, 100))
    >>> abs(found.log10_bits - found.log10_range.high) < 1e-9
    True
    """
    report = bound_bits(n, m, radius, delta, n_classes, eps)
    found = [
        bound_bits(n, float(a), radius, min(float(b), 2 * radius), n_classes, eps).log10_bits
        for a, b in zip(m_draws, delta_draws, strict=True)
        if np.isfinite(b)
    ]
    return Estimate(
        **vars(report),
        m=_range(m, m_draws, points[0]),
        delta=_range(delta, delta_draws, points[1]),
        radius=radius,
        n=n,
        log10_range=_range(report.log10_bits, np.array(found), points[1]),
    )


def _range(value: float, draws: np.ndarray, n: int) -> Interval:
    kept = draws[~np.isnan(draws)]
    # Order statistics, since a draw without a positive bound is minus infinity.
    low, high = np.quantile(kept, [0.025, 0.975], method="nearest")
    return Interval(value, float(low), float(high), n, method="range over resamples")


def _check(n: int, m: float, radius: float, delta: float, n_classes: int, eps: float) -> None:
    problems = (
        (not n >= 1, f"n={n}", "1 or more training examples"),
        (not 0 < m < 1e6, f"m={m}", "an intrinsic dimension above 0"),
        (not 0 < radius < math.inf, f"radius={radius}", "a positive norm"),
        (not delta > 0, f"delta={delta}", "a positive distance between classes"),
        (not n_classes >= 2, f"n_classes={n_classes}", "2 classes or more"),
        (not 0 < eps < 1, f"eps={eps}", "an error between 0 and 1"),
    )
    for bad, given, expected in problems:
        if bad:
            raise InputError(given, expected, "see the docstring of bound_bits")
    if delta > 2 * radius * (1 + 1e-9):
        raise InputError(
            f"delta={delta} above twice the radius {radius}",
            "a distance between two inputs",
            "use one unit for both",
        )


def _log_bits(
    n: float, m: float, radius: float, delta: float, n_classes: int, eps: float
) -> tuple[float, str]:
    d = n_classes - 1
    frequency = 2 * math.pi * radius / delta
    # K without the difference of two near numbers: (sqrt(a^2 + 4 M^2) - a) / 2
    a = m - 1
    root = math.hypot(a, 2 * frequency)
    degree = 2 * frequency**2 / (root + a) if a > 0 else (root - a) / 2
    terms = [float(gammaln(s + 1)) - float(gammaln(m + 1)) - float(gammaln(s - m + 1))
             for s in (m + degree, m + degree - 1)]  # fmt: skip
    parameters = math.log(2 * d * n_classes) + float(np.logaddexp(terms[0], terms[1]))
    sphere = math.log(2) + (m + 1) / 2 * math.log(math.pi) + math.log(n_classes)
    wasserstein = (sphere - float(gammaln((m + 1) / 2)) - math.log(n)) / m + math.log(radius)
    wasserstein += math.log(m / 6) / 2
    lipschitz = math.log(degree) + math.log(d) / 2 - math.log(radius)
    nats = math.log(d * n_classes) / 2 - math.log(eps) + lipschitz + wasserstein
    return _product(parameters, math.log(n * d), nats)


def _product(parameters: float, known: float, nats: float) -> tuple[float, str]:
    """ln of (e^parameters - e^known) nats / ln 2, or why it is not positive."""
    if parameters <= known:
        return -math.inf, DETERMINED
    if nats <= 0:
        return -math.inf, EMPTY
    free = parameters + math.log(-math.expm1(known - parameters))
    return free + math.log(nats / math.log(2)), ""


def _report(
    value: Callable[[float, float, float, float], tuple[float, str]], at: dict[str, float]
) -> Report:
    names = list(at)

    def log_bits(**changed: float) -> float:
        new = at | changed
        return value(new["m"], new["delta"], new["n"], new["eps"])[0]

    found, note = value(at["m"], at["delta"], at["n"], at["eps"])
    if note:
        return Report(0.0, -math.inf, dict.fromkeys(names, math.nan), math.nan, note)
    slopes = {
        name: (log_bits(**{name: at[name] * math.exp(_STEP)})
               - log_bits(**{name: at[name] * math.exp(-_STEP)})) / (2 * _STEP)
        for name in names
    }  # fmt: skip
    log10 = found / math.log(10)
    more = (log_bits(m=at["m"] + 1) - found) / math.log(10)
    return Report(10**log10 if log10 < 308 else math.inf, log10, slopes, more)
