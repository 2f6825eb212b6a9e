"""Taps hand over the gradients before what comes after a layer, also where that works in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from heldout.data.influence.batches import batches
from heldout.data.influence.layers import find_layers
from heldout.data.influence.losses import Regression
from heldout.data.influence.passes import run_gradients
from heldout.data.influence.precondition import preconditioner
from heldout.data.influence.products import Queries
from heldout.data.influence.taps import tapping


class Halved(nn.Module):
    """Keeps the first half of the columns of a linear layer's output: a view of a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[..., :4]


def _net(inplace: bool) -> nn.Module:
    torch.manual_seed(0)
    act = nn.LeakyReLU(0.3, inplace=inplace)
    return nn.Sequential(
        nn.Linear(5, 6), act, nn.Linear(6, 6), act, Halved(), act, nn.Linear(4, 3)
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (7, 4, 5)])
def test_gradients_are_those_of_one_backward_pass_per_example(
    inplace: bool, shape: tuple[int, ...]
) -> None:
    net = _net(inplace)
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)  # it has another way in
    y = torch.zeros(*shape[:-1], 3, dtype=torch.float64)
    task, got = Regression(), {}

    def take(name: str, a: Tensor, d: Tensor) -> None:
        got[name] = torch.bmm(d.transpose(1, 2), a)

    with tapping(net, find_layers(net)) as taps:
        run_gradients(taps, task.per_example, [next(batches((x, y), 7))], 7, lambda _: take)
    assert set(got) == {"0", "2", "4.inner", "6"}
    for name, found in got.items():
        layer = net.get_submodule(name)
        for i in range(len(x)):
            loss = task.per_example(net(x[i : i + 1]), y[i : i + 1]).sum()
            weight, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
            assert weight.abs().max() > 0
            torch.testing.assert_close(found[i], torch.cat([weight, bias[:, None]], 1))


@pytest.mark.parametrize("shape", [(130, 9), (9, 130), (64, 64), (1, 1)])
def test_products_in_blocks_are_those_of_whole_gradients(shape: tuple[int, int]) -> None:
    from heldout.data.influence.factors import LayerFactors

    n_out, n_in = shape
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 3, n_in, dtype=torch.float64, generator=draw) for _ in range(2))
    c, d = (torch.randn(6, 3, n_out, dtype=torch.float64, generator=draw) for _ in range(2))
    flat = LayerFactors(torch.zeros(n_out, n_in, dtype=torch.float64))
    queries = Queries(preconditioner(flat, 0.5), None)
    queries.add(a[:4], c[:4])
    expected = 2 * torch.einsum("qsi,qso,nti,nto->qn", a[:4], c[:4], b, d)
    torch.testing.assert_close(queries.scores(b, d), expected)
    torch.testing.assert_close(queries.scores(b[:2], d[:2]), expected[:, :2])
    torch.testing.assert_close(queries.token_scores(b, d).sum(2), expected)
