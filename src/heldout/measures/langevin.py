"""Langevin dynamics with a Gaussian prior, on vectors in units of the prior.

The target is exp(-U), U(u) = n D(u) + 1/2 |u|^2. One step, for a fixed diagonal P,

    u <- u - (eta / 2) P grad U(u) + sqrt(eta P) xi,    xi ~ N(0, I),

is SGLD (Welling and Teh 2011; arXiv:2506.07661 uses it to sample the posterior). The noise has the
scale of the *full-sample* posterior: a mini-batch's mean loss is multiplied by n, never by the
batch size.

DIFFERS: where D is evaluated on all data, steps are accepted or rejected (Metropolis), which takes
away the bias of a finite eta, and P whitens the posterior around the solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from heldout.core.errors import InputError
from heldout.measures.mixing import R_HAT, refuse_unmixed, split_r_hat

__all__ = [
    "R_HAT", "Chains", "Divergence", "Ladder", "climb", "langevin", "refuse_unmixed", "split_r_hat",
]  # fmt: skip

Divergence = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps u (chains, d) to D per example (chains,) in float64 and its gradient (chains, d)."""

_WANTED = 0.57  # acceptance that moves Langevin proposals fastest (Roberts and Rosenthal 1998)


@dataclass(frozen=True)
class Chains:
    """Where chains are, and how they got there."""

    state: Tensor
    """u (chains, d)."""
    trace: Float[np.ndarray, "chains steps"]
    """D at every step after the warm-up."""
    rate: float
    """eta after the warm-up."""
    accepted: float
    """Share of proposals accepted, 0 to 1; 1 where none is judged."""
    kept: tuple[Tensor, ...] = ()
    """States (chains, d) at evenly spaced steps, if asked for."""


def langevin(
    divergence: Divergence,
    start: Tensor,
    n: float,
    *,
    precision: Tensor,
    steps: int,
    rate: float,
    generator: torch.Generator,
    warmup: int = 0,
    judged: bool = True,
    keep: int = 0,
) -> Chains:
    """Run Langevin dynamics on exp(-n D(u) - |u|^2 / 2).

    Args:
        divergence: D per example and its gradient; on a mini-batch if it likes, then not `judged`.
        start: u (chains, d).
        n: examples, 0 for the prior alone.
        precision: 1 / diagonal of P, (d,): about the curvature of U.
        steps: kept in the trace, after the warm-up.
        rate: eta; where steps are judged, the warm-up adapts it.
        generator: a CPU generator; global random state is not touched.
        warmup: steps before.
        judged: accept or reject; needs D on all data.
        keep: how many states to keep of each chain.

    Cost: one forward and backward pass per chain and step.
    """
    p = (1 / precision).to(start)
    u, eta = start, rate
    d, grad = _potential(divergence, u, n)
    trace, kept, accepted = [], [], 0.0
    wanted = {round((i + 1) * steps / keep) for i in range(keep)} if keep else set()
    for step in range(warmup + steps):
        noise = torch.randn(u.shape, generator=generator, dtype=torch.float32).to(u)
        new = u - (eta / 2) * p * grad + (eta * p).sqrt() * noise
        new_d, new_grad = _potential(divergence, new, n)
        share = 1.0
        if judged:
            back = u - new + (eta / 2) * p * new_grad
            forward, reverse = (noise.double() ** 2).sum(1), (back.double() ** 2 / p).sum(1) / eta
            log_ratio = n * (d - new_d) + _half_square(u) - _half_square(new)
            log_ratio = log_ratio + (forward - reverse) / 2
            log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf)
            coin = torch.rand(len(u), generator=generator, dtype=torch.float64).to(u.device)
            yes = coin.log() < log_ratio
            u, grad = torch.where(yes[:, None], new, u), torch.where(yes[:, None], new_grad, grad)
            d = torch.where(yes, new_d, d)
            share = float(log_ratio.exp().clamp(max=1).mean())
        else:
            u, d, grad = new, new_d, new_grad
        if step < warmup and judged:
            eta = float(eta * np.exp((share - _WANTED) / (1 + step) ** 0.5))
        if step >= warmup:
            accepted += share
            trace.append(d)
            if step - warmup + 1 in wanted:
                kept.append(u.clone())
    found = torch.stack(trace, 1).double().cpu().numpy() if trace else np.empty((len(u), 0))
    return Chains(u, found, eta, accepted / max(1, steps), tuple(kept))


def _half_square(u: Tensor) -> Tensor:
    return (u.double() ** 2).sum(1) / 2


def _potential(divergence: Divergence, u: Tensor, n: float) -> tuple[Tensor, Tensor]:
    if n == 0:  # D may be infinite far out in the prior; 0 times it is 0
        return torch.zeros(len(u), dtype=torch.float64, device=u.device), u
    d, gradient = divergence(u)
    return d, n * gradient + u


@dataclass(frozen=True)
class Ladder:
    """Chains on a ladder of sample sizes, from almost none to n."""

    sizes: Float[np.ndarray, " rungs"]
    """b, the number of examples that each rung counts."""
    means: Float[np.ndarray, "chains rungs"]
    """E_b[D] by chain."""
    below: Float[np.ndarray, " chains"]
    """ln E_prior[exp(-b_0 D)] by chain, from draws of the prior."""
    r_hat: float
    """Largest over rungs."""
    last: Chains
    """At the last rung."""

    def log_mass(self, every: int = 1) -> Float[np.ndarray, " chains"]:
        """Return ln E_prior[exp(-n D)] by chain: `below` - integral of E_b[D] db.

        Args:
            every: 2 leaves out every other rung, to see what their spacing costs.
        """
        rungs = np.arange(len(self.sizes))[::-1][::every][::-1]
        if rungs[0] != 0:
            rungs = np.concatenate([[0], rungs])
        # in ln b the integrand b E_b[D] is smooth: it rises to half the number of parameters
        y = self.means[:, rungs] * self.sizes[rungs]
        x = np.log(self.sizes[rungs])
        return np.asarray(self.below - ((y[:, 1:] + y[:, :-1]) / 2 * np.diff(x)).sum(1))


def climb(
    divergence: Divergence,
    d: int,
    n: float,
    *,
    curvature: Tensor,
    generator: torch.Generator,
    chains: int = 4,
    rungs: int = 24,
    steps: int = 150,
    draws: int = 64,
) -> Ladder:
    """Anneal chains from independent draws of the prior to the posterior of n examples.

    Thermodynamic integration: d/db ln E_prior[exp(-b D)] = -E_b[D], with E_b under
    exp(-b D) times the prior.

    Args:
        divergence: see `langevin`; on all data.
        d: dimension of u.
        n: examples of the last rung.
        curvature: of D at the solution, (d,), to precondition with.
        generator: source of everything drawn.
        chains: at least 2.
        rungs: sample sizes, geometrically spaced.
        steps: per rung after a warm-up of a third as many.
        draws: of the prior, per chain, for what lies below the first rung.

    Raises:
        InputError: fewer than 2 chains, or R-hat above 1.1 on some rung.
    """
    if chains < 2:
        raise InputError(f"{chains} chain", "at least 2, to compare", "chains=4")
    device = curvature.device
    prior = torch.randn(chains * draws, d, generator=generator).to(device)
    with np.errstate(over="ignore"):
        seen = np.concatenate([divergence(u)[0].cpu().numpy() for u in prior.split(chains)])
    first = min(n / 2, 0.25 / float(np.median(seen))) if np.median(seen) > 0 else n / 2
    sizes = np.geomspace(first, n, rungs)
    by_chain = seen.reshape(draws, chains).T
    below = np.log(np.mean(np.exp(-first * by_chain), axis=1))
    state, rate = prior[-chains:], d ** (-1 / 3)
    means, worst = [], 1.0
    for size in sizes:
        found = langevin(
            divergence, state, float(size), precision=1 + size * curvature, steps=steps,
            rate=rate, generator=generator, warmup=steps // 3,
        )  # fmt: skip
        state, rate = found.state, found.rate
        means.append(found.trace.mean(1))
        worst = max(worst, split_r_hat(found.trace))
    refuse_unmixed(worst)
    return Ladder(sizes, np.stack(means, 1), below, worst, replace(found, kept=()))
