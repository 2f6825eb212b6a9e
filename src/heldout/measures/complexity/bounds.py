"""PAC-Bayes and sharpness bounds made of a noise scale and the distance of the weights."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from heldout.measures.complexity.flatness import MAGNITUDE_EPS


def pacbayes_bounds(
    weights: Float[np.ndarray, " p"], moved: Float[np.ndarray, " p"], n: int, sigma: float,
    sigma_magnitude: float, eps: float = MAGNITUDE_EPS,
) -> dict[str, float]:  # fmt: skip
    """Bounds on the noise that the weights bear (Jiang et al. 2020, eqs. 48-61).

    With p weights w, their change u since the start, n examples:

        pacbayes_init          |u|^2 / 4 s^2 + log(n / s) + 10
        pacbayes_orig          |w|^2 / 4 s^2 + log(n / s) + 10
        pacbayes_flatness      1 / s^2
        pacbayes_mag_init      1/4 sum_i log[(eps^2 + (t^2 + 1) |u|^2 / p) / (eps^2 + t^2 u_i^2)]
                               + log(n / t) + 10
        pacbayes_mag_orig      the same with |w|^2 in the numerator
        pacbayes_mag_flatness  1 / t^2

    Args:
        weights: matrices and kernels only, flat.
        moved: weights minus initial weights.
        n: training examples.
        sigma: s, a standard deviation; see `noise_scale`.
        sigma_magnitude: t, of magnitude-aware noise.
        eps: least noise of a weight near zero.

    >>> one = np.ones(4)
    >>> pacbayes_bounds(one, one, 1, 1.0, 1.0)["pacbayes_init"]
    11.0
    """
    found = _bounds("pacbayes", weights, moved, sigma, 1.0, math.log(n / sigma))
    more = sigma_magnitude**2 + 1
    last = math.log(n / sigma_magnitude)
    return found | _aware("pacbayes", weights, moved, sigma_magnitude, more, last, eps)


def sharpness_bounds(
    weights: Float[np.ndarray, " p"], moved: Float[np.ndarray, " p"], n: int, alpha: float,
    alpha_magnitude: float, eps: float = MAGNITUDE_EPS, delta: float = 0.05,
) -> dict[str, float]:  # fmt: skip
    """The same with a worst step instead of noise (Jiang et al. 2020, appendix C.4).

        sharpness_init          |u|^2 log(2 p) / 4 a^2 + log(n / a) + 10
        sharpness_orig          |w|^2 log(2 p) / 4 a^2 + log(n / a) + 10
        sharpness_flatness      1 / a^2
        sharpness_mag_init      1/4 sum_i log[(eps^2 + (b^2 + 4 log(2 p / delta)) |u|^2 / p)
                                / (eps^2 + b^2 u_i^2)] + log(n / b) + 10
        sharpness_mag_orig      the same with |w|^2 in the numerator
        sharpness_mag_flatness  1 / b^2

    DIFFERS: perhaps in constants. The two flatness terms are as published; public
    reimplementations disagree on the logarithms of the other four (2 p or 2 p / delta, n / a or
    n / delta), and the published appendix was not at hand.

    Args:
        weights: matrices and kernels only, flat.
        moved: weights minus initial weights.
        n: training examples.
        alpha: a, see `worst_step`.
        alpha_magnitude: b, where magnitude-aware.
        eps: least change of a weight near zero.
        delta: probability that a bound may fail.

    >>> one = np.ones(4)
    >>> sharpness_bounds(one, one, 1, 0.5, 1.0)["sharpness_flatness"]
    4.0
    """
    p = len(weights)
    found = _bounds("sharpness", weights, moved, alpha, math.log(2 * p), math.log(n / alpha))
    more = alpha_magnitude**2 + 4 * math.log(2 * p / delta)
    last = math.log(n / alpha_magnitude)
    return found | _aware("sharpness", weights, moved, alpha_magnitude, more, last, eps)


def _bounds(
    kind: str, w: np.ndarray, u: np.ndarray, scale: float, factor: float, last: float
) -> dict[str, float]:
    lengths = {"init": float(u @ u), "orig": float(w @ w)}
    found = {f"{kind}_{k}": v * factor / (4 * scale**2) + last + 10 for k, v in lengths.items()}
    return found | {f"{kind}_flatness": scale**-2}


def _aware(
    kind: str, w: np.ndarray, u: np.ndarray, scale: float, more: float, last: float, eps: float
) -> dict[str, float]:
    below = np.log(eps**2 + scale**2 * u**2)
    found = {}
    for name, length in (("init", float(u @ u)), ("orig", float(w @ w))):
        above = math.log(eps**2 + more * length / len(u))
        found[f"{kind}_mag_{name}"] = 0.25 * float((above - below).sum()) + last + 10
    return found | {f"{kind}_mag_flatness": scale**-2}
