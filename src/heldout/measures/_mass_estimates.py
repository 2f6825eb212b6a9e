"""Three estimates of the prior mass around a solution, each with its interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import torch_stream
from heldout.measures._solution import GROUPS, World
from heldout.measures.gaussian_mass import log_soft_weight
from heldout.measures.langevin import Ladder

FEWEST = 50
"""Effective draws; with about 10 the interval missed a closed form."""


def laplace(world: World, n: int) -> tuple[Interval, float]:
    """Return C_n of the quadratic approximation and the parameters that n examples determine."""
    found = jackknife(world, lambda lam, mu: -log_soft_weight(lam, mu, n))
    lam, mu = world.curvature.double().cpu().numpy(), world.offset
    room = 1 + n * lam
    return found, float(np.sum(n * lam / room + n * lam * mu**2 / room**2))


def jackknife(world: World, statistic: Callable[[np.ndarray, np.ndarray], float]) -> Interval:
    """Return a statistic of curvature and offset, with a delete-a-group jackknife over inputs.

    The Fisher information is decomposed anew without each group.
    """
    solution = world.flat.solution.double()
    groups = np.arange(len(world.factor)) % GROUPS
    parts = []
    for group in range(GROUPS):
        rows = world.factor[torch.from_numpy(groups == group)].flatten(0, 1)
        parts.append(rows.T @ rows)
    sum_of = torch.stack(parts).sum(0)
    sizes = np.bincount(groups, minlength=GROUPS)

    def at(matrix: Tensor, count: int) -> float:
        values, basis = torch.linalg.eigh(matrix / count)
        lam = values.clamp(min=0).cpu().numpy()
        return float(statistic(lam, (basis.T @ solution).cpu().numpy()))

    whole = at(sum_of, len(groups))
    left = [at(sum_of - p, len(groups) - s) for p, s in zip(parts, sizes, strict=True)]
    error = float(np.sqrt((GROUPS - 1) * np.var(left)))
    half = float(stats.t.ppf(0.975, GROUPS - 1)) * error
    said = "jackknife over ten groups of inputs, student t"
    return Interval(whole, whole - half, whole + half, len(groups), method=said)


def over_chains(values: np.ndarray, coarse: np.ndarray) -> Interval:
    """Return the mean over chains with Student's t, and what half of the rungs would change."""
    centre, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    # a trapezoid on half the rungs has four times the error
    half += abs(float(coarse.mean()) - centre) / 3
    return Interval(centre, centre - half, centre + half, n, method="student t over chains, rungs")


def tilted(ladder: Ladder, eps: float) -> Interval:
    """Return ln W_eps from chains at the last rung of a ladder."""
    b = float(ladder.sizes[-1])
    trace = ladder.last.trace
    inside = np.where(trace <= eps, np.exp(b * np.minimum(trace, eps) - b * eps), 0.0)
    if not (inside.sum(1) > 0).all():
        raise InputError(
            f"a chain that never came within eps = {eps} of the model",
            "weight above zero",
            "a larger eps, or more steps",
        )
    tilt = np.log(inside.mean(1)) + b * eps
    found = over_chains(ladder.log_mass() + tilt, ladder.log_mass(2) + tilt)
    return Interval(found.value, found.low, min(found.high, 0.0), found.n, method=found.method)


def prior_divergences(world: World, draws: int, seed: int) -> np.ndarray:
    """Return D of draws of the prior, (draws,)."""
    generator = torch_stream(seed, "simplicity", "prior")
    found = []
    for start in range(0, draws, 256):
        u = torch.randn(min(256, draws - start), len(world.offset), generator=generator)
        with torch.no_grad():
            found.append(world.divergence(u.to(world.flat.scale))[0].cpu().numpy())
    return np.concatenate(found)


def independent(drawn: np.ndarray, n: int) -> float:
    """Return how many draws count: (sum k)^2 / sum k^2 of k = exp(-n D)."""
    kernel = np.exp(-n * (drawn - drawn.min()))
    return float(kernel.sum() ** 2 / (kernel**2).sum())


def soft_mean(drawn: np.ndarray, n: int) -> tuple[Interval, float]:
    """Return C_n from draws of the prior, and 2 n E_n[D].

    Raises:
        InputError: too few draws count near the solution.
    """
    lowest = float(drawn.min())
    kernel = np.exp(-n * (drawn - lowest))
    total, m = float(kernel.sum()), len(drawn)
    if independent(drawn, n) < FEWEST:
        raise InputError(
            f"{m} draws of the prior, of which fewer than {FEWEST} count near the solution",
            "weight that sampling can see",
            "more draws, a smaller n, or method='variational'",
        )
    value = n * lowest - float(np.log(total / m))
    left = n * lowest - np.log((total - kernel) / (m - 1))
    half = 1.96 * float(np.sqrt((m - 1) * np.var(left)))
    effective = 2 * n * float((kernel * drawn).sum() / total)
    said = "jackknife over draws of the prior"
    return Interval(value, value - half, value + half, m, method=said), effective


def counted(drawn: np.ndarray, eps: float) -> Interval:
    """Return ln W_eps as the share of draws within eps.

    Raises:
        InputError: no draw is.
    """
    hits, m = int((drawn <= eps).sum()), len(drawn)
    if not hits:
        raise InputError(
            f"no draw of the prior within eps = {eps}, of {m}; the nearest is {drawn.min():.3g}",
            "weight above zero",
            "more draws, a larger eps, or method='sgld'",
        )
    found = stats.binomtest(hits, m).proportion_ci(0.95, method="exact")
    value, low, high = (float(np.log(v)) for v in (hits / m, found.low, found.high))
    said = "clopper-pearson over draws of the prior"
    return Interval(value, low, high, m, method=said)
