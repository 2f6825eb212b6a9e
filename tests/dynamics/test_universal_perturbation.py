"""One perturbation for all inputs: its optimum where it is known, its limits, what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.dynamics.universal_perturbation import perturbation_effect, universal_perturbation


def _linear(w: list[float]) -> nn.Linear:
    net = nn.Linear(len(w), 2, device="meta")
    net.weight = nn.Parameter(torch.tensor([[-v for v in w], w]))
    net.bias = nn.Parameter(torch.zeros(2))
    return net


def _rows(n: int = 300, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.uniform(0.1, 1, (n, d)).astype(np.float32)
    y = rng.integers(2, size=n)
    return x * (2 * y - 1)[:, None], y


def test_for_a_linear_model_it_is_minus_the_weights() -> None:
    x, y = _rows()
    w = [3.0, 0.0, -1.0, 2.0]
    delta = universal_perturbation(_linear(w), x, y, 1.5)
    wanted = -1.5 * np.array(w) / np.linalg.norm(w)
    assert np.allclose(delta, wanted, atol=1e-3)


def test_without_signs_only_one_class_can_be_lost() -> None:
    x, y = _rows()
    net = _linear([5.0, 0.0, 0.0, 0.0])
    for signed, lost in ((True, 1.0), (False, float(max(y.mean(), 1 - y.mean())))):
        delta = universal_perturbation(net, x, y, 1.2, signed=signed)
        found = perturbation_effect(net, x, y, delta, signed=signed)
        assert found.untouched.value == 1.0
        assert 1 - found.perturbed.value == pytest.approx(lost, abs=1e-9 if signed else 0.15)


def test_random_directions_are_as_long_and_do_less() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=500)
    x = rng.normal(size=(500, 40)).astype(np.float32)
    x[:, 0] = (2 * y - 1) * rng.uniform(0.3, 1, 500)
    net = _linear([4.0] + [0.0] * 39)
    delta = universal_perturbation(net, x, y, 1.0)
    found = perturbation_effect(net, x, y, delta, draws=20)
    # 1 / sqrt(40) = 0.16 is a random direction's share, below the margin of 0.3 mostly
    assert found.perturbed.value < 0.02 < 0.95 < found.random.value
    assert found.untouched.n == found.random.n == 500


def test_batches_do_not_matter_to_the_measure_and_images_will_do() -> None:
    x, y = _rows(60, 12)
    image = x.reshape(60, 1, 3, 4)
    net = nn.Sequential(nn.Flatten(), _linear([1.0] * 12))
    delta = universal_perturbation(net, image, y, 1.0)
    assert delta.shape == (1, 3, 4)
    found = [perturbation_effect(net, image, y, delta, batch=b) for b in (7, 1000)]
    assert found[0] == found[1]


def test_the_model_is_handed_back_as_it_was() -> None:
    x, y = _rows()
    net = nn.Sequential(_linear([1.0] * 4), nn.Dropout(0.5)).train()
    net[0].weight.grad = torch.ones(2, 4)
    net[0].bias.requires_grad_(False)
    state = torch.get_rng_state()
    delta = universal_perturbation(net, x, y, 1.0)
    assert np.array_equal(delta, universal_perturbation(net, x, y, 1.0))
    assert net.training and not net[0].bias.requires_grad
    assert torch.equal(net[0].weight.grad, torch.ones(2, 4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "change",
    [
        {"norm": 0.0}, {"norm": np.nan}, {"step": -1.0}, {"epochs": 0}, {"repeats": 0},
        {"y": np.arange(300) % 3}, {"y": np.ones(300)}, {"y": np.ones(3, dtype=int)},
    ],
)  # fmt: skip
def test_refusals(change: dict[str, object]) -> None:
    x, y = _rows()
    with pytest.raises(InputError):
        universal_perturbation(_linear([1.0] * 4), **({"x": x, "y": y, "norm": 1.0} | change))


def test_a_delta_of_another_shape_is_refused() -> None:
    x, y = _rows()
    with pytest.raises(InputError, match="shape of one input"):
        perturbation_effect(_linear([1.0] * 4), x, y, np.ones(3))
