"""Weighted sums of squares of Gaussian variables, exactly: also where they are improbable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from heldout.core.errors import InputError
from heldout.core.seeds import stream

_FAR = 42.0  # nats below the peak at which the contour integral is cut off
_TOLERANCE = 1e-9
_MOST_POINTS = 40_000


@dataclass(frozen=True)
class QuadraticLaw:
    """The law of `sum_i w_i chi2_i`, non-central chi-squares with k_i degrees and offset c_i / w_i.

    With `w_i (z + b / sqrt(w_i))^2` summed over k_i standard normal z, c_i is the sum of b^2. The
    loss of a Gaussian process on test points is of this kind; so is a scaled chi-square.
    """

    weights: Float[np.ndarray, " r"]
    """w_i, zero or more; where it is zero, c_i is a constant."""
    degrees: Float[np.ndarray, " r"]
    """k_i, above 0, not necessarily whole."""
    shifts: Float[np.ndarray, " r"]
    """c_i, zero or more, in the unit of the sum."""
    points: int = 1
    """Test points of which the sum is a mean; for bits per test point."""

    def __post_init__(self) -> None:
        """Refuse negative or non-finite parameters."""
        for name in ("weights", "degrees", "shifts"):
            values = np.asarray(getattr(self, name), dtype=float)
            if not (np.isfinite(values).all() and (values >= 0).all() and values.size):
                raise InputError(f"{name} {values[:5]}", "finite numbers, zero or more", "b ** 2")

    @property
    def mean(self) -> float:
        """Expected value, `sum_i k_i w_i + c_i`."""
        return float((self.degrees * self.weights + self.shifts).sum())

    @property
    def sd(self) -> float:
        """Standard deviation, root of `sum_i 2 k_i w_i^2 + 4 w_i c_i`."""
        w = self.weights
        return float(np.sqrt((2 * self.degrees * w**2 + 4 * w * self.shifts).sum()))

    @property
    def smallest(self) -> float:
        """Value below which the probability is zero: the constants."""
        return float(self.shifts[self.weights == 0].sum())

    def sample(self, draws: int, seed: int = 0) -> Float[np.ndarray, " draws"]:
        """Return independent draws.

        >>> law = QuadraticLaw(np.ones(1), np.full(1, 3.0), np.zeros(1))
        >>> round(float(law.sample(20_000).mean()), 1)
        3.0
        """
        rng = stream(seed, "quadratic law")
        total = np.full(draws, self.smallest)
        on = self.weights > 0
        for w, k, c in zip(self.weights[on], self.degrees[on], self.shifts[on], strict=True):
            total += w * rng.noncentral_chisquare(k, c / w, size=draws)
        return total

    def log_cdf(self, x: float) -> float:
        """Return `ln P(sum <= x)` by numerical inversion, to about nine digits at any size.

        `P = (1 / 2 pi i) int exp(g(s)) ds`, `g(s) = s x - ln s + sum_i -k_i/2 ln(1 + 2 s w_i)
        - s c_i / (1 + 2 s w_i)`, along a parabola through the saddle point of g, bent to the
        left as steepest descent is there. All singularities lie on the negative axis and at 0,
        inside. Peaks at the saddle, so that P = e^-1000 costs what P = 1/2 does.

        Args:
            x: where to.

        Raises:
            InputError: x is NaN, or the inversion does not settle.

        Cost: some hundred to thousand points of g, each r operations.

        >>> law = QuadraticLaw(np.ones(1), np.full(1, 2.0), np.zeros(1))  # exponential, mean 2
        >>> round(law.log_cdf(0.2), 6), round(float(np.log(-np.expm1(-0.1))), 6)
        (-2.352168, -2.352168)
        """
        if math.isnan(x):
            raise InputError("x = NaN", "a number", "a loss to compare with")
        if x <= self.smallest:
            return -math.inf
        if not (self.weights > 0).any() or x == math.inf:
            return 0.0
        saddle = _root(lambda s: self._slope(s, x) - 1 / s)
        g0 = float(self._log_transform(np.array([saddle + 0j]), x)[0].real) - math.log(saddle)
        second, third = self._curvature(saddle)
        width, bend = 1 / math.sqrt(second), max(-third / (6 * second), 0.0)

        def integrand(u: np.ndarray) -> np.ndarray:
            s = saddle + 1j * u - bend * u**2
            g = self._log_transform(s, x) - np.log(s) - g0
            return np.asarray((np.exp(g) * (1 + 2j * bend * u)).real)

        return g0 + math.log(_half_line(integrand, width) / math.pi)

    def chernoff(self, x: float) -> float:
        """Return an upper bound of `ln P(sum <= x)`: the least of `s x + ln E exp(-s sum)`, s >= 0.

        0 where x is at the mean or above. The bits that it gives are a lower bound.

        Cost: some tens of evaluations, each r operations.

        >>> law = QuadraticLaw(np.ones(1), np.full(1, 2.0), np.zeros(1))
        >>> law.chernoff(0.2) > law.log_cdf(0.2), law.chernoff(3.0)
        (True, 0.0)
        """
        if x >= self.mean:
            return 0.0
        if x <= self.smallest:
            return -math.inf
        saddle = _root(lambda s: self._slope(s, x))
        return float(self._log_transform(np.array([saddle + 0j]), x)[0].real)

    def _log_transform(self, s: np.ndarray, x: float) -> np.ndarray:
        """Return s x + ln E exp(-s sum) at complex s, in blocks."""
        out = np.empty(len(s), dtype=complex)
        for start in range(0, len(s), 512):
            part = s[start : start + 512, None]
            one = 1 + 2 * part * self.weights
            terms = self.degrees / 2 * np.log(one) + part * self.shifts / one
            out[start : start + 512] = s[start : start + 512] * x - terms.sum(axis=1)
        return out

    def _slope(self, s: float, x: float) -> float:
        one = 1 + 2 * s * self.weights
        return x - float((self.degrees * self.weights / one + self.shifts / one**2).sum())

    def _curvature(self, s: float) -> tuple[float, float]:
        """Second and third derivative of g at a real s."""
        w, one = self.weights, 1 + 2 * s * self.weights
        second = 2 * self.degrees * w**2 / one**2 + 4 * w * self.shifts / one**3
        third = 8 * self.degrees * w**3 / one**3 + 24 * w**2 * self.shifts / one**4
        return float(second.sum()) + 1 / s**2, -float(third.sum()) - 2 / s**3


def _root(f: Callable[[float], float]) -> float:
    """Positive zero of a growing function that is negative near 0."""
    low, high = 1.0, 1.0
    while f(math.exp(low)) > 0:
        low -= 2
    while f(math.exp(high)) < 0:
        high += 2
    found = brentq(lambda t: f(math.exp(t)), low - 2, high, xtol=1e-13, rtol=1e-14)
    return math.exp(float(found))


def _half_line(f: Callable[[np.ndarray], np.ndarray], width: float) -> float:
    """Integral of a smooth even-extended function from 0 on, by the trapezoid rule refined."""
    # The rule converges faster than any power where the extension is even and analytic.
    end = width
    while abs(f(np.array([end]))[0]) > math.exp(-_FAR) * 1e3 and end < 1e9 * width:
        end *= 1.5
    points, before = 64, math.nan
    while points <= _MOST_POINTS:
        u = np.linspace(0, end, points + 1)
        values = f(u)
        total = float((values.sum() - (values[0] + values[-1]) / 2) * end / points)
        if abs(total - before) <= _TOLERANCE * abs(total):
            return total
        before, points = total, 2 * points
    raise InputError(
        "a law whose inversion does not settle", "weights of comparable size", "use chernoff()"
    )
