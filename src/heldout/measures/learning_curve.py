"""Error against training-set size: a power law above a floor, and what more data would bring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from heldout.core.errors import InputError
from heldout.core.interval import Interval

_EXPONENTS = np.geomspace(0.1, 2.0, 24)
_FLOORS = 25
_SAMPLES = 4000


@dataclass(frozen=True)
class LearningCurve:
    """Samples from the posterior of err(n) = a n^-b + c."""

    sizes: Float[np.ndarray, " k"]
    """Training-set sizes that were measured."""
    error: Float[np.ndarray, " k"]
    """Mean error at each."""
    deviation: Float[np.ndarray, " k"]
    """Standard error of each, over seeds and test examples."""
    retraining: float
    """Standard error that is due to retraining alone, at the largest size."""
    remeasured: float
    """Standard error of a measured difference between the two largest sizes: retraining, and
    the examples on which the two disagree."""
    a: Float[np.ndarray, " s"]
    """Scale, in error at n = 1."""
    b: Float[np.ndarray, " s"]
    """Exponent, 0.1 to 2."""
    c: Float[np.ndarray, " s"]
    """Floor: error with unlimited data; 0 in half of the samples before the data are seen."""
    units: int
    """Retrained models behind the curve."""

    def at(self, n: float, level: float = 0.95, observed: bool = False) -> Interval:
        """Return the error at size n.

        Args:
            n: training-set size.
            level: coverage aimed at.
            observed: add the noise of retraining, as a new measurement would have it.
        """
        found = self._error(n)
        if observed:
            noise = np.random.default_rng(0).normal(size=found.size)
            found = found + self.retraining * noise
        return self._interval(np.clip(found, 0, 1), level)

    def gain(self, n: float, m: float, level: float = 0.95, observed: bool = False) -> Interval:
        """Return err(n) - err(m): the accuracy that going from n to m examples would bring.

        Args:
            n: size now.
            m: size then.
            level: coverage aimed at.
            observed: add the noise of measuring that difference with as many models and test
                examples, so that the interval covers what will be measured.
        """
        found = self._error(n) - self._error(m)
        if observed:
            found = found + self.remeasured * np.random.default_rng(0).normal(size=found.size)
        return self._interval(found, level)

    def _error(self, n: float) -> np.ndarray:
        return np.asarray(self.a * float(n) ** -self.b + self.c)

    def _interval(self, samples: np.ndarray, level: float) -> Interval:
        low, mid, high = np.quantile(samples, [(1 - level) / 2, 0.5, (1 + level) / 2])
        words = "posterior of a n^-b + c, with and without floor"
        return Interval(float(mid), float(low), float(high), self.units, level, words)


def fit_learning_curve(
    sizes: Int[np.ndarray, " k"], wrong: Float[np.ndarray, "s k t"], rng: np.random.Generator
) -> LearningCurve:
    """Fit err(n) = a n^-b + c to models trained on nested subsets.

    The mean curve is Gaussian around the law with covariance Sigma = (seed variance) / s +
    (covariance over test examples) / t; the second part is shared by all sizes, since they are
    tested on the same examples. Prior: b log-uniform on [0.1, 2]; a >= 0 flat; c = 0 (a plain
    power law) with probability 1/2, else uniform between 0 and the error at the largest size.
    Averaging over b and c instead of taking the best fit is what makes the interval of an
    extrapolation honest: few sizes never tell a floor from a small exponent.

    Args:
        sizes: k >= 3 increasing numbers of training examples.
        wrong: 1 where a model errs: seeds x sizes x test examples.
        rng: draws the samples.

    Cost: no pass over the data; s * k retrainings are in `wrong`.

    Raises:
        InputError: fewer than three sizes, or sizes that do not increase.

    Power law with floor: Hestness et al. 2017 (arXiv 1712.00409), eq. 1; Rosenfeld et al. 2020.

    >>> n = np.array([100, 200, 400, 800])
    >>> rng = np.random.default_rng(0)
    >>> wrong = rng.random((5, 4, 4000)) < (2 * n ** -0.5)[None, :, None]
    >>> curve = fit_learning_curve(n, wrong, rng)
    >>> bool(abs(curve.at(1600).value - 2 * 1600 ** -0.5) < 0.01)
    True
    """
    n, w = np.asarray(sizes, float), np.asarray(wrong, float)
    if n.size < 3 or (np.diff(n) <= 0).any():
        raise InputError(
            f"sizes {n.tolist()}", "three or more, increasing", "train on more subsets"
        )
    error = w.mean(axis=(0, 2))
    seeds, covariance = _covariance(w)
    inverse = np.linalg.inv(covariance)
    b, c = _grid(float(error[-1] + 2 * np.sqrt(covariance[-1, -1])))
    shape = n[None] ** -b[:, None]
    rest = error[None] - c[:, None]
    precision = np.einsum("gk,kl,gl->g", shape, inverse, shape)
    a = np.einsum("gk,kl,gl->g", shape, inverse, rest) / precision
    residual = rest - a[:, None] * shape
    misfit = np.einsum("gk,kl,gl->g", residual, inverse, residual)
    # Integrating a over its Gaussian leaves the determinant; relative to the error scale so that
    # the prior on a does not favour small exponents through its units.
    scale = 0.5 * np.log(precision / n[-1] ** (-2 * b))
    floor = c > 0
    weight = np.exp(-0.5 * (misfit - misfit.min()) - scale + scale.min())
    weight = weight * np.where(a > 0, 1.0, 1e-6) / np.where(floor, floor.sum(), (~floor).sum())
    at = rng.choice(len(b), _SAMPLES, p=weight / weight.sum())
    drawn = a[at] + rng.normal(size=_SAMPLES) / np.sqrt(precision[at])
    return LearningCurve(
        n, error, np.sqrt(np.diag(covariance)), float(np.sqrt(seeds[-1])),
        _remeasured(covariance),
        np.maximum(drawn, 0.0), b[at], c[at], int(w.shape[0] * w.shape[1]),
    )  # fmt: skip


def nested_order(labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Order rows so that every prefix has the classes in the proportions of the whole.

    >>> y = np.repeat([0, 1], [8, 4])
    >>> order = nested_order(y, np.random.default_rng(0))
    >>> np.bincount(y[order[:6]]).tolist(), sorted(order.tolist()) == list(range(12))
    ([4, 2], True)
    """
    place = np.empty(len(labels))
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        place[rng.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((rng.random(len(labels)), place))


def _covariance(wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean curve by retraining (k,), and its covariance in all (k, k)."""
    s, k, t = wrong.shape
    curves = wrong.mean(axis=2)
    each = curves.var(axis=0, ddof=1) if s > 1 else curves[0] * (1 - curves[0]) / t
    # A variance over a handful of seeds is itself noisy: half its own, half what all sizes say,
    # in units of the binomial e (1 - e), since smaller errors vary less.
    rate = curves.mean(axis=0)
    binomial = np.maximum(rate * (1 - rate), 1 / t)
    seeds = (0.5 * each + 0.5 * float(np.mean(each / binomial)) * binomial) / s
    examples = np.cov(wrong.mean(axis=0)).reshape(k, k) / t
    return seeds, examples + np.diag(seeds + 0.05 / t**2 + 1e-8)


def _remeasured(covariance: np.ndarray) -> float:
    last = covariance[-2:, -2:]
    return float(np.sqrt(last[0, 0] + last[1, 1] - 2 * last[0, 1]))


def _grid(most: float) -> tuple[np.ndarray, np.ndarray]:
    floors = np.linspace(0, most, _FLOORS)
    b, c = np.meshgrid(_EXPONENTS, floors, indexing="ij")
    return b.ravel(), c.ravel()
