"""A base space of hypotheses: Gaussian processes that pass through the training set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg
from scipy.spatial.distance import cdist

from heldout.core.errors import InputError
from heldout.measures.inductive_bias import Bits, bits
from heldout.measures.intrinsic_dimension import finite_points
from heldout.measures.kernel_regression import cholesky
from heldout.measures.quadratic_law import QuadraticLaw

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]

_FITS = 0.01  # share of the targets' spread that may be left on the training set
_RANK = 1e-12  # weights below this share of the largest are rounding


def rbf(width: float) -> Kernel:
    """Return the kernel `exp(-|x - x'|^2 / (2 width^2))`.

    >>> rbf(1.0)(np.zeros((1, 2)), np.array([[1.0, 1.0]])).round(4).tolist()
    [[0.3679]]
    """
    if not width > 0:
        raise InputError(f"width={width}", "a width above 0", "the inputs' median distance")

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2)))

    return kernel


@dataclass(frozen=True)
class GPBase:
    """Hypotheses drawn from a Gaussian process, given that they fit the training set.

    `f = mu + S^(1/2) z` on the test points, `mu = K*x K^-1 y`, `S = K** - K*x K^-1 Kx*`, the same
    S for every output (arXiv:2406.15941).

    DIFFERS: the linear systems are solved by Cholesky factors, exactly, instead of by 10,000
    epochs of Adam; that takes at most some thousand training examples.
    """

    kernel: Kernel
    """Takes (n, d) and (m, d), gives (n, m)."""
    ridge: float = 1e-8
    """Added to the diagonal, as noise on the targets."""

    def law(
        self,
        x: Float[np.ndarray, "n d"],
        y: Float[np.ndarray, "n c"],
        x_test: Float[np.ndarray, "m d"],
        y_test: Float[np.ndarray, "m c"],
    ) -> QuadraticLaw:
        """Return the exact law of a random hypothesis' mean squared error on the test points.

        The mean is over points and outputs. With S = U diag(lambda) U^T and b = U^T (mu - y):
        `loss = sum_i (b_i + sqrt(lambda_i) z_i)^2 / (points outputs)`.

        Args:
            x: training inputs; trailing axes are flattened.
            y: targets, (n,) or (n, outputs).
            x_test: test inputs.
            y_test: their targets.

        Raises:
            InputError: lengths that differ, NaN or infinite values, a kernel that is not positive
                definite, or hypotheses that do not fit the training set (relative error above
                1 %): their losses say nothing of generalization.

        Cost: n^3 / 3 + n^2 m + 10 m^3.

        >>> x = np.linspace(0, 3, 4)[:, None]
        >>> law = GPBase(rbf(1.0)).law(x, np.sin(x), x + 0.5, np.sin(x + 0.5))
        >>> law.points, 0 < law.mean < 0.1
        (4, True)
        """
        mean, covariance, y_test = self._posterior(x, y, x_test, y_test)
        values, vectors = linalg.eigh(covariance)
        values = np.where(values > _RANK * max(values[-1], 0.0), values, 0.0)
        offsets = ((vectors.T @ (mean - y_test)) ** 2).sum(axis=1)
        points, outputs = y_test.shape
        size = points * outputs
        degrees = np.full(points, float(outputs))
        return QuadraticLaw(values / size, degrees, offsets / size, points)

    def sample_losses(
        self,
        x: Float[np.ndarray, "n d"],
        y: Float[np.ndarray, "n c"],
        x_test: Float[np.ndarray, "m d"],
        y_test: Float[np.ndarray, "m c"],
        draws: int = 10_000,
        seed: int = 0,
    ) -> Float[np.ndarray, " draws"]:
        """Return the mean squared test errors of random hypotheses.

        Args:
            x: training inputs.
            y: targets.
            x_test: test inputs.
            y_test: their targets.
            draws: hypotheses.
            seed: of the draws.

        Raises:
            InputError: see `law`.

        Cost: that of `law`, and draws x m numbers.

        >>> x = np.linspace(0, 3, 4)[:, None]
        >>> GPBase(rbf(1.0)).sample_losses(x, np.sin(x), x + 0.5, np.sin(x + 0.5), 7).shape
        (7,)
        """
        return self.law(x, y, x_test, y_test).sample(draws, seed)

    def _posterior(
        self, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, x_test = finite_points(x), finite_points(x_test)
        y, y_test = _targets(y, len(x)), _targets(y_test, len(x_test))
        if y.shape[1] != y_test.shape[1]:
            raise InputError(f"{y.shape[1]} and {y_test.shape[1]} outputs", "one number", "one-hot")
        k = self.kernel(x, x)
        factor = cholesky(k, self.ridge)
        solved = linalg.cho_solve((factor, True), y)
        # What the noise leaves: the hypotheses miss the targets by ridge K^-1 y on average.
        left = float(np.sqrt(np.mean((k @ solved - y) ** 2)))
        spread = float(np.sqrt(np.mean(y**2)))
        if left > _FITS * spread:
            raise InputError(
                f"hypotheses that miss the training targets by {left / spread:.1%}",
                f"at most {_FITS:.0%}: the base space must fit the training set",
                "a smaller ridge, a narrower kernel, or drop repeated inputs",
            )
        half = linalg.solve_triangular(factor, self.kernel(x, x_test), lower=True)
        covariance = self.kernel(x_test, x_test) - half.T @ half
        return self.kernel(x_test, x) @ solved, (covariance + covariance.T) / 2, y_test


def _targets(y: np.ndarray, n: int) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != n or not np.isfinite(y).all():
        raise InputError(
            f"targets of shape {y.shape} for {n} inputs", "finite (n,) or (n, outputs)", "one-hot"
        )
    return y


def compare(models: dict[str, float], base: QuadraticLaw) -> dict[str, Bits]:
    """Return the bits that the test losses of models stand for, most bits first.

    Numbers of one base space, test set and loss can be compared with each other and with nothing
    else: bits grow with the number of test points and depend on the kernel's width.

    Args:
        models: mean squared test error by name, on the base's own test points.
        base: what `GPBase.law` gave.

    Raises:
        InputError: no models, or a loss that is not positive.

    Cost: one inversion per model.

    >>> x = np.linspace(0, 3, 4)[:, None]
    >>> base = GPBase(rbf(1.0)).law(x, np.sin(x), x + 0.5, np.sin(x + 0.5))
    >>> list(compare({"poor": base.mean, "good": base.mean / 50}, base))
    ['good', 'poor']
    """
    if not models:
        raise InputError("no models", "a test loss by name", "{'cnn': 0.02}")
    found = {name: bits(base, loss, family="gp_exact") for name, loss in models.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))
