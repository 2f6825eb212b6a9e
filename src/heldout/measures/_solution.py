"""A user's solution and how far other parameters predict from it: what simplicity is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from heldout.core.errors import InputError
from heldout.measures.langevin import Divergence
from heldout.measures.prior import (
    Flat,
    GaussianPrior,
    Likelihood,
    check_likelihood,
    divergence_between,
    fisher_factor,
    flatten,
    head,
    over,
)

GROUPS = 10
"""Of inputs, left out one at a time for Laplace's interval."""


@dataclass(frozen=True)
class World:
    """A solution, and the divergence of other parameters from it."""

    flat: Flat
    """In the eigenbasis of the Fisher information."""
    divergence: Divergence
    curvature: Tensor
    """(d,), of D at the solution, largest first."""
    offset: np.ndarray
    """(d,), the solution in that basis."""
    factor: Tensor
    """(n, K, d), see `fisher_factor`; not rotated."""


def check_inputs(x: Tensor, likelihood: str, noise: float | None) -> None:
    """Raise unless there is a proper log-loss and inputs enough.

    Raises:
        InputError: one of them is missing.
    """
    check_likelihood(likelihood, noise)
    if not isinstance(x, Tensor) or len(x) < GROUPS:
        given = f"{len(x)} inputs" if isinstance(x, Tensor) else f"x of type {type(x).__name__}"
        raise InputError(given, f"a tensor of at least {GROUPS} inputs", "torch.as_tensor(x)")


def world_around(
    model: nn.Module, x: Tensor, prior: GaussianPrior | None, likelihood: Likelihood,
    noise: float | None, method: str,
) -> World:  # fmt: skip
    """Return the world around a module's parameters over these inputs.

    Raises:
        InputError: an unknown method, no proper log-loss, too few inputs, or a refused model.
    """
    if method not in ("auto", "laplace", "sgld", "prior_sampling"):
        raise InputError(f"method {method!r}", "laplace, sgld or prior_sampling", "'laplace'")
    check_inputs(x, likelihood, noise)
    flat = flatten(model, prior)
    with torch.no_grad():
        truth = head(flat(flat.solution, x), likelihood, noise)
    factor = fisher_factor(flat, x, likelihood, noise)
    rows = factor.flatten(0, 1) / len(x) ** 0.5
    values, basis = torch.linalg.eigh(rows.T @ rows)
    values, basis = values.flip(0).clamp(min=0), basis.flip(1)
    turned = Flat(flat.module, flat.shapes, flat.scale, flat.solution, basis.to(flat.scale))
    offset = (basis.T @ flat.solution.double()).cpu().numpy()

    def one(u: Tensor) -> Tensor:
        return divergence_between(truth, head(turned(u, x), likelihood, noise), likelihood)

    def divergence(us: Tensor) -> tuple[Tensor, Tensor]:
        gradient, value = over(grad_and_value(one), us)
        return value.detach(), gradient.detach()

    return World(turned, divergence, values.to(flat.scale), offset, factor)
