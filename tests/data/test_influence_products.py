"""Scores of a layer against matrices written out: odd widths, biases left out, groups, lengths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heldout.data.influence import EKFAC, CausalLanguageModel
from heldout.data.influence import precondition as module
from heldout.data.influence.batches import batches
from heldout.data.influence.factors import LayerFactors
from heldout.data.influence.layers import find_layers
from heldout.data.influence.losses import Regression
from heldout.data.influence.passes import run_gradients
from heldout.data.influence.precondition import (
    aligned,
    preconditioned,
    preconditioner,
    self_products,
)
from heldout.data.influence.products import Queries
from heldout.data.influence.taps import tapping


def _factors(n_out: int, n_in: int, bases: bool = True, seed: int = 0) -> LayerFactors:
    draw = torch.Generator().manual_seed(seed)

    def basis(n: int) -> Tensor | None:
        square = torch.randn(n, n, dtype=torch.float64, generator=draw)
        return torch.linalg.qr(square)[0] if bases else None

    spread = torch.rand(n_out, n_in, dtype=torch.float64, generator=draw) * 12 - 8
    return LayerFactors(10**spread, basis(n_in), basis(n_out))


def _inverse(factors: LayerFactors, damping: float) -> Tensor:
    """(G + lambda)^-1 with all its entries; vectors are gradients (n_out, n_in), flattened."""
    flat = torch.diag(1 / (factors.eigenvalues.flatten() + damping))
    if factors.q_a is None or factors.q_s is None:
        return flat
    turn = torch.kron(factors.q_s, factors.q_a)
    return turn @ flat @ turn.t()


def _pair(
    n: int, positions: int, n_in: int, n_out: int, bias: bool, seed: int
) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(n, positions, n_in, dtype=torch.float64, generator=draw)
    if bias:
        a[:, :, -1] = 1
    return a, torch.randn(n, positions, n_out, dtype=torch.float64, generator=draw)


def _left_out(pair: tuple[Tensor, Tensor], bias: bool) -> tuple[Tensor, Tensor]:
    return (pair[0][:, :, :-1] if bias else pair[0]), pair[1]


def _gradients(a: Tensor, d: Tensor) -> Tensor:
    return torch.einsum("nto,nti->noi", d, a).flatten(1)


@settings(max_examples=40, deadline=None)
@given(
    n_out=st.integers(1, 9),
    n_in=st.integers(2, 9),
    bias=st.booleans(),
    bases=st.booleans(),
    positions=st.tuples(*[st.integers(1, 3)] * 3),
    group=st.sampled_from([1, 100, 1 << 19]),
)
def test_scores_are_those_of_the_inverse_written_out(
    n_out: int, n_in: int, bias: bool, bases: bool, positions: tuple[int, int, int], group: int
) -> None:
    factors = _factors(n_out, n_in, bases)
    solver, inverse = preconditioner(factors, 1e-3), _inverse(factors, 1e-3)
    ours = [_pair(k + 2, positions[k], n_in, n_out, bias, k) for k in range(2)]
    train = _pair(5, positions[2], n_in, n_out, bias, 7)
    gradients = torch.cat([_gradients(*pair) for pair in ours])
    wanted = gradients @ inverse @ _gradients(*train).t()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROUP_FLOATS", group)
        for rank in (None, 9):
            queries = Queries(solver, rank)
            for pair in ours:
                queries.add(*_left_out(pair, bias))
            some = _left_out(train, bias)
            torch.testing.assert_close(queries.scores(*some), wanted)
            by_token = queries.token_scores(*some)
            assert by_token.shape == (5, 5, positions[2])
            torch.testing.assert_close(by_token.sum(2), wanted)
            torch.testing.assert_close(queries.scores(*[part[:2] for part in some]), wanted[:, :2])
        made = preconditioned(solver, *_left_out(ours[1], bias))
    torch.testing.assert_close(made.flatten(1), _gradients(*ours[1]) @ inverse)
    own = torch.einsum("qp,pr,qr->q", _gradients(*train), inverse, _gradients(*train))
    torch.testing.assert_close(self_products(solver, *_left_out(train, bias)), own)


def test_another_inverse_is_told_apart() -> None:
    # what the comparison above would say if rows and columns, or the bias's share, were mixed up
    factors = _factors(4, 4)
    solver, inverse = preconditioner(factors, 1e-3), _inverse(factors, 1e-3)
    mine, train = _pair(3, 2, 4, 4, True, 0), _pair(3, 2, 4, 4, True, 1)
    wanted = _gradients(*mine) @ inverse @ _gradients(*train).t()
    queries = Queries(solver, None)
    queries.add(*mine)
    assert not torch.allclose(queries.scores(train[1], train[0]), wanted, rtol=0.1)
    dropped = train[0].clone()
    dropped[:, :, -1] = 0
    assert not torch.allclose(queries.scores(dropped, train[1]), wanted, rtol=0.1)


def test_tolerance_bounds_the_error_of_every_entry_and_of_the_scores() -> None:
    # |1/lambda - 1/(L + lambda)| <= tolerance / (L + lambda), so that |error of score(q, i)| is at
    # most the tolerance times the root of both self-influences.
    factors, draw = _factors(70, 41), torch.Generator().manual_seed(3)
    rows, columns = (torch.rand(n, dtype=torch.float64, generator=draw) for n in (70, 41))
    factors.eigenvalues = 10 ** (6 * rows[:, None] + 6 * columns - 9)
    damping, tolerance = 1e-1, 1e-2
    near, exact = (preconditioner(factors, damping, t) for t in (tolerance, 0.0))
    assert sum(s.weights.numel() for s in near.steps) < 0.9 * 70 * 41  # something is left out
    share = (near.dense() / exact.dense() - 1).abs().max()
    assert 0 < share <= tolerance
    mine, train = _pair(6, 3, 41, 70, True, 0), _pair(8, 3, 41, 70, True, 1)
    found = []
    for solver in (near, exact):
        queries = Queries(solver, None)
        queries.add(*_left_out(mine, True))
        found.append(queries.scores(*_left_out(train, True)))
    sizes = [self_products(exact, *pair).sqrt() for pair in (mine, train)]
    error = (found[0] - found[1]).abs()
    assert bool((error > 0).any())
    assert bool((error <= tolerance * torch.outer(*sizes)).all())


def test_rows_begin_at_multiples_of_eight() -> None:
    made = aligned(torch.zeros(1, dtype=torch.float64), 3, 5, 17)
    assert made.shape == (3, 5, 17) and made.stride() == (120, 24, 1)
    assert made.dtype == torch.float64
    solver = preconditioner(_factors(6, 17), 0.1)
    assert solver.q_a is not None and solver.q_a.stride() == (24, 1)
    turned, _ = solver.rotated(*_left_out(_pair(2, 3, 17, 6, True, 0), True))
    assert turned.stride() == (72, 24, 1)


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4)])
def test_taps_without_ones_hand_over_the_inputs_alone(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2, bias=False)).double().eval()
    x = torch.randn(*shape, dtype=torch.float64)
    y = torch.zeros(*shape[:-1], 2, dtype=torch.float64)
    seen: list[dict[str, tuple[Tensor, Tensor]]] = []
    for ones in (True, False):
        seen.append({})

        def take(name: str, a: Tensor, d: Tensor) -> None:
            seen[-1][name] = a, d

        with tapping(net, find_layers(net), ones=ones) as taps:
            batch = next(batches((x, y), 5))
            run_gradients(taps, Regression().per_example, [batch], 5, lambda _: take)
    whole, alone = seen
    assert torch.equal(whole["0"][0][..., :-1], alone["0"][0]) and alone["0"][0].shape[-1] == 4
    assert bool((whole["0"][0][..., -1] == 1).all())
    assert torch.equal(whole["2"][0], alone["2"][0])
    assert all(torch.equal(whole[name][1], alone[name][1]) for name in whole)


class _Words(nn.Module):
    """Tokens to logits of the next token through one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.up, self.read = nn.Embedding(7, 5), nn.Linear(5, 6), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(torch.tanh(self.up(self.table(x).cumsum(1))))


def test_padded_positions_do_not_count_through_the_bias() -> None:
    torch.manual_seed(0)
    model = _Words().double().eval()
    x = torch.randint(0, 7, (6, 5))
    mask = torch.arange(5) < torch.tensor([5, 3, 2, 4, 5, 2])[:, None]
    data = x, x.masked_fill(~mask, -100), mask
    fitted = EKFAC(model, CausalLanguageModel(), fisher="empirical").fit(data)
    whole = fitted.scores(data, data)
    for i, length in enumerate(mask.sum(1).tolist()):
        one = x[i : i + 1, :length]
        found = fitted.scores(data, (one, one))[:, 0]  # losses are in float32
        assert abs(found - whole[:, i]).max() < 1e-5 * abs(whole).max()
    assert abs(whole).max() > 0
