"""The small transformer against torch's encoder layer and against attention spelled out."""

import math

import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream
from heldout.nets.tiny_transformer import TinyTransformer


def _tokens(n: int, places: int, vocabulary: int = 11) -> torch.Tensor:
    return torch.randint(vocabulary, (n, places), generator=torch_stream(places, "tokens"))


def _by_torch(net: TinyTransformer, tokens: torch.Tensor) -> torch.Tensor:
    # every place goes through torch's own modules; only the last is read
    return net.readout(net.layer.train()(net.embedding(tokens)))[:, -1]


@pytest.mark.parametrize("places", [1, 2, 3, 6])
def test_logits_and_gradients_are_those_of_torch_modules(places: int) -> None:
    net = TinyTransformer(11, width=12, heads=3, hidden=20, seed=4).double()
    with torch.no_grad():  # biases and norms start at 0 and 1, which would hide their place
        for i, weight in enumerate(net.parameters()):
            weight += 0.3 * torch.randn(weight.shape, generator=torch_stream(i, "shift"))
    tokens = _tokens(40, places)
    found, wanted = net(tokens), _by_torch(net, tokens)
    assert torch.allclose(found, wanted, atol=1e-12)
    direction = torch.randn(found.shape, generator=torch_stream(1, "direction")).double()
    weights = list(net.parameters())
    ours = torch.autograd.grad((found * direction).sum(), weights)
    theirs = torch.autograd.grad((wanted * direction).sum(), weights)
    for (name, _), a, b in zip(net.named_parameters(), ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-11), name
    assert all(float(g.abs().max()) > 0 for g in ours) or places == 1


def test_attention_is_that_of_the_formula() -> None:
    net = TinyTransformer(5, width=4, heads=2, hidden=3, seed=1).double()
    row = torch.tensor([2, 0, 3])
    net.requires_grad_(False)
    inner = net.layer.self_attn
    made = net.embedding.weight[row] @ inner.in_proj_weight.T + inner.in_proj_bias
    q, k, v = made[:, :4], made[:, 4:8], made[:, 8:]
    mixed = []
    for head in (slice(0, 2), slice(2, 4)):
        score = [float(q[-1, head] @ k[j, head]) / math.sqrt(2) for j in range(3)]
        share = [math.exp(s) / sum(math.exp(t) for t in score) for s in score]
        mixed.append(sum(a * v[j, head] for j, a in enumerate(share)))
    wanted = inner.out_proj(torch.cat(mixed))
    assert torch.allclose(net._attention(row[None])[0], wanted, atol=1e-12)


def test_only_the_last_place_tells_operands_apart() -> None:
    net = TinyTransformer(11, width=12, heads=3, hidden=20)
    rows = _tokens(30, 4)
    shuffled = rows[:, [2, 0, 1, 3]]
    assert torch.allclose(net(rows), net(shuffled), atol=1e-5)
    assert not torch.allclose(net(rows), net(rows[:, [3, 0, 1, 2]]), atol=1e-2)


def test_rows_do_not_touch_each_other() -> None:
    net = TinyTransformer(11, width=12, heads=3, hidden=20)
    rows = _tokens(30, 2)
    alone = torch.cat([net(row[None]) for row in rows])
    assert torch.allclose(net(rows), alone, atol=1e-5)


def test_seed_decides_the_weights_and_the_global_generator_is_kept() -> None:
    state = torch.get_rng_state()
    one, same, other = (TinyTransformer(7, 8, 2, 16, seed=s) for s in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    small = TinyTransformer(7, 8, 2, 16, embedding_std=0.1, seed=3)
    assert torch.allclose(small.embedding.weight, 0.1 * one.embedding.weight)
    assert torch.equal(small.readout.weight, one.readout.weight)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.readout.weight, other.readout.weight)


def test_it_learns_a_table_of_sums() -> None:
    net = TinyTransformer(5, width=16, heads=2, hidden=32)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    y = pairs.sum(1) % 5
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pairs), y).backward()
        optimizer.step()
    assert bool((net(pairs).argmax(1) == y).all())


@pytest.mark.parametrize("sizes", [(0, 8, 2, 4), (5, 9, 2, 4), (5, 8, 0, 4), (5, 8, 2, 0)])
def test_bad_sizes(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="heads"):
        TinyTransformer(*sizes)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_bad_deviation(std: float) -> None:
    with pytest.raises(InputError, match="deviation"):
        TinyTransformer(5, 8, 2, 4, embedding_std=std)


@pytest.mark.parametrize(
    "tokens", [torch.zeros(3, dtype=torch.long), torch.zeros(3, 2), torch.zeros(3, 0).long()]
)
def test_bad_tokens(tokens: torch.Tensor) -> None:
    with pytest.raises(InputError, match="tokens of shape"):
        TinyTransformer(5, 8, 2, 4)(tokens)
