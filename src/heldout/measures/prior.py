"""A user's model as a function of parameters counted in units of a Gaussian prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from heldout.core.errors import InputError
from heldout.core.outputs import logits_of

Likelihood = Literal["categorical", "gaussian"]
LARGEST = 5000
"""Parameters: more are refused, for the Fisher matrix is held and decomposed."""
_BLOCK = 2_000_000  # numbers of a Jacobian held at a time


@dataclass(frozen=True)
class GaussianPrior:
    """Independent Gaussians around 0, one standard deviation per parameter tensor."""

    scale: float | Mapping[str, float] = 1.0
    """Standard deviation: of all parameters, or by name."""

    def of(self, name: str) -> float:
        """Return the standard deviation of one parameter tensor.

        Raises:
            InputError: it is missing, or the prior is improper.

        >>> GaussianPrior(2.0).of("weight")
        2.0
        """
        found = self.scale.get(name) if isinstance(self.scale, Mapping) else self.scale
        if found is None or not (np.isfinite(found) and found > 0):
            raise InputError(
                f"prior scale {found} of parameter {name!r}",
                "a proper prior: a standard deviation above 0 and finite",
                "fan_in_prior(model); a flat prior over all numbers has no weights",
            )
        return float(found)


def fan_in_prior(model: nn.Module) -> GaussianPrior:
    """Return N(0, 2 / fan-in) for weights and N(0, 1) for vectors (biases, gains).

    >>> fan_in_prior(nn.Linear(8, 3)).scale
    {'weight': 0.5, 'bias': 1.0}
    """
    if not isinstance(model, nn.Module):
        raise _no_module(model)
    scale = {
        name: float(np.sqrt(2 * p.shape[0] / max(1, p.numel()))) if p.ndim > 1 else 1.0
        for name, p in model.named_parameters()
    }
    return GaussianPrior(scale)


def weight_decay_prior(weight_decay: float, n: int) -> GaussianPrior:
    """Return the prior whose mode training with this weight decay finds: N(0, 1 / (n decay)).

    For training on mean log-loss + decay / 2 |theta|^2, as `torch.optim.SGD(weight_decay=...)`
    does. Decoupled decay (AdamW) is no prior of anything.

    Raises:
        InputError: decay not above 0 (the prior would be improper) or no examples.

    >>> weight_decay_prior(0.01, 400).scale
    0.5
    """
    if not (np.isfinite(weight_decay) and weight_decay > 0 and n >= 1):
        raise InputError(
            f"weight decay {weight_decay} and {n} examples",
            "a proper prior: a decay above 0, and at least one example",
            "fan_in_prior(model)",
        )
    return GaussianPrior(float((n * weight_decay) ** -0.5))


@dataclass(frozen=True)
class Flat:
    """A module's trainable parameters as one vector u, theta = scale * (rotation @ u)."""

    module: nn.Module
    """Not changed: parameters are passed to it."""
    shapes: dict[str, torch.Size]
    """Of the trainable parameters; the others stay as they are."""
    scale: Tensor
    """(d,), the prior's standard deviation of each parameter."""
    solution: Tensor
    """z (d,): the module's own parameters in units of the prior, not rotated."""
    rotation: Tensor | None = None
    """(d, d) orthogonal, or None for the identity: the prior looks the same from all sides."""

    def parameters(self, u: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name for u (d,)."""
        z = u if self.rotation is None else self.rotation @ u
        parts = (z * self.scale).split([s.numel() for s in self.shapes.values()])
        return {k: v.view(s) for (k, s), v in zip(self.shapes.items(), parts, strict=True)}

    def __call__(self, u: Tensor, x: Any) -> Any:
        """Return the module's raw output with parameters u."""
        return functional_call(self.module, self.parameters(u), (x,))


def flatten(
    module: nn.Module, prior: GaussianPrior | None = None, largest: int | None = LARGEST
) -> Flat:
    """Return a module as a function of a vector.

    Args:
        module: with at least one trainable parameter.
        prior: `fan_in_prior` when None.
        largest: number of trainable parameters above which it is refused; None for no limit.

    Raises:
        InputError: no module, no trainable parameter, too many, or an improper prior.

    >>> flatten(nn.Linear(2, 1), GaussianPrior(2.0)).scale.tolist()
    [2.0, 2.0, 2.0]
    """
    if not isinstance(module, nn.Module):
        raise _no_module(module)
    prior = prior or fan_in_prior(module)
    taken = {k: p for k, p in module.named_parameters() if p.requires_grad}
    count = sum(p.numel() for p in taken.values())
    if not 0 < count <= (largest or count):
        raise InputError(
            f"a module with {count} trainable parameters",
            f"1 to {largest}" if largest else "at least 1",
            "freeze all but the last layers with requires_grad_(False): what is frozen is taken "
            "as given",
        )
    scale = torch.cat([torch.full_like(p.detach().flatten(), prior.of(k))
                       for k, p in taken.items()])  # fmt: skip
    theta = torch.cat([p.detach().flatten() for p in taken.values()])
    if not bool(theta.isfinite().all()):
        raise InputError("parameters that are not finite", "a trained model", "train it again")
    return Flat(module, {k: p.shape for k, p in taken.items()}, scale, theta / scale)


def check_likelihood(likelihood: str, noise: float | None) -> None:
    """Raise unless this is a proper log-loss.

    Raises:
        InputError: another loss, or a Gaussian without its noise.

    >>> check_likelihood("gaussian", 0.5)
    """
    if likelihood not in ("categorical", "gaussian"):
        raise InputError(
            f"loss {likelihood!r}",
            "a proper log-loss: 'categorical' (cross-entropy) or 'gaussian' with its noise",
            "a squared error is the log-loss of likelihood='gaussian', noise=its standard "
            "deviation; hinge losses and accuracies are no log-loss of anything",
        )
    if likelihood == "gaussian" and not (noise and np.isfinite(noise) and noise > 0):
        raise InputError(f"noise {noise}", "a standard deviation above 0", "noise=residuals.std()")


def head(output: Any, likelihood: str, noise: float | None) -> Tensor:
    """Return log-probabilities (n, K), or means over the noise (n, k), in float64.

    >>> head(torch.zeros(1, 2), "categorical", None).exp().tolist()
    [[0.5, 0.5]]
    """
    if likelihood == "categorical":
        logits = logits_of(output)
        if logits.ndim != 2:
            raise InputError(f"logits of shape {tuple(logits.shape)}", "(n, K)", "flatten them")
        return logits.double().log_softmax(1)
    if not isinstance(output, Tensor):
        raise InputError(f"output of type {type(output).__name__}", "a tensor", "return the means")
    means = output.double().flatten(1) if output.ndim > 1 else output.double()[:, None]
    return means / (noise or 1.0)


def divergence_between(truth: Tensor, other: Tensor, likelihood: str) -> Tensor:
    """Return KL(truth || other) per example, averaged, in nats, for two `head`s.

    >>> float(divergence_between(torch.zeros(1, 1), torch.ones(1, 1), "gaussian"))
    0.5
    """
    if likelihood == "categorical":
        return (truth.exp() * (truth - other)).sum(1).mean()
    return ((truth - other) ** 2).sum(1).mean() / 2


def over(function: Callable[[Tensor], Any], us: Tensor) -> Any:
    """Map a function over the rows of us: in one pass, or one by one where vmap cannot.

    >>> over(lambda u: u.sum(), torch.ones(3, 2)).tolist()
    [2.0, 2.0, 2.0]
    """
    try:
        return vmap(function)(us)
    except (RuntimeError, NotImplementedError):
        found = [function(u) for u in us]
    if isinstance(found[0], tuple):
        return tuple(torch.stack(part) for part in zip(*found, strict=True))
    return torch.stack(found)


def fisher_factor(flat: Flat, x: Tensor, likelihood: str, noise: float | None) -> Tensor:
    """Return A (n, K, d) with Fisher information (1/n) sum_i A_i' A_i, in units of the prior.

    The Hessian of the divergence at the solution: J' F J with F = diag(p) - p p' for classes and
    the identity for means over the noise. Cost: K backward passes per example.
    """
    z = flat.solution
    outputs = 8 * max(1, z.numel())
    parts = []
    for chunk in x.split(max(1, _BLOCK // outputs)):

        def one(u: Tensor, rows: Tensor = chunk) -> Tensor:
            out = flat(u, rows)
            return logits_of(out) if likelihood == "categorical" else head(out, likelihood, noise)

        jacobian = jacrev(one)(z).double()
        if likelihood == "categorical":
            # B B' = diag(p) - p p' for B = diag(r) (I - r r'), r = sqrt(p); A = B' J
            root = one(z).detach().double().softmax(1).sqrt()[:, :, None]
            scaled = root * jacobian
            jacobian = scaled - root * (root * scaled).sum(1, keepdim=True)
        parts.append(jacobian.detach())
    return torch.cat(parts)


def _no_module(model: object) -> InputError:
    return InputError(
        f"a model of type {type(model).__name__}",
        "a torch nn.Module, whose parameters have a prior",
        "pass the module itself",
    )
