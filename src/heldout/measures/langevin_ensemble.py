"""A Bayesian mixture over a network's parameters, approximated by Langevin sampling.

Feder, Urbanke and Fogel, "The Universality Lens", arXiv:2506.07661: stochastic gradient descent
with Langevin noise samples the posterior, so that the mixture learner is within reach of standard
training plus ensembling. In units of the prior, theta = s u with u ~ N(0, I), the posterior at
temperature T is exp(-U / T) with

    U(u) = n * mean log-loss(u) + |u|^2 / 2,
    u <- u - (eta / 2) P grad U + sqrt(eta T P) xi,    xi ~ N(0, I).

On all data each step is accepted or rejected, which makes eta exact; on mini-batches it is SGLD
(Welling and Teh 2011), whose error grows with eta and with the noise of the batches.

DIFFERS: P is estimated during the burn-in and then fixed, so that no correction for its changes is
needed; chains are annealed from draws of the prior. T is a scaling of n and of the prior.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream
from heldout.measures._geometry import Geometry, Preconditioner, Target, geometry_at, target_of
from heldout.measures.langevin import Chains, langevin
from heldout.measures.mixing import R_HAT, effective_draws, refuse_unmixed, split_r_hat
from heldout.measures.posterior_ensemble import PosteriorEnsemble
from heldout.measures.prior import GaussianPrior, Likelihood, over

_RUNGS = 12  # sample sizes of the annealing
_PROBES = 16  # inputs whose predictions must agree between chains
_SAME = 1e-3  # predictions that vary less than this need not mix


class UnmixedWarning(UserWarning):
    """Chains disagree: their average is not the posterior's."""


@dataclass(frozen=True)
class Langevin:
    """How an ensemble is sampled."""

    chains: int = 4
    """At least 2, and preferably 4: one chain cannot show that it has not mixed."""
    samples: int = 50
    """Kept of each chain, at least 4."""
    thinning: int | None = None
    """Steps between kept samples. None: 10 where steps are judged, otherwise 1 / rate."""
    burn_in: int | None = None
    """Steps before: three quarters of them annealing. None: 500, or 10 / rate if that is more and
    steps are not judged."""
    batch_size: int | None = None
    """Examples per gradient; all by default, and only then are steps accepted or rejected."""
    rate: float | None = None
    """eta, the share of the preconditioned posterior that one step's noise covers. None: adapted in
    the burn-in where steps are judged; with mini-batches 0.2 batch_size / n, at most 0.1, where
    their noise widens the posterior by about a twentieth."""
    temperature: float = 1.0
    """T: 1 is the Bayesian mixture, below 1 a "cold" posterior nearer to the mode."""
    preconditioner: Preconditioner = "auto"
    """"full" whitens by the Fisher information, "diagonal" by its diagonal, "none" is plain SGLD
    with one step for all. "auto" takes "full" up to 500 parameters, then "diagonal"."""
    start: Literal["prior", "solution"] = "prior"
    """Where chains start. From "solution", the model's own weights, they show how wide that
    solution is, and R-hat cannot see that there are others."""
    refuse: bool = True
    """Raise when R-hat is above 1.1; otherwise warn and return."""


def langevin_ensemble(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    prior: GaussianPrior | None = None,
    likelihood: Likelihood = "categorical",
    noise: float | None = None,
    options: Langevin | None = None,
    seed: int = 0,
) -> PosteriorEnsemble:
    """Sample networks from the posterior of labels, whose averaged predictions are the mixture.

    Args:
        model: lends its architecture, its frozen parameters and buffers, and, as a first
            preconditioner, its curvature. Left exactly as it was. It runs in evaluation mode: no
            dropout, and normalization by the statistics that it has.
        x: inputs (n, ...), at least 10.
        y: labels (n,), integers from 0; or targets (n,) or (n, k) of a Gaussian likelihood.
        prior: N(0, 2 / fan-in) and N(0, 1) for vectors by default; for the prior that a weight
            decay stands for, see `weight_decay_prior`.
        likelihood: "categorical" for logits, "gaussian" for means.
        noise: standard deviation of a Gaussian likelihood.
        options: how to sample.
        seed: of everything drawn.

    Cost: chains * (burn_in + samples * thinning) forward and backward passes over the data, or over
    mini-batches; chains * samples forward passes more to compare chains. Small batches need small
    steps: by default the passes over mini-batches grow as n / batch_size.

    Raises:
        InputError: fewer than 2 chains or 10 examples, labels that do not fit, no proper log-loss,
            an improper prior, chains that diverge, or R-hat above 1.1.

    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> made = langevin_ensemble(nn.Linear(1, 2), x, (x[:, 0] > 0).long())
    >>> bool(made.predict_proba(x)[-1, 1] > 0.7), made.r_hat < 1.1, len(made.members)
    (True, True, 200)
    """
    chosen = options or Langevin()
    _check(chosen)
    generator = torch_stream(seed, "langevin_ensemble")
    with borrowed(model):
        target = target_of(model, x, y, prior, likelihood, noise, chosen.temperature)
        found, kept = _run(target, chosen, generator)
        r_hat, worth = _agreement(target, kept)
        if chosen.refuse:
            refuse_unmixed(r_hat, "more samples or burn_in, a longer thinning, a larger batch_size")
        elif not r_hat <= R_HAT:
            said = f"R-hat is {r_hat:.2f}, above {R_HAT}: the average is not the posterior's"
            warnings.warn(said, UnmixedWarning, stacklevel=2)
        members = tuple(
            {k: v.detach().clone() for k, v in target.flat.parameters(z).items()}
            for chain in torch.stack(kept, 1)
            for z in chain
        )
        module = copy.deepcopy(model)
    return PosteriorEnsemble(
        module, members, chosen.chains, r_hat, worth, found.accepted, found.rate, likelihood, noise
    )


def _check(chosen: Langevin) -> None:
    if chosen.chains < 2:
        raise InputError(
            f"{chosen.chains} chain",
            "at least 2: one chain cannot show that it has not mixed",
            "Langevin(chains=4)",
        )
    given = (chosen.thinning, chosen.burn_in, chosen.batch_size)
    counts = [chosen.samples - 3, *(c for c in given if c is not None)]
    rates = (chosen.temperature, 1.0 if chosen.rate is None else chosen.rate)
    if min(counts) < 1 or not all(np.isfinite(r) and r > 0 for r in rates):
        raise InputError(
            str(chosen),
            "4 samples or more, and counts, rate and temperature above 0",
            "Langevin()",
        )
    known = (("auto", "full", "diagonal", "none"), ("prior", "solution"))
    for name, names in zip((chosen.preconditioner, chosen.start), known, strict=True):
        if name not in names:
            raise InputError(repr(name), " or ".join(names), f"{names[0]!r}")


def _run(
    target: Target, chosen: Langevin, generator: torch.Generator
) -> tuple[Chains, list[Tensor]]:
    count, judged = len(target.x), chosen.batch_size is None
    d, batch = len(target.flat.solution), chosen.batch_size or count
    kind = chosen.preconditioner
    if kind == "auto":
        kind = "full" if d <= 500 else "diagonal"
    state = torch.randn(chosen.chains, d, generator=generator).to(target.flat.scale)
    first = target.flat.solution.expand(1, d)
    if chosen.start == "solution":
        state = first.repeat(chosen.chains, 1)
    rate = chosen.rate or (d ** (-1 / 3) if judged else min(0.1, 0.2 * batch / count))
    geometry = geometry_at(target, first, kind, generator)
    adapting = judged and chosen.rate is None
    slow = 1.0 if judged else rate  # unjudged steps are as short as they need to be exact
    thinning = chosen.thinning or ceil(1 / slow if slow < 1 else 10)
    burn_in = chosen.burn_in or max(500, ceil(10 / slow))
    for size, steps in _schedule(chosen.start, burn_in, target.n):
        if size == target.n:
            geometry = geometry_at(target, state, kind, generator)
        found = _steps(target, geometry, state, size, steps, rate, generator, batch, adapting)
        state, rate = geometry.back(found.state), found.rate
    last = _steps(
        target, geometry, state, target.n, chosen.samples * thinning, rate, generator, batch,
        False, chosen.samples,
    )  # fmt: skip
    return last, [geometry.back(u) for u in last.kept]


def _schedule(start: str, burn_in: int, n: float) -> Iterator[tuple[float, int]]:
    final = max(1, burn_in // 4)
    rungs = min(_RUNGS, burn_in - final)
    if start == "prior" and rungs > 0:
        for size in np.geomspace(min(0.1, n / 2), 0.8 * n, rungs):
            yield float(size), max(1, (burn_in - final) // rungs)
    yield n, final


def _steps(
    target: Target, geometry: Geometry, state: Tensor, size: float, steps: int, rate: float,
    generator: torch.Generator, batch: int, adapting: bool, keep: int = 0,
) -> Chains:  # fmt: skip
    judged = batch >= len(target.x)

    def loss(u: Tensor) -> tuple[Tensor, Tensor]:
        rows = None if judged else torch.randint(len(target.x), (batch,), generator=generator)
        value, gradient = target.mean_loss(geometry.back(u), rows)
        return value, geometry.turn(gradient)

    found = langevin(
        loss, geometry.turn(state), size, precision=1 + size * geometry.curvature,
        steps=1 if adapting else steps, rate=rate, generator=generator,
        warmup=steps - 1 if adapting else 0, judged=judged, keep=keep,
    )  # fmt: skip
    if not bool(found.state.isfinite().all()):
        raise InputError(
            f"chains that diverge at rate {rate:.3g}",
            "steps that stay in the posterior",
            f"Langevin(rate={rate / 4:.2g}), or a larger batch_size",
        )
    return found


def _agreement(target: Target, kept: list[Tensor]) -> tuple[float, float]:
    # weights have symmetries that no chain crosses and no prediction sees: predictions count
    probes = torch.linspace(0, len(target.x) - 1, min(_PROBES, len(target.x))).long()
    few = replace(target, x=target.x[probes], y=target.y[probes])
    with torch.no_grad():
        loss = torch.stack([target.mean_loss(z, None, gradient=False)[0] for z in kept], 1)
        seen = torch.stack([over(few.of_label, z) for z in kept], 1)
    series = [loss, *(s for s in seen.unbind(2) if float(s.std()) > _SAME)]
    traces = [s.double().cpu().numpy() for s in series]
    if not all(np.isfinite(t).all() for t in traces):
        return float("nan"), 0.0
    return max(split_r_hat(t) for t in traces), min(effective_draws(t) for t in traces)
