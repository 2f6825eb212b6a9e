"""Whether Markov chains have mixed, and how many independent draws they are worth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from heldout.core.errors import InputError

R_HAT = 1.1
"""Above it chains have not mixed, and no number is returned."""


def split_r_hat(traces: Float[np.ndarray, "chains steps"]) -> float:
    """Return the split R-hat of Gelman et al.: 1 when chains and their halves agree.

    sqrt[((s - 1)/s W + B/s) / W], W the mean variance within half-chains of s steps and B/s the
    variance of their means.

    Raises:
        InputError: fewer than 2 chains, or fewer than 4 steps.

    >>> rng = np.random.default_rng(0)
    >>> split_r_hat(rng.normal(size=(4, 500))) < 1.02
    True
    >>> split_r_hat(rng.normal(size=(2, 500)) + [[0], [3]]) > 1.5
    True
    """
    x = np.asarray(traces, dtype=float)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 4:
        raise InputError(
            f"traces of shape {x.shape}",
            "at least 2 chains of 4 steps: one chain cannot show that it has not mixed",
            "chains=4",
        )
    half = x.shape[1] // 2
    parts = np.concatenate([x[:, :half], x[:, -half:]])
    within = float(parts.var(axis=1, ddof=1).mean())
    between = float(parts.mean(axis=1).var(ddof=1))
    if within == 0:
        return 1.0 if between == 0 else float("inf")
    return float(np.sqrt((half - 1) / half + between / within))


def refuse_unmixed(
    r_hat: float,
    hint: str = "more steps or chains, a smaller model, fewer examples, or method='laplace'",
) -> None:
    """Raise unless chains have mixed.

    Args:
        r_hat: see `split_r_hat`.
        hint: what to try.

    Raises:
        InputError: R-hat is above 1.1 or not a number.

    >>> refuse_unmixed(1.05)
    """
    if not r_hat <= R_HAT:
        raise InputError(
            f"chains with R-hat {r_hat:.2f}",
            f"at most {R_HAT}: above, chains disagree and their average means nothing",
            hint,
        )


def effective_draws(traces: Float[np.ndarray, "chains steps"]) -> float:
    """Return how many independent draws several autocorrelated chains are worth.

    m s / (1 + 2 sum_t rho_t), with rho_t = 1 - (W - mean autocovariance at lag t) / V, V the
    variance over all chains that R-hat uses too, summed in pairs of lags while the pairs are
    positive and do not rise (Geyer 1992; Gelman et al., Bayesian Data Analysis, 3rd ed., 11.5).
    Chains that disagree are worth little, however long.

    Args:
        traces: one number at every kept step, at least 2 chains of 4.

    Raises:
        InputError: fewer.

    >>> rng = np.random.default_rng(0)
    >>> 1500 < effective_draws(rng.normal(size=(4, 500))) <= 2000
    True
    """
    x = np.asarray(traces, dtype=float)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 4:
        raise InputError(f"traces of shape {x.shape}", "at least 2 chains of 4 steps", "chains=4")
    m, s = x.shape
    centred = x - x.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * s)) ** 2
    covariance = np.fft.irfft(spectrum)[:, :s].mean(0) / s  # biased by design: it damps far lags
    within = float(x.var(axis=1, ddof=1).mean())
    total = within * (s - 1) / s + float(x.mean(1).var(ddof=1))
    if total == 0:
        return float(m * s)  # a constant is known exactly
    rho = 1 - (within - covariance * s / (s - 1)) / total
    rho[0] = 1.0
    pairs = rho[: s // 2 * 2].reshape(-1, 2).sum(1)
    stop = int(np.argmax(pairs <= 0)) if bool((pairs <= 0).any()) else len(pairs)
    pairs = np.minimum.accumulate(pairs[:stop])
    return float(min(m * s, m * s / max(2 * pairs.sum() - 1, 1e-9)))
