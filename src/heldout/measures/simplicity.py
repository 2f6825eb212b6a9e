"""How simple is the solution my model found: the prior mass of models that predict like it.

Feder, Urbanke and Fogel, "The Universality Lens", arXiv:2506.07661. With D(theta) the mean over
inputs of KL(p_model(. | x) || p_theta(. | x)) and a proper prior w over the parameters,

    W_eps = w{ theta : D(theta) <= eps }         weight of the solution (hard)
    C_n   = -ln E_w[ exp(-n D) ]                 simplicity in nats (soft; smaller is simpler)

C_n <= min_eps { n eps + ln 1 / W_eps }, and by convexity it bounds the regret that a Bayesian
mixture over the same architecture pays in n examples, were the model's predictions the truth: the
nats it takes to find the solution. For a regular model of d parameters it grows as (d / 2) ln n;
flat directions cost nothing, so it counts the parameters that matter. Methods:

- "auto": prior sampling where it can see the solution, otherwise the upper bound.
- "variational": n E_q[D] + KL(q || prior) for a Gaussian q fitted around the solution, at
  least C_n whatever the fit; exact for linear models with Gaussian noise. Its interval is
  Student's t over 200 draws after the fit, and knows nothing of the slack: 24.6 nats where
  prior sampling says 19.1, for a trained ReLU network of 57 parameters and n = 32. For modules
  of any size: two fits of `fit` steps, each 4 passes over at most 512 inputs, then 400 over
  all.
- "laplace": D by its second-order expansion; exact for linear models with Gaussian noise, and
  no bound of anything else: for that network it says 4.6, since a confident classifier is
  nearly flat at its solution and steep further off. The interval is a jackknife over ten
  groups of inputs. K backward passes per input, and ten eigenvalue decompositions.
- "sgld": Langevin chains annealed from the prior (thermodynamic integration); its interval is
  Student's t over chains, plus what leaving out every other rung changes. About
  chains * rungs * steps * 4/3 passes over the inputs. Hidden units often need more steps than
  the default to pass R-hat.
- "prior_sampling": a mean over draws of the prior, with a jackknife interval; for solutions
  that the prior comes near, otherwise refused. `draws` forward and backward passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import torch_stream
from heldout.measures._mass_estimates import (
    FEWEST,
    counted,
    independent,
    jackknife,
    laplace,
    over_chains,
    prior_divergences,
    soft_mean,
    tilted,
)
from heldout.measures._solution import World, check_inputs, world_around
from heldout.measures._variational import upper_bound
from heldout.measures.gaussian_mass import log_ellipsoid_mass
from heldout.measures.langevin import Ladder, climb
from heldout.measures.prior import GaussianPrior, Likelihood, flatten

Method = Literal["auto", "laplace", "sgld", "prior_sampling", "variational"]
"""How the mass is found; see `simplicity`."""
_TRIED = 500  # parameters up to which "auto" tries draws of the prior


@dataclass(frozen=True)
class Sampling:
    """How much to sample."""

    chains: int = 4
    """Langevin chains, at least 2."""
    rungs: int = 24
    """Sample sizes between almost none and n."""
    steps: int = 150
    """Per rung, after a warm-up of a third as many."""
    draws: int = 10_000
    """Models drawn by `prior_sampling`."""
    fit: int = 400
    """Steps of the Gaussian that "variational" fits."""


@dataclass(frozen=True)
class Simplicity:
    """How simple a solution is, under its architecture and prior."""

    nats: Interval
    """C_n: 0 when every model of the prior predicts the same; larger is more complex."""
    per_example: float
    """C_n / n: bound of the running average of the excess log-loss, in nats."""
    effective_parameters: float
    """2 n E_n[D], parameters that n examples determine; d in a regular model."""
    parameters: int
    """d, trainable parameters."""
    n: int
    """Examples counted."""
    r_hat: float
    """Largest R-hat of the chains; NaN without chains."""
    method: str
    """The one that answered. "variational" is an upper bound: C_n may be smaller."""


def simplicity(
    model: nn.Module,
    x: Tensor,
    *,
    n: int | None = None,
    method: Method = "auto",
    prior: GaussianPrior | None = None,
    likelihood: Likelihood = "categorical",
    noise: float | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Simplicity:
    """Return how simple the solution is that a model found, in nats; smaller is simpler.

    C_n = -ln E_prior[exp(-n D)]; see the module's docstring for it and for the methods.

    The prior has a say: compare models under one architecture and prior, or one prior rule.

    Args:
        model: its frozen parameters are taken as given. Left as it was. More than 5000 trainable
            parameters for "auto" and "variational" only.
        x: inputs (m, ...) over which predictions are compared, at least 10; no labels.
        n: examples to count, the size of the training set; m by default.
        method: see the top of the module.
        prior: over the trainable parameters; N(0, 2 / fan-in) and N(0, 1) for vectors by default.
        likelihood: "categorical" for logits, "gaussian" for means.
        noise: standard deviation of a Gaussian likelihood.
        sampling: how much.
        seed: of everything drawn.

    Raises:
        InputError: a loss that is no proper log-loss, an improper prior, fewer than 10 inputs; by
            method, too many parameters, fewer than 2 chains, R-hat above 1.1, or no draw of the
            prior near the solution.

    >>> import torch
    >>> net = nn.Linear(2, 1, bias=False)
    >>> _ = net.weight.data.zero_()
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(10, 1)
    >>> found = simplicity(net, x, method="laplace", prior=GaussianPrior(1.0),
    ...                    likelihood="gaussian", noise=1.0)
    >>> round(found.nats.value, 3)  # two directions, 10 examples each: 2 * 1/2 ln(1 + 10)
    2.398
    """
    options = sampling or Sampling()
    if method not in get_args(Method):
        raise InputError(f"method {method!r}", ", ".join(get_args(Method)), "'auto'")
    with borrowed(model):
        flat = flatten(model, prior, largest=None)
        check_inputs(x, likelihood, noise)
        count = len(x) if n is None else n
        if count < 1:
            raise InputError(f"n = {n}", "at least one example", "leave n out")
        found, r_hat, d = None, float("nan"), len(flat.solution)
        if method not in ("auto", "variational") or (method == "auto" and d <= _TRIED):
            world = world_around(model, x, prior, likelihood, noise, method)
            found, r_hat = _of_world(world, count, method, options, seed)
        if method == "auto":
            method = "prior_sampling" if found else "variational"
        if found is None:
            found = upper_bound(flat, x, count, likelihood, noise, options.fit, seed)
    nats, effective = found
    return Simplicity(nats, nats.value / count, effective, d, count, r_hat, method)


def _of_world(
    world: World, n: int, method: str, options: Sampling, seed: int
) -> tuple[tuple[Interval, float] | None, float]:
    if method == "laplace":
        return laplace(world, n), float("nan")
    if method == "sgld":
        ladder = _climb(world, n, options, seed)
        nats = over_chains(-ladder.log_mass(), -ladder.log_mass(2))
        return (nats, 2 * n * float(ladder.means[:, -1].mean())), ladder.r_hat
    drawn = prior_divergences(world, options.draws, seed)
    if method == "auto" and independent(drawn, n) < FEWEST:
        return None, float("nan")
    return soft_mean(drawn, n), float("nan")


def log_weight(
    model: nn.Module,
    x: Tensor,
    eps: float,
    *,
    method: Literal["laplace", "sgld", "prior_sampling"] = "prior_sampling",
    prior: GaussianPrior | None = None,
    likelihood: Likelihood = "categorical",
    noise: float | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Interval:
    """Return ln W_eps, the prior mass of models within eps of this one, in nats (at most 0).

    "laplace" takes the mass of the ellipsoid in closed form; "prior_sampling" counts, with
    Clopper and Pearson's interval; "sgld" climbs to the size b where E_b[D] is below eps and tilts
    back, W_eps = E_prior[exp(-b D)] E_b[exp(b D) 1{D <= eps}]. Arguments, cost and errors as for
    `simplicity`.

    Args:
        eps: mean KL per example from the model's predictions, above 0, in nats.

    >>> import torch
    >>> net = nn.Linear(1, 1, bias=False)
    >>> _ = net.weight.data.zero_()
    >>> near = log_weight(net, torch.ones(10, 1), 0.02, prior=GaussianPrior(1.0),
    ...                   likelihood="gaussian", noise=1.0, method="prior_sampling")
    >>> round(float(np.log(0.1585)), 2) in [round(near.low + i / 100, 2) for i in range(30)]
    True
    """
    options = sampling or Sampling()
    if not (np.isfinite(eps) and eps > 0):
        raise InputError(f"eps = {eps}", "a divergence above 0, in nats", "pass eps=0.01")
    with borrowed(model):
        world = world_around(model, x, prior, likelihood, noise, method)
        if method == "laplace":
            return jackknife(world, lambda lam, mu: log_ellipsoid_mass(lam, mu, eps))
        if method == "prior_sampling":
            return counted(prior_divergences(world, options.draws, seed), eps)
        # under exp(-b D) a regular model has E[D] = d / 2b: b where that is half of eps
        ladder = _climb(world, len(world.offset) / eps, options, seed)
        return tilted(ladder, eps)


def _climb(world: World, n: float, options: Sampling, seed: int) -> Ladder:
    return climb(
        world.divergence, len(world.offset), n, curvature=world.curvature,
        generator=torch_stream(seed, "simplicity", "sgld"), chains=options.chains,
        rungs=options.rungs, steps=options.steps,
    )  # fmt: skip
