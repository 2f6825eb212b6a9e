"""Networks drawn from a posterior, and the average of what they predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.func import functional_call

from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.measures.prior import Likelihood, head

_ROWS = 4096  # inputs per forward pass


@dataclass(frozen=True)
class PosteriorEnsemble:
    """Samples of the posterior over the parameters of one architecture.

    Predictions are averages of *probabilities* (densities): averaging logits is another learner,
    without the mixture's regret bound.
    """

    module: nn.Module
    """A copy of the user's; each member's parameters are passed to it."""
    members: tuple[Mapping[str, Tensor], ...]
    """Trainable parameters by name, chain by chain."""
    chains: int
    """How many chains they come from."""
    r_hat: float
    """Largest R-hat, over the log-loss and predictions at some inputs; above 1.1 do not trust."""
    effective_draws: float
    """Independent draws that the members are worth, by the worst of the same numbers."""
    accepted: float
    """Share of proposals accepted; 1 with mini-batches, where none is judged."""
    rate: float
    """Step size eta used, in units of the preconditioned posterior."""
    likelihood: Likelihood = "categorical"
    """What a head's numbers mean."""
    noise: float | None = None
    """Standard deviation of a Gaussian likelihood."""

    def predict_proba(self, x: Tensor) -> np.ndarray:
        """Return the mean of the members' probabilities, (n, K).

        Cost: one forward pass per member.

        Raises:
            InputError: the likelihood is Gaussian.

        >>> net = nn.Linear(1, 2)
        >>> members = tuple({"weight": torch.tensor([[0.0], [w]]), "bias": torch.zeros(2)}
        ...                 for w in (0.0, 100.0))
        >>> made = PosteriorEnsemble(net, members, 2, 1.0, 2.0, 1.0, 0.1)
        >>> made.predict_proba(torch.ones(1, 1)).round(3).tolist()  # of logits it would be 0, 1
        [[0.25, 0.75]]
        """
        if self.likelihood != "categorical":
            raise InputError("a Gaussian likelihood", "classes", "predict_mean_std(x)")
        return np.asarray(np.mean([np.exp(h) for h in self._heads(x)], axis=0))

    def predict_mean_std(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the predictive, noise included, each (n, k).

        Raises:
            InputError: the likelihood is categorical.
        """
        if self.likelihood != "gaussian" or self.noise is None:
            raise InputError("a categorical likelihood", "a Gaussian one", "predict_proba(x)")
        means = np.stack(self._heads(x)) * self.noise
        return means.mean(0), np.sqrt(means.var(0) + self.noise**2)

    def log_predictive(self, x: Tensor, y: Tensor) -> np.ndarray:
        """Return ln of the averaged probability (density) of each label, (n,), in nats.

        `heldout.core.statistics.mean(-ensemble.log_predictive(x, y))` is the log-loss with its
        interval over examples.
        """
        each = [_log_probability(h, y, self.noise) for h in self._heads(x)]
        return np.asarray(logsumexp(np.stack(each), axis=0) - np.log(len(each)))

    def _heads(self, x: Tensor) -> list[np.ndarray]:
        found = []
        with borrowed(self.module), torch.no_grad():
            for member in self.members:
                parts = [
                    head(functional_call(self.module, dict(member), (part,)), self.likelihood,
                         self.noise)
                    for part in x.split(_ROWS)
                ]  # fmt: skip
                found.append(torch.cat(parts).cpu().numpy())
        return found


def _log_probability(given: np.ndarray, y: Tensor, noise: float | None) -> np.ndarray:
    if noise is None:
        return np.asarray(given[np.arange(len(y)), y.cpu().numpy()])
    target = y.double().reshape(len(y), -1).cpu().numpy() / noise
    constant = given.shape[1] * (np.log(noise) + 0.5 * np.log(2 * np.pi))
    return np.asarray(-0.5 * ((target - given) ** 2).sum(1) - constant)
