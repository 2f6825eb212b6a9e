"""Langevin ensembles against the conjugate Gaussian and a quadrature, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from heldout.core.errors import InputError
from heldout.measures.langevin_ensemble import Langevin, UnmixedWarning, langevin_ensemble
from heldout.measures.mixing import effective_draws, split_r_hat
from heldout.measures.posterior_ensemble import PosteriorEnsemble
from heldout.measures.prior import GaussianPrior, weight_decay_prior

RNG = torch.Generator().manual_seed(0)
X = torch.randn(40, 2, generator=RNG)
TARGETS = X @ torch.tensor([0.8, -0.5]) + 0.6 * torch.randn(40, generator=RNG)
LABELS = (torch.rand(40, generator=RNG) < torch.sigmoid(X @ torch.tensor([2.0, -1.0]))).long()
GAUSSIAN = {"prior": GaussianPrior(1.0), "likelihood": "gaussian", "noise": 0.6}
FAST = Langevin(burn_in=120, samples=60, thinning=4)
NEW = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -2.0]])


class _Logit(nn.Module):
    """Two classes whose log-odds are w . x: a posterior of two numbers, for the quadrature."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


def _linear() -> nn.Module:
    layer = nn.Linear(2, 1, bias=False, device="meta")
    layer.weight = nn.Parameter(torch.tensor([[0.3, 0.3]]))
    return layer


def _weights(made: PosteriorEnsemble) -> np.ndarray:
    return torch.stack([next(iter(m.values())).flatten() for m in made.members]).double().numpy()


def _posterior(temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    design, y = X.double().numpy(), TARGETS.double().numpy()
    covariance = np.linalg.inv(np.eye(2) + design.T @ design / 0.36)
    return covariance @ design.T @ y / 0.36, covariance * temperature


def _quadrature(new: torch.Tensor, prior: float = 1.0) -> np.ndarray:
    axis = np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    z = grid @ X.double().numpy().T
    log_joint = -np.logaddexp(0, np.where(LABELS.numpy() == 1, -z, z)).sum(1)
    log_joint -= (grid**2).sum(1) / 2 / prior**2
    weight = np.exp(log_joint - logsumexp(log_joint))
    return weight @ (1 / (1 + np.exp(-grid @ new.double().numpy().T)))


@pytest.mark.parametrize(
    ("kind", "batch"), [("full", None), ("diagonal", None), ("none", None), ("full", 20)]
)
def test_a_linear_model_has_its_conjugate_posterior(kind: str, batch: int | None) -> None:
    options = replace(FAST, preconditioner=kind)
    if batch:
        options = Langevin(preconditioner=kind, batch_size=batch, chains=8, burn_in=150, samples=60)
    made = langevin_ensemble(_linear(), X, TARGETS, options=options, **GAUSSIAN)
    mean, covariance = _posterior()
    drawn = _weights(made)
    worth = made.effective_draws
    assert worth > 50 and made.r_hat <= 1.1
    assert drawn.mean(0) == pytest.approx(mean, abs=4 * float(np.sqrt(covariance.max() / worth)))
    # SGLD on mini-batches is wider by design, Metropolis is not
    slack = 4 * np.sqrt(2 / worth) + (0.1 if batch else 0.0)
    assert np.diag(np.cov(drawn.T)) == pytest.approx(np.diag(covariance), rel=slack)
    assert (made.accepted == 1) if batch else (0.3 < made.accepted < 0.95)


def test_predictions_average_densities() -> None:
    made = langevin_ensemble(_linear(), X, TARGETS, options=FAST, **GAUSSIAN)
    with pytest.raises(InputError, match="predict_mean_std"):
        made.predict_proba(NEW)
    mean, covariance = _posterior()
    got, spread = made.predict_mean_std(NEW)
    design = NEW.double().numpy()
    variance = 0.36 + np.einsum("nd,de,ne->n", design, covariance, design)
    assert got[:, 0] == pytest.approx(design @ mean, abs=0.12)
    assert spread[:, 0] == pytest.approx(np.sqrt(variance), rel=0.1)
    y = torch.tensor([0.0, 0.5, 3.0])
    wanted = -((y.numpy() - design @ mean) ** 2) / 2 / variance - np.log(2 * np.pi * variance) / 2
    assert made.log_predictive(NEW, y) == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("batch", [None, 20])
def test_logistic_regression_has_the_predictive_of_quadrature(batch: int | None) -> None:
    options = Langevin(batch_size=batch, burn_in=150, samples=80) if batch else FAST
    made = langevin_ensemble(_Logit(), X, LABELS, prior=GaussianPrior(1.0), options=options)
    wanted = _quadrature(NEW)
    found = made.predict_proba(NEW)
    assert found[:, 1] == pytest.approx(wanted, abs=0.03)
    with pytest.raises(InputError, match="predict_proba"):
        made.predict_mean_std(NEW)
    log_p = made.log_predictive(NEW, torch.tensor([1, 0, 1]))
    assert np.exp(log_p) == pytest.approx(found[[0, 1, 2], [1, 0, 1]])


def test_temperature_scales_the_covariance_and_noise_scaled_to_the_batch_fails() -> None:
    cold = replace(FAST, temperature=0.1)
    drawn = _weights(langevin_ensemble(_linear(), X, TARGETS, options=cold, **GAUSSIAN))
    mean, covariance = _posterior(0.1)
    assert drawn.mean(0) == pytest.approx(mean, abs=0.05)
    assert np.diag(np.cov(drawn.T)) == pytest.approx(np.diag(covariance), rel=0.5)
    # noise of a tenth of the data, the mistake of not multiplying by n, is ten times too wide
    hot = replace(FAST, temperature=10.0)
    wide = _weights(langevin_ensemble(_linear(), X, TARGETS, options=hot, **GAUSSIAN))
    assert np.diag(np.cov(wide.T)).min() > 4 * np.diag(_posterior()[1]).max()


def test_weight_decay_is_the_prior_whose_mode_training_finds() -> None:
    prior = weight_decay_prior(0.1, 40)
    made = langevin_ensemble(
        _Logit(), X, LABELS, prior=prior, options=replace(FAST, temperature=1e-4)
    )
    net = _Logit()
    optimizer = torch.optim.SGD(net.parameters(), 0.5, weight_decay=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(X), LABELS.float()).backward()
        optimizer.step()
    assert _weights(made).mean(0) == pytest.approx(net.w.detach().numpy(), abs=0.02)


def test_the_solution_as_start_and_the_model_as_it_was() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Tanh(), nn.Linear(3, 2)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net[0].bias.requires_grad_(False)
    options = Langevin(start="solution", temperature=1e-6, burn_in=20, samples=10, refuse=False)
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        with pytest.warns(UnmixedWarning, match="R-hat"):
            made = langevin_ensemble(net, X, LABELS, options=options)
        assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and net.training
    assert "0.bias" not in made.members[0] and len(made.members) == 40
    # members are copies: training the user's model on does not move them
    first = made.predict_proba(X)
    net[0].bias.data.add_(5)
    assert np.array_equal(first, made.predict_proba(X))


@pytest.mark.filterwarnings("ignore:R-hat")
def test_same_seed_same_ensemble() -> None:
    options = Langevin(samples=20, burn_in=60, thinning=5, refuse=False, batch_size=20)
    one, two, other = (
        langevin_ensemble(_Logit(), X, LABELS, options=options, seed=s).predict_proba(X)
        for s in (3, 3, 4)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"options": Langevin(chains=1)}, "at least 2"),
        ({"options": Langevin(samples=3)}, "4 samples or more"),
        ({"options": Langevin(temperature=0.0)}, "above 0"),
        ({"options": Langevin(batch_size=0)}, "Langevin"),
        ({"options": Langevin(preconditioner="adam")}, "diagonal"),
        ({"options": Langevin(start="zero")}, "solution"),
        ({"options": Langevin(rate=1e6, batch_size=5, burn_in=100)}, "diverge"),
        ({"prior": GaussianPrior(float("inf"))}, "proper prior"),
        ({"likelihood": "hinge"}, "proper log-loss"),
        ({"likelihood": "gaussian"}, "standard deviation"),
        ({"y": LABELS.float()}, "integers from 0 to 1"),
        ({"y": LABELS + 1}, "integers from 0 to 1"),
        ({"y": LABELS[:5]}, "as many labels"),
        ({"x": X[:5], "y": LABELS[:5]}, "at least 10"),
        ({"model": lambda x: x}, "nn.Module"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        langevin_ensemble(**({"model": _Logit(), "x": X, "y": LABELS} | options))


def test_chains_that_have_not_mixed_are_refused() -> None:
    brief = Langevin(burn_in=4, samples=4, thinning=1, rate=1e-6)
    with pytest.raises(InputError, match="longer thinning"):
        langevin_ensemble(_Logit(), X, LABELS, options=brief)
    for decay in (0.0, float("nan"), -1.0):
        with pytest.raises(InputError, match="proper prior"):
            weight_decay_prior(decay, 10)


def test_effective_draws_are_those_of_an_autoregression() -> None:
    rng, rho = np.random.default_rng(0), 0.8
    x = np.zeros((4, 4000))
    for t in range(1, 4000):
        x[:, t] = rho * x[:, t - 1] + rng.normal(size=4)
    assert effective_draws(x) == pytest.approx(16_000 * (1 - rho) / (1 + rho), rel=0.15)
    apart = x + np.arange(4)[:, None] * 20
    assert effective_draws(apart) < 20 and split_r_hat(apart) > 2
    assert effective_draws(np.ones((2, 10))) == 20
    with pytest.raises(InputError, match="at least 2 chains"):
        effective_draws(np.zeros((1, 50)))
