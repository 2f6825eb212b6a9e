"""A borrowed model comes back as it was, also when using it raises."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.borrow import borrowed, user_code


class Counting(nn.Module):
    """Changes itself in every way a forward pass can."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        self.replaced = self.replaced + 1
        return self.norm(self.linear(x))


def _state(net: nn.Module) -> dict[str, object]:
    return {
        "modes": [m.training for m in net.modules()],
        "flags": [p.requires_grad for p in net.parameters()],
        "gradients": [
            None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in net.parameters()
        ],
        "values": {k: v.tolist() for k, v in net.state_dict().items()},
        "buffers": [id(b) for b in net.buffers()],
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
    }


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("evaluating", [False, True])
def test_everything_is_put_back(raises: bool, evaluating: bool) -> None:
    net = Counting().train()
    net.linear.eval()  # a mixture of modes, as when layers are frozen
    net.linear.bias.requires_grad_(False)
    net.linear.weight.grad = torch.ones(3, 3)
    before = _state(net)

    def use() -> None:
        with borrowed(net, evaluating):
            assert net.training is not evaluating
            net(torch.randn(8, 3)).sum().backward()
            for parameter in net.parameters():
                parameter.requires_grad_(not parameter.requires_grad)
            random.random(), np.random.rand()
            net.train(evaluating)
            if raises:
                raise KeyError("inside")

    if raises:
        with pytest.raises(KeyError):
            use()
    else:
        use()
    assert _state(net) == before


def test_a_gradient_inside_starts_at_none() -> None:
    net = nn.Linear(1, 1)
    net.weight.grad = torch.full((1, 1), 5.0)
    with borrowed(net):
        assert net.weight.grad is None
        net(torch.ones(1, 1)).sum().backward()
        assert net.weight.grad.item() == 1
    assert net.weight.grad.item() == 5


def test_other_models_have_the_random_states_restored() -> None:
    torch.manual_seed(0)
    with borrowed(lambda x: x):
        torch.rand(5)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_user_code_draws_by_its_seed_alone() -> None:
    def draw(seed: int, purpose: str) -> tuple[float, float, float]:
        with user_code(seed, purpose):
            return random.random(), float(np.random.rand()), float(torch.rand(1))

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = draw(0, "fit")
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    assert first == draw(0, "fit")
    assert len({first, draw(1, "fit"), draw(0, "read")}) == 3
