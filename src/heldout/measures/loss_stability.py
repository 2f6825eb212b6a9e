"""Loss stability: how far the held-out loss moves when a learner gets fewer examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from heldout.core.arrays import as_numpy
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed, stream

Predict = Callable[[Any], np.ndarray]
"""Maps inputs to class labels (n,)."""


@dataclass(frozen=True)
class LossStability:
    """With probability 1 - beta the loss of n - k examples is within alpha of that of n."""

    alpha: float
    """Largest change of the loss seen, 0-1."""
    alpha_high: float
    """The same with the test set's sampling error: the largest upper end of a change."""
    beta: float
    """With `level` confidence, another change exceeds `alpha` with at most this probability."""
    level: float
    """Confidence behind `beta`."""
    k: int
    """Examples left out."""
    changes: Float[np.ndarray, " r"]
    """Loss of the learner with n - k examples minus that with n, per repeat."""
    errors: Float[np.ndarray, " r"]
    """Sampling error (95 %) of each change, from the test set's size."""
    estimate: float
    """Mean loss on the k examples left out: the loss, estimated from training data alone."""
    loss: float
    """Mean loss on the test set of the learner with all n."""

    def eps_at_delta(self, delta: float) -> float:
        """Return eps such that `estimate` of one repeat is within eps with probability 1 - delta.

        `alpha + sqrt(log(2 / (delta - beta)) / 2k)`: beta for the change, Hoeffding's inequality
        for the mean over the k examples left out; infinite when beta is delta or more.
        """
        return estimation_error(self.alpha, self.beta, self.k, delta)


def estimation_error(alpha: float, beta: float, k: int, delta: float) -> float:
    """Error of the estimate that leaves k examples out, of an (alpha, beta) stable learner.

    Loss stability suffices: an (alpha, beta) stable learner is (alpha + a, beta + b)-estimable
    for `k >= log(2 / b) / 2 a^2` (Gastpar et al. 2024, arXiv:2410.01969; constants from
    Hoeffding's inequality for a loss in [0, 1]).

    Returns:
        `alpha + sqrt(log(2 / (delta - beta)) / 2k)`, infinite for delta <= beta.

    >>> round(estimation_error(0.02, 0.01, 500, 0.06), 4), estimation_error(0.02, 0.1, 500, 0.05)
    (0.0807, inf)
    """
    if k < 1 or not 0 < delta < 1 or not 0 <= beta <= 1 or alpha < 0:
        raise InputError(
            f"alpha={alpha}, beta={beta}, k={k}, delta={delta}",
            "alpha of 0 or more, beta and delta from 0 to 1, k of 1 or more",
            "pass what loss_stability found",
        )
    return math.inf if delta <= beta else alpha + math.sqrt(math.log(2 / (delta - beta)) / (2 * k))


def loss_stability(
    fit: Callable[[Any, Any, int], Predict],
    x: Any, y: np.ndarray, x_test: Any, y_test: np.ndarray,
    k: int, repeats: int = 20, seed: int = 0, level: float = 0.95,
) -> LossStability:  # fmt: skip
    """Train with and without k random examples, and compare the zero-one loss on a test set.

    No measure is a guarantee; this is a property of a learner at one distribution, measured.

    Args:
        fit: `fit(x, y, seed) -> predict`, where `predict(x)` gives labels; the same seed is used
            for both trainings of a repeat.
        x: training inputs, indexed by rows.
        y: (n,) their labels.
        x_test: inputs of the test set.
        y_test: (t,) their labels.
        k: examples to leave out.
        repeats: pairs of trainings; with r of them and none above alpha, beta is
            `1 - (1 - level)^(1 / r)`: 0.14 for 20.
        seed: of the choice, and from which those of `fit` derive.
        level: confidence behind beta.

    Raises:
        InputError: k not between 1 and n - 1, no repeats, labels of another length, a `fit` that
            returns nothing to call, or predictions that are no label for each input.

    Cost: two trainings per repeat.

    >>> def fit(x, y, seed):
    ...     most = np.bincount(y).argmax()
    ...     return lambda x: np.full(len(x), most)
    >>> x, y = np.zeros((30, 1)), np.arange(30) // 20
    >>> found = loss_stability(fit, x, y, x, y, k=5, repeats=4)
    >>> found.alpha, round(found.beta, 2)
    (0.0, 0.53)
    """
    y, y_test = np.asarray(y), np.asarray(y_test)
    n = len(y)
    shapes = (len(x),), (len(x_test),)
    if not 1 <= k < n or repeats < 1 or (y.shape, y_test.shape) != shapes:
        raise InputError(
            f"k={k}, {repeats} repeats, {len(x)} and {len(x_test)} inputs and labels of shapes "
            f"{y.shape} and {y_test.shape}",
            "k from 1 to n - 1, one repeat or more, one label per input",
            "leave a tenth of the training examples out",
        )
    full, less, left = [], [], []
    for repeat in range(repeats):
        out = stream(seed, "stability", repeat).permutation(n)[:k]
        kept = np.setdiff1d(np.arange(n), out)
        drawn = derived_seed(seed, "fit", repeat)
        full.append(_wrong(fit(x, y, drawn), x_test, y_test))
        predict = fit(x[kept], y[kept], drawn)
        less.append(_wrong(predict, x_test, y_test))
        left.append(_wrong(predict, x[out], y[out]))
    return stability_of(np.array(full), np.array(less), np.array(left), level)


def stability_of(
    full: Float[np.ndarray, "r t"], less: Float[np.ndarray, "r t"],
    left: Float[np.ndarray, "r k"], level: float = 0.95,
) -> LossStability:  # fmt: skip
    """Sum up losses that are measured already; see `loss_stability`.

    Args:
        full: zero-one loss on each test example of the learner with all n, per repeat.
        less: the same with n - k.
        left: of the learner with n - k on the k left out.
        level: confidence behind beta.

    Raises:
        InputError: other shapes, losses that are not finite, or a level outside 0 to 1.

    >>> none = np.zeros((3, 4))
    >>> stability_of(none, none, none[:, :2]).alpha
    0.0
    """
    one, other, out = (np.asarray(v, float) for v in (full, less, left))
    finite = all(np.isfinite(v).all() and v.size for v in (one, other, out))
    if one.ndim != 2 or other.shape != one.shape or out.shape[:1] != one.shape[:1] or not finite:
        raise InputError(
            f"losses of shapes {one.shape}, {other.shape} and {out.shape}, finite or not",
            "(repeats, test examples) twice, and (repeats, examples left out)",
            "loss_stability(fit, x, y, x_test, y_test, k) measures them",
        )
    if not 0 < level < 1:
        raise InputError(f"level={level}", "0 < level < 1", "level=0.95")
    difference = other - one
    changes = difference.mean(axis=1)
    t = difference.shape[1]
    # One example's worth is added to the variance, so that no disagreement is not certainty.
    errors = stats.norm.ppf(0.975) * np.sqrt((difference.var(axis=1) + 1 / t) / t)
    return LossStability(
        float(np.abs(changes).max()), float((np.abs(changes) + errors).max()),
        float(1 - (1 - level) ** (1 / len(changes))), level, int(np.shape(left)[1]),
        changes, errors, float(np.mean(left)), float(np.mean(full)),
    )  # fmt: skip


def _wrong(predict: Any, x: Any, y: np.ndarray) -> np.ndarray:
    if not callable(predict):
        raise InputError(
            f"a fit that returns {type(predict).__name__}",
            "a function of inputs that returns their labels",
            "return model.predict, not the model",
        )
    found = as_numpy(predict(x))
    text = {v.dtype.kind in "US" for v in (found, y) if v.dtype.kind != "O"}
    missing = found.dtype.kind == "f" and np.isnan(found).any()
    if found.shape != y.shape or missing or len(text) > 1:
        raise InputError(
            f"predictions {found.dtype} {found.shape} for labels {y.dtype} {y.shape}",
            "one label for each input, of the same kind",
            "probabilities.argmax(1); predictions[:, 0] for a column",
        )
    return np.asarray(found != y)
