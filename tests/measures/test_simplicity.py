"""Simplicity of a linear model against its closed form, by all three ways, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.measures.gaussian_mass import log_ellipsoid_mass, log_soft_weight
from heldout.measures.langevin import refuse_unmixed, split_r_hat
from heldout.measures.prior import GaussianPrior
from heldout.measures.simplicity import Sampling, log_weight, simplicity

X = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
GAUSSIAN = {"prior": GaussianPrior(1.0), "likelihood": "gaussian", "noise": 0.7}
LAPLACE = GAUSSIAN | {"method": "laplace"}


def _linear(weight: list[float]) -> nn.Module:
    layer = nn.Linear(len(weight), 1, bias=False, device="meta")
    layer.weight = nn.Parameter(torch.tensor([weight]))
    return layer


def _network(size: float) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    for p in net.parameters():
        p.data.mul_(size)
    return net


def _exact() -> tuple[np.ndarray, np.ndarray]:
    lam, basis = np.linalg.eigh((X.T @ X / 30 / 0.49).double().numpy())
    return lam, basis.T @ np.array([0.5, -0.3])


def test_a_linear_model_has_its_closed_form() -> None:
    lam, mu = _exact()
    found = simplicity(_linear([0.5, -0.3]), X, n=30, **LAPLACE)
    assert found.nats.value == pytest.approx(-log_soft_weight(lam, mu, 30), rel=1e-4)
    assert found.nats.low < found.nats.value < found.nats.high
    near = log_weight(_linear([0.5, -0.3]), X, 0.05, **LAPLACE)
    assert near.value == pytest.approx(log_ellipsoid_mass(lam, mu, 0.05), rel=1e-3)


def test_prior_sampling_finds_it_too() -> None:
    lam, mu = _exact()
    few = Sampling(draws=4000)
    found = simplicity(_linear([0.5, -0.3]), X, n=10, sampling=few, **GAUSSIAN)
    assert found.nats.value == pytest.approx(-log_soft_weight(lam, mu, 10), abs=0.3)
    near = log_weight(_linear([0.5, -0.3]), X, 0.2, sampling=few, **GAUSSIAN)
    assert near.low - 0.1 < log_ellipsoid_mass(lam, mu, 0.2) < near.high + 0.1


def test_chains_find_it_too() -> None:
    lam, mu = _exact()
    few = Sampling(rungs=6, steps=200)
    found = simplicity(_linear([0.5, -0.3]), X, n=10, method="sgld", sampling=few, **GAUSSIAN)
    assert found.nats.value == pytest.approx(-log_soft_weight(lam, mu, 10), abs=0.5)
    assert found.r_hat <= 1.1


def test_the_upper_bound_of_a_linear_model_is_its_closed_form() -> None:
    lam, mu = _exact()
    found = simplicity(_linear([0.5, -0.3]), X, n=30, method="variational",
                       sampling=Sampling(fit=100), **GAUSSIAN)  # fmt: skip
    wanted = -log_soft_weight(lam, mu, 30)
    assert found.nats.low - 0.05 < wanted < found.nats.high + 0.05


@pytest.mark.parametrize("size", [1.0, 3.0])
def test_the_upper_bound_of_a_network_is_one_and_not_far_off(size: float) -> None:
    net = _network(size)
    below = simplicity(net, X, n=12, method="prior_sampling")
    fits = (Sampling(fit=k) for k in (0, 150))
    rough, above = (simplicity(net, X, n=12, method="variational", sampling=f) for f in fits)
    # any Gaussian bounds it, a fitted one more tightly
    assert rough.nats.high > above.nats.high > below.nats.low
    assert above.nats.value < below.nats.value + 2.5
    assert simplicity(net, X, n=12).nats == below.nats and below.method == "prior_sampling"


def test_a_trained_and_a_large_network_have_a_number_without_asking() -> None:
    trained = _network(1.0)
    y = (X[:, 0] * X[:, 1] > 0).long()
    optimizer = torch.optim.Adam(trained.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(X), y).backward()
        optimizer.step()
    found = simplicity(trained, X, n=300, sampling=Sampling(fit=150))
    assert found.method == "variational" and 3 < found.nats.low < found.nats.high < 200
    # labels at random are harder to find than one that ignores its inputs
    for p in trained.parameters():
        p.data.mul_(0.02)
    flat = simplicity(trained, X, n=300, sampling=Sampling(fit=150))
    assert flat.nats.high < found.nats.low
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = nn.Sequential(nn.Linear(2, 2000), nn.ReLU(), nn.Linear(2000, 2))
    options = Sampling(fit=60)
    large = simplicity(wide, X, n=30, sampling=options)
    assert large.parameters == 10_002 and large.nats.value < 200
    for method in ("laplace", "sgld", "prior_sampling"):
        with pytest.raises(InputError, match="1 to 5000"):
            simplicity(wide, X, method=method)


def test_unused_parameters_cost_nothing_and_the_model_is_given_back() -> None:
    wide = _linear([0.5, -0.3, 0.9])
    before = wide.weight.detach().clone()
    x = torch.cat([X, torch.zeros(30, 1)], 1)
    one = simplicity(wide.train(), x, **LAPLACE).nats.value
    two = simplicity(_linear([0.5, -0.3]), X, **LAPLACE).nats.value
    assert one == pytest.approx(two, rel=1e-4)
    assert torch.equal(wide.weight, before) and wide.training and wide.weight.grad is None


def test_a_confident_classifier_is_less_simple_than_a_constant_one() -> None:
    def of(size: float) -> float:
        layer = nn.Linear(2, 2, bias=False, device="meta")
        layer.weight = nn.Parameter(torch.tensor([[size, 0.0], [-size, 0.0]]))
        return simplicity(layer, X, method="laplace").nats.value

    assert of(2.0) > of(0.0) > 0


def test_of_a_network_with_hidden_units_two_samples_agree() -> None:
    net = _network(1.0)
    one, two = (simplicity(net, X, n=5, seed=s).nats for s in (0, 1))
    assert one.low < two.high and two.low < one.high and one.value > 0
    assert simplicity(net, X, n=5).nats == one


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"likelihood": "hinge"}, "proper log-loss"),
        ({"likelihood": "mse"}, "proper log-loss"),
        ({"likelihood": "gaussian", "noise": None}, "standard deviation above 0"),
        ({"prior": GaussianPrior(float("inf"))}, "proper prior"),
        ({"prior": GaussianPrior(0.0)}, "proper prior"),
        ({"prior": GaussianPrior({})}, "proper prior"),
        ({"method": "guess"}, "sgld, prior_sampling, variational"),
        ({"method": "sgld", "sampling": Sampling(chains=1)}, "at least 2"),
        ({"n": 0}, "at least one example"),
        ({"x": X[:5]}, "at least 10 inputs"),
        ({"x": X.numpy()}, "a tensor"),
    ],
)
def test_what_has_no_simplicity_is_refused(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        simplicity(_linear([0.5, -0.3]), **({"x": X} | GAUSSIAN | options))


def test_no_weight_and_unmixed_chains_are_refused() -> None:
    far, few = _linear([40.0, 40.0]), Sampling(draws=50)
    with pytest.raises(InputError, match="weight above zero"):
        log_weight(far, X, 0.01, sampling=few, **GAUSSIAN)
    with pytest.raises(InputError, match="sampling can see"):
        simplicity(far, X, sampling=few, method="prior_sampling", **GAUSSIAN)
    with pytest.raises(InputError, match="R-hat"):
        refuse_unmixed(split_r_hat(np.random.default_rng(0).normal(size=(2, 50)) + [[0], [5]]))
    with pytest.raises(InputError, match="at least 2 chains"):
        split_r_hat(np.zeros((1, 50)))
