"""Examples in which no estimate of a learner's loss can be close, with their exact odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from heldout.core.errors import InputError


@dataclass(frozen=True)
class Odds:
    """What happened in simulated worlds."""

    failure: float
    """Share of worlds in which the best estimate is off by at least the margin, 0-1."""
    perfect: float
    """Share of worlds in which the learner's loss is 0."""
    worlds: int
    """How many were simulated."""


def corank_distribution(n: int, q: int = 2) -> Float[np.ndarray, " n+1"]:
    """Probability that a random n x n matrix over F_q lacks c of full rank, for c = 0 .. n.

    `P(c) = q^(-c^2) prod_{i=c+1..n} (1 - q^-i)^2 / prod_{i=1..n-c} (1 - q^-i)`. Half of all 1 x 1
    matrices over F_2 are singular; of large ones 71 % are.

    Raises:
        InputError: n below 1 or q below 2.

    >>> corank_distribution(1).tolist()
    [0.5, 0.5]
    >>> corank_distribution(40)[:3].round(4).tolist()
    [0.2888, 0.5776, 0.1284]
    """
    if n < 1 or q < 2:
        raise InputError(f"n={n}, q={q}", "n of at least 1, q a prime power", "see corank")
    found = []
    for c in range(n + 1):
        above = sum(2 * np.log1p(-(float(q) ** -i)) for i in range(c + 1, n + 1))
        below = sum(np.log1p(-(float(q) ** -i)) for i in range(1, n - c + 1))
        found.append(np.exp(-c * c * np.log(q) + above - below))
    return np.array(found)


def linear_failure(n: int, q: int = 2) -> float:
    """Least probability with which an estimate of the loss of some learner of linear maps fails.

    The label is `w . x` over F_q, w uniform in a subspace of dimension n that the learner knows,
    inputs are uniform, and there are n examples. They leave `q^c` maps when their matrix lacks c
    of full rank, all equally likely; the learner returns one, whose loss is 0 if it is the right
    one and 1 - 1/q if not. With `p = q^-c` the best estimate fails with probability min(p, 1-p):

        sum_c P(c) min(q^-c, 1 - q^-c)

    "Fails" is off by (1 - 1/q) / 2 or more: by 1/4 for parities. For parities (q = 2) and every
    n of 6 or more it is above 0.32, so that parities are not (0.25, 0.32, n)-estimable
    (Gastpar et al. 2024, arXiv:2410.01969), though `linear_perfect` is above 0.6. The larger q,
    the less the examples leave open.

    >>> round(linear_failure(8), 3), round(linear_failure(8, 5), 3)
    (0.321, 0.048)
    """
    left = float(q) ** -np.arange(n + 1.0)
    return float(corank_distribution(n, q) @ np.minimum(left, 1 - left))


def linear_perfect(n: int, q: int = 2) -> float:
    """Probability that the learner of `linear_failure` has no loss at all, `sum_c P(c) q^-c`.

    >>> round(linear_perfect(8), 2)
    0.61
    """
    return float(corank_distribution(n, q) @ float(q) ** -np.arange(n + 1.0))


def simulate_parity(n: int, worlds: int, rng: np.random.Generator) -> Odds:
    """Play out `linear_failure` for q = 2: draw w and examples, solve, estimate, compare.

    The learner reduces its n examples to echelon form and takes the solution whose free
    coordinates are 0, so it is right exactly when those of w are. The estimate says 0 when at most
    two maps are left and 1/2 when more are, which is the best there is.

    Args:
        n: dimension of the subspace, and number of examples, 1 to 62.
        worlds: how often.
        rng: source of everything.

    Cost: 2 n^2 integer operations per world, on whole arrays.

    >>> simulate_parity(6, 1000, np.random.default_rng(0)).worlds
    1000
    """
    if not 1 <= n <= 62 or worlds < 1:
        raise InputError(f"n={n}, {worlds} worlds", "n from 1 to 62, one world or more", "see n")
    one = np.uint64(1)
    top = np.uint64(2**n)
    rows = rng.integers(top, size=(n, worlds), dtype=np.uint64)
    target = rng.integers(top, size=worlds, dtype=np.uint64)
    used = np.zeros((n, worlds), bool)  # rows that are a pivot already
    free = np.zeros(worlds, np.uint64)  # columns without one
    each = np.arange(worlds)
    for column in range(n):
        bit = (rows >> np.uint64(column)) & one
        candidates = (bit == 1) & ~used
        pivot = candidates.argmax(axis=0)
        found = candidates[pivot, each]
        row = np.where(found, rows[pivot, each], np.uint64(0))
        used[pivot[found], each[found]] = True
        clear = bit == 1
        clear[pivot, each] = False
        rows ^= np.where(clear, row, np.uint64(0))
        free |= np.where(found, np.uint64(0), one << np.uint64(column))
    perfect = (target & free) == 0
    said_perfect = (~used).sum(axis=0) <= 1
    return Odds(float((perfect != said_perfect).mean()), float(perfect.mean()), worlds)


def memorizer_margin(domain: int, n: int) -> float:
    """How far off an estimate of a memorizer's loss must be, half of the time.

    `domain` inputs are equally likely, labels are fair coins. The learner knows the labels of its
    n examples by heart and answers elsewhere by a rule of its own, which half of the time happens
    to be the truth ("lucky", loss 0) and else is unrelated to it (loss half the unseen share).
    Examples and answers look the same in both cases, so whatever is estimated is off by at least
    half of the difference in one of them: `(1 - 1/domain)^n / 4` on average over examples.

    >>> round(memorizer_margin(1000, 100), 3), round(memorizer_margin(1000, 2000), 3)
    (0.226, 0.034)
    """
    if domain < 2 or n < 0:
        raise InputError(f"domain={domain}, n={n}", "domain of 2 or more, n of 0 or more", "see n")
    return 0.25 * (1 - 1 / domain) ** n


def simulate_memorizer(
    domain: int, n: int, worlds: int, rng: np.random.Generator, margin: float, points: int = 101
) -> Odds:
    """Play out `memorizer_margin`, and take the best of constant estimates from 0 to 1/2.

    Args:
        domain: inputs.
        n: examples.
        worlds: how often.
        rng: source of everything.
        margin: an estimate off by at least this much has failed.
        points: estimates tried; each also in multiples of the unseen share, which is seen.

    >>> simulate_memorizer(100, 10, 200, np.random.default_rng(0), 0.2).failure > 0.35
    True
    """
    losses, unseen = np.zeros(worlds), np.zeros(worlds)
    for i in range(worlds):
        truth = rng.integers(2, size=domain)
        known = np.zeros(domain, bool)
        known[rng.integers(domain, size=n)] = True
        lucky = rng.random() < 0.5
        answers = np.where(known | lucky, truth, rng.integers(2, size=domain))
        losses[i], unseen[i] = (answers != truth).mean(), 1 - known.mean()
    guesses = np.linspace(0, 0.5, points)
    absolute = (np.abs(losses[None] - guesses[:, None]) >= margin).mean(axis=1)
    relative = (np.abs(losses[None] - guesses[:, None] * unseen) >= margin).mean(axis=1)
    return Odds(float(min(absolute.min(), relative.min())), float((losses == 0).mean()), worlds)
