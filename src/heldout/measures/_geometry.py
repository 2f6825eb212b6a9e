"""The posterior as a function of vectors, and the coordinates in which it is about round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from heldout.core.errors import InputError
from heldout.measures.prior import (
    Flat,
    GaussianPrior,
    Likelihood,
    check_likelihood,
    fan_in_prior,
    fisher_factor,
    flatten,
    head,
    over,
)

Preconditioner = Literal["auto", "full", "diagonal", "none"]
"""Which curvature is used; see `Langevin`."""

_INPUTS = 256  # inputs that curvature is estimated on
_ROWS = 4096  # inputs per pass
_FULL = 2000  # parameters whose Fisher information is decomposed
_DRAWS = 8  # batches of sampled labels per state, for the diagonal
_BATCH = 32


@dataclass(frozen=True)
class Target:
    """Log-loss of data under a network as a function of parameters in units of the prior."""

    flat: Flat
    """The network."""
    x: Tensor
    """(n, ...)."""
    y: Tensor
    """Labels (n,), or targets over the noise (n, k)."""
    n: float
    """Examples over the temperature."""
    likelihood: Likelihood
    """Of the labels."""
    noise: float | None
    """Of a Gaussian likelihood."""

    def mean_loss(
        self, zs: Tensor, rows: Tensor | None, gradient: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return the mean log-loss for each z, (m,), and its gradient (m, d).

        Args:
            zs: (m, d).
            rows: which examples; all when None.
            gradient: False returns zs in the gradient's place.
        """
        total, slope, count = torch.zeros(()), torch.zeros(()), 0
        x, y = (self.x, self.y) if rows is None else (self.x[rows], self.y[rows])
        for a, b in zip(x.split(_ROWS), y.split(_ROWS), strict=True):

            def one(z: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return self._sum(z, a, b)

            if gradient:
                g, value = over(grad_and_value(one), zs)
                slope = slope + g.detach()
            else:
                value = over(one, zs)
            total, count = total + value.detach(), count + len(a)
        return total / count, slope / count if gradient else zs

    def of_label(self, z: Tensor) -> Tensor:
        """Return the probability of each label, or the mean where targets are numbers, (n,)."""
        out = head(self.flat(z, self.x), self.likelihood, self.noise)
        if self.likelihood == "gaussian":
            return out[:, 0] * (self.noise or 1.0)
        return out.gather(1, self.y[:, None])[:, 0].exp()

    def _sum(self, z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        out = head(self.flat(z, x), self.likelihood, self.noise)
        if self.likelihood == "gaussian":
            return ((out - y) ** 2).sum() / 2
        return -out.gather(1, y[:, None]).sum()


def target_of(
    model: nn.Module, x: Tensor, y: Tensor, prior: GaussianPrior | None, likelihood: Likelihood,
    noise: float | None, temperature: float,
) -> Target:  # fmt: skip
    """Return the posterior of labels under a network, at a temperature.

    exp(-(n L + |u|^2 / 2) / T) is the posterior of n / T examples under a prior of sqrt(T) times
    the standard deviation.

    Raises:
        InputError: no proper log-loss, examples or labels that do not fit, or a refused model.
    """
    check_likelihood(likelihood, noise)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or len(x) < 10 or len(y) != len(x):
        raise InputError(
            f"x of type {type(x).__name__} and y of type {type(y).__name__}"
            + (f", {len(x)} and {len(y)} long" if hasattr(x, "__len__") else ""),
            "tensors of at least 10 inputs and as many labels",
            "torch.as_tensor(x), torch.as_tensor(y)",
        )
    flat = flatten(model, prior or (fan_in_prior(model) if isinstance(model, nn.Module) else None),
                   largest=None)  # fmt: skip
    with torch.no_grad():
        out = head(flat(flat.solution, x[:2]), likelihood, noise)
    wider = replace(flat, scale=flat.scale * temperature**0.5,
                    solution=flat.solution / temperature**0.5)  # fmt: skip
    labels = _labels(y, out.shape[1], noise)
    return Target(wider, x, labels, len(x) / temperature, likelihood, noise)


def _labels(y: Tensor, columns: int, noise: float | None) -> Tensor:
    if noise is not None:
        targets = y.double().reshape(len(y), -1) / noise
        if targets.shape[1] != columns or not bool(targets.isfinite().all()):
            raise InputError(
                f"targets of shape {tuple(y.shape)}", f"(n, {columns}), finite", "y[:, None]"
            )
        return targets
    whole = not (y.is_floating_point() or y.is_complex())
    if not whole or y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= columns:
        raise InputError(
            f"labels of shape {tuple(y.shape)}, {y.dtype}, up to {y.max()}",
            f"(n,) integers from 0 to {columns - 1}, the model's classes",
            "y.long(), or likelihood='gaussian' with its noise",
        )
    return y.long()


@dataclass(frozen=True)
class Geometry:
    """Orthogonal coordinates and the curvature of the mean log-loss along each."""

    curvature: Tensor
    """(d,), at least 0."""
    basis: Tensor | None = None
    """(d, d), a direction per column; None for the parameters themselves."""

    def turn(self, zs: Tensor) -> Tensor:
        """Return vectors (m, d) in these coordinates."""
        return zs if self.basis is None else zs @ self.basis

    def back(self, us: Tensor) -> Tensor:
        """Return vectors (m, d) in those of the parameters."""
        return us if self.basis is None else us @ self.basis.T


def geometry_at(
    target: Target, states: Tensor, kind: Preconditioner, generator: torch.Generator
) -> Geometry:
    """Return coordinates that whiten the Fisher information, averaged over states (m, d).

    Raises:
        InputError: "full" with more parameters than can be decomposed.
    """
    d = states.shape[1]
    if kind != "full":
        diagonal = _diagonal(target, states, generator)
        return Geometry(diagonal if kind == "diagonal" else diagonal.max().expand(d))
    if d > _FULL:
        raise InputError(f"{d} parameters", f"at most {_FULL} to whiten", "'diagonal'")
    chosen = torch.linspace(0, len(target.x) - 1, min(_INPUTS, len(target.x))).long()
    fisher = torch.zeros(d, d, dtype=torch.float64, device=states.device)
    for z in states:
        flat = replace(target.flat, solution=z)
        rows = fisher_factor(flat, target.x[chosen], target.likelihood, target.noise)
        rows = rows.flatten(0, 1)
        fisher += rows.T @ rows / len(chosen) / len(states)
    values, basis = torch.linalg.eigh(fisher)
    return Geometry(values.clamp(min=0).to(states), basis.to(states))


def _diagonal(target: Target, states: Tensor, generator: torch.Generator) -> Tensor:
    # with labels drawn from the network itself gradients have mean 0, so that the square of a
    # batch's mean gradient, times its size, is the diagonal without per-example gradients
    total, size = torch.zeros_like(states[0]), min(_BATCH, len(target.x))
    for z in states:
        for _ in range(_DRAWS):
            rows = torch.randint(len(target.x), (size,), generator=generator)
            with torch.no_grad():
                out = head(target.flat(z, target.x[rows]), target.likelihood, target.noise)
            drawn = _draw(out.cpu(), target.likelihood, generator).to(target.y)
            mimic = replace(target, x=target.x[rows], y=drawn)
            total += size * mimic.mean_loss(z[None], None)[1][0] ** 2
    mean = total / (len(states) * _DRAWS)
    # single parameters seen by chance only are not taken for flat
    return mean + 0.1 * mean.mean()


def _draw(out: Tensor, likelihood: Likelihood, generator: torch.Generator) -> Tensor:
    if likelihood == "gaussian":
        return out + torch.randn(out.shape, generator=generator, dtype=out.dtype)
    return torch.multinomial(out.exp(), 1, generator=generator)[:, 0]
