"""The optimizer parts in people's training loops: groups, AMP, accumulation, torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.seeds import torch_stream
from heldout.dynamics.orthograd import OrthoGrad, perpendicular_gradients
from heldout.dynamics.robust_accumulation import median_over_backwards
from heldout.dynamics.robust_descent import (
    assign_gradients,
    mean_gradients,
    median_of_means,
    winsorized_gradients,
)
from heldout.dynamics.stablemax import StableMaxCrossEntropy

adamw = partial(OrthoGrad, base_cls=torch.optim.AdamW, lr=0.05)


def problem(wide: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    rng = torch_stream(4, "parts")
    net = nn.Sequential(nn.Linear(4, wide), nn.Tanh(), nn.Linear(wide, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * 0.5)
    return net, torch.randn(24, 4, generator=rng), torch.randint(3, (24,), generator=rng)


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(one: list[Tensor], other: list[Tensor], **tolerance: float) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.allclose(a, b, **tolerance or {"rtol": 0, "atol": 0}) for a, b in pairs)


def test_groups_have_their_own_rate_and_decay_and_may_stay_out() -> None:
    (one, x, y), (other, _, _) = problem(), problem()

    def groups(net: nn.Module) -> list[dict[str, object]]:
        return [
            {"params": [net[0].weight], "lr": 0.1, "weight_decay": 0.5},
            {"params": [net[0].bias, net[2].bias], "lr": 0.01, "project": False},
            {"params": [net[2].weight]},
        ]

    wrapped, plain = adamw(groups(one)), torch.optim.AdamW(groups(other), lr=0.05)
    for _ in range(4):
        for net, optimizer in ((one, wrapped), (other, plain)):
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            if optimizer is plain:
                perpendicular_gradients([net[0].weight, net[2].weight])
            optimizer.step()
    assert same(weights(one), weights(other))
    everything = adamw(problem()[0].parameters())
    assert [g["lr"] for g in wrapped.param_groups] == [0.1, 0.01, 0.05]
    assert all(g.get("project", True) for g in everything.param_groups)
    restored = adamw(groups(problem()[0]))
    restored.load_state_dict(wrapped.state_dict())
    assert restored.param_groups[1]["project"] is False


def test_sparse_gradients_are_refused_unless_their_group_stays_out() -> None:
    table, head = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2)
    base = {"base_cls": torch.optim.SGD, "lr": 0.1}
    F.cross_entropy(head(table(torch.tensor([0, 1]))), torch.tensor([0, 1])).backward()
    with pytest.raises(InputError, match="sparse"):
        OrthoGrad([*table.parameters(), *head.parameters()], **base).step()
    before = weights(table)[0]
    groups = [{"params": table.parameters(), "project": False}, {"params": head.parameters()}]
    OrthoGrad(groups, **base).step()
    assert weights(table)[0].ne(before).any(1).tolist() == [True, True, False, False, False]


def test_unused_parameters_stay_where_they_are() -> None:
    net, x, y = problem()
    idle = nn.Parameter(torch.ones(3))
    optimizer = adamw([*net.parameters(), idle])
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    assert torch.equal(idle.detach(), torch.ones(3)) and idle.grad is None


@pytest.mark.parametrize("scale", [1.0, 2.0**12])
def test_gradient_scaler_changes_nothing(scale: float) -> None:
    (one, x, y), (other, _, _) = problem(), problem()
    scaled, plain = adamw(one.parameters()), adamw(other.parameters())
    scaler, loss = torch.amp.GradScaler("cpu", init_scale=scale), StableMaxCrossEntropy()
    for _ in range(4):
        scaled.zero_grad()
        scaler.scale(loss(one(x), y)).backward()
        scaler.step(scaled)
        scaler.update()
        plain.zero_grad()
        loss(other(x), y).backward()
        plain.step()
    assert same(weights(one), weights(other), rtol=1e-5, atol=1e-6)


def test_gradient_scaler_skips_a_step_that_overflows() -> None:
    net, x, y = problem()
    optimizer, scaler = adamw(net.parameters()), torch.amp.GradScaler("cpu", init_scale=4.0)
    before = weights(net)
    scaler.scale(F.cross_entropy(net(x), y)).backward()
    net[0].weight.grad[0, 0] = torch.inf
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert same(weights(net), before) and scaler.get_scale() == 2.0


def test_autocast_and_stablemax() -> None:
    net, x, y = problem()
    exact = copy.deepcopy(net)
    loss = StableMaxCrossEntropy()
    loss(exact(x), y).backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(x)
        with pytest.raises(InputError, match="float"):
            loss(logits, y)
        inside = loss(logits.float(), y)  # autocast must not take float64 down
    assert logits.dtype == torch.bfloat16 and inside.dtype == torch.float64
    inside.backward()
    adamw(net.parameters()).step()
    for p, q in zip(net.parameters(), exact.parameters(), strict=True):
        perpendicular_gradients([q])
        cosine = F.cosine_similarity(p.grad.flatten(), q.grad.flatten(), dim=0)
        assert p.grad.dtype == torch.float32 and float(cosine) > 0.99


@pytest.mark.parametrize("criterion", [F.cross_entropy, StableMaxCrossEntropy()])
def test_accumulation_equals_the_big_batch(criterion: Callable[..., Tensor]) -> None:
    (one, x, y), (other, _, _) = problem(), problem()
    small, big = adamw(one.parameters()), adamw(other.parameters())
    for _ in range(3):
        one.zero_grad()
        for a, b in zip(x.split(8), y.split(8), strict=True):
            (criterion(one(a), b) / 3).backward()
        small.step()
        other.zero_grad()
        criterion(other(x), y).backward()
        big.step()
    assert same(weights(one), weights(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_loss_and_gradients(backend: str) -> None:
    (one, x, y), (other, _, _) = problem(), problem()
    loss = StableMaxCrossEntropy(ignore_index=2)

    def forward(x: Tensor, y: Tensor) -> Tensor:
        return loss(one(x), y)

    compiled = torch.compile(forward, backend=backend, fullgraph=True)
    optimizers = adamw(one.parameters()), adamw(other.parameters())
    for _ in range(3):
        for optimizer, run in zip(
            optimizers, (compiled, lambda x, y: loss(other(x), y)), strict=True
        ):
            optimizer.zero_grad()
            run(x, y).backward()
            optimizer.step()
    assert same(weights(one), weights(other), rtol=1e-5, atol=1e-6)


def test_whole_step_compiled() -> None:
    (one, x, y), (other, _, _) = problem(70), problem(70)  # small tensors and larger ones
    optimizers = adamw(one.parameters()), adamw(other.parameters())

    def step(net: nn.Module, optimizer: OrthoGrad) -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    compiled = torch.compile(step, backend="eager")
    for _ in range(3):
        compiled(one, optimizers[0])
        step(other, optimizers[1])
    assert same(weights(one), weights(other), rtol=1e-4, atol=1e-5)


ESTIMATES = [
    partial(winsorized_gradients, clipped=2),
    partial(median_of_means, parts=3),
]


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_robust_gradients_with_any_optimizer_and_groups(estimate, base) -> None:
    net, x, y = problem()
    before, found = weights(net), estimate(net, x, y)
    assign_gradients(found, net)
    groups = [{"params": net[0].parameters(), "lr": 0.0}, {"params": net[2].parameters()}]
    OrthoGrad(groups, base, lr=0.1).step()
    after = weights(net)
    assert same(after[:2], before[:2], rtol=0, atol=0)
    assert not same(after[2:], before[2:], rtol=0, atol=0)


@pytest.mark.parametrize("estimate", [mean_gradients, *ESTIMATES])
def test_robust_gradients_under_autocast_and_a_scaler(estimate) -> None:
    net, x, y = problem()
    wanted = estimate(net, x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = estimate(net, x, y)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def scaled(out: Tensor, y: Tensor) -> Tensor:
        return scaler.scale(F.cross_entropy(out, y, reduction="none"))

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assign_gradients(estimate(net, x, y, loss_fn=scaled), net)
    scaler.unscale_(optimizer)
    for name, p in net.named_parameters():
        assert torch.allclose(p.grad, wanted[name], rtol=1e-5, atol=1e-7)
        assert rough[name].dtype == torch.float32
        assert float(F.cosine_similarity(rough[name].flatten(), p.grad.flatten(), dim=0)) > 0.98


def accumulate(net: nn.Module, x: Tensor, y: Tensor, parts: int) -> None:
    for a, b in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
        (F.cross_entropy(net(a), b) / parts).backward()


@pytest.mark.parametrize("parts", [1, 3])
def test_median_over_backwards_is_median_of_means(parts: int) -> None:
    net, x, y = problem()
    wanted = median_of_means(net, x, y, parts=parts)
    with median_over_backwards(net, parts):
        for _ in range(2):  # a second window is as the first
            net.zero_grad()
            accumulate(net, x, y, parts)
            for name, p in net.named_parameters():
                assert torch.allclose(p.grad, wanted[name], rtol=1e-5, atol=1e-7)
    net.zero_grad()
    accumulate(net, x, y, 3)
    plain = mean_gradients(net, x, y)
    for name, p in net.named_parameters():  # and nothing is left behind
        assert torch.allclose(p.grad, plain[name], rtol=1e-5, atol=1e-7)


def test_median_over_backwards_of_a_short_window_a_scaler_and_overflow() -> None:
    net, x, y = problem()
    wanted = median_of_means(net, x, y)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    optimizer = adamw(net.parameters())
    pieces = list(zip(x.tensor_split(3), y.tensor_split(3), strict=True))

    def run(count: int) -> None:
        for a, b in pieces[:count]:
            scaler.scale(F.cross_entropy(net(a), b) / 3).backward()

    with median_over_backwards(net):
        run(2)
        plain = [p.grad.clone() for p in net.parameters()]
        net.zero_grad()
        torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))  # does not count
        run(3)
        scaler.unscale_(optimizer)
        for name, p in net.named_parameters():
            assert torch.allclose(p.grad, wanted[name], rtol=1e-5, atol=1e-7)
        net.zero_grad()
        (torch.inf * net(x).sum()).backward()
        run(2)
        assert not any(bool(p.grad.isfinite().all()) for p in net.parameters())
    net.zero_grad()
    run(2)
    assert same(plain, [p.grad for p in net.parameters()])


def test_median_over_backwards_refuses() -> None:
    net, _, _ = problem()
    with pytest.raises(InputError, match="parts"), median_over_backwards(net, 2):
        pass
    with (
        pytest.raises(InputError, match="frozen"),
        median_over_backwards(net.requires_grad_(False)),
    ):
        pass
