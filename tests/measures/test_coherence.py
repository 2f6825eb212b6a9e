"""Coherence against closed forms, all pairs, and leave-one-out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.pergrad import per_example_gradients
from heldout.measures.coherence import (
    coherence,
    coherence_by_group,
    coherence_null,
    jackknifed,
)


def half_square(out: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (out[:, 0] - y) ** 2


def at_zero(width: int) -> nn.Linear:
    model = nn.Linear(width, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model


def trained(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 6, generator=g, dtype=torch.float64)
    y = (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    return model, x, y


def flat(model: nn.Module, x: Tensor, y: Tensor) -> np.ndarray:
    grads = per_example_gradients(model, x, y)
    return torch.cat([g.flatten(1) for g in grads.values()], 1).numpy()


@pytest.mark.parametrize("n", [20, 50, 131])
def test_common_feature_closed_form(n: int) -> None:
    """Targets 1, features e_i and one that all share: alpha = (1 + 1/n) / 2; without it 1/n."""
    own, y = torch.eye(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    shared = torch.cat([own, torch.ones(n, 1, dtype=torch.float64)], 1)
    with_common = coherence(at_zero(n + 1), shared, y, loss_fn=half_square)
    assert with_common.alpha == pytest.approx((1 + 1 / n) / 2)
    assert with_common.unbiased.value == pytest.approx(0.5)
    assert with_common.cosine.value == pytest.approx(0.5)
    alone = coherence(at_zero(n), own, y, loss_fn=half_square)
    assert alone.m_alpha == pytest.approx(1.0)
    assert alone.unbiased.value == pytest.approx(0.0, abs=1e-12)
    assert np.abs(alone.agreement[~np.isnan(alone.agreement)]).max() < 1e-9


def test_all_pairs() -> None:
    model, x, y = trained()
    found, g = coherence(model, x, y), flat(*trained())
    pairs, off = g @ g.T, ~np.eye(len(g), dtype=bool)
    assert found.unbiased.value == pytest.approx(pairs[off].mean() / np.diag(pairs).mean())
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    assert found.cosine.value == pytest.approx((unit @ unit.T)[off].mean())
    assert found.m_alpha == pytest.approx(pairs.sum() / np.diag(pairs).sum())
    rest = g.sum(0) - g
    cosine = (g * rest).sum(1) / np.linalg.norm(g, axis=1) / np.linalg.norm(rest, axis=1)
    np.testing.assert_allclose(found.agreement, cosine, rtol=1e-8)
    np.testing.assert_allclose(found.norms, np.linalg.norm(g, axis=1), rtol=1e-8)
    last = flat(model, x, y)[:, 63:]
    expected = ((last @ last.T)[off].mean()) / (last**2).sum(1).mean()
    assert found.per_layer["2"] == pytest.approx(expected)


def test_jackknife_is_leave_one_out() -> None:
    model, x, y = trained()
    g = flat(model, x, y)
    n = len(g)
    each = []
    for i in range(n):
        kept = np.delete(g, i, axis=0)
        pairs = kept @ kept.T
        each.append((pairs.sum() - np.trace(pairs)) / (n - 2) / np.trace(pairs))
    error = np.sqrt((n - 1) * np.var(each))
    interval = coherence(model, x, y).unbiased
    assert (interval.high - interval.low) / 2 == pytest.approx(2.001 * error, rel=1e-3)


@pytest.mark.parametrize(("shared", "width"), [(0.0, 40), (0.3, 40), (1.0, 5)])
def test_intervals_cover(shared: float, width: int) -> None:
    """Gaussian gradients with a common part: truth shared^2 / (shared^2 + 1)."""
    rng, hits, runs = np.random.default_rng(0), 0, 400
    truth = shared**2 / (shared**2 + 1)
    for _ in range(runs):
        g = rng.normal(size=(60, width)) / np.sqrt(width)
        g[:, 0] += shared
        mean = g.mean(0)
        found = jackknifed((g**2).sum(1), g @ mean, float(mean @ mean), 0.95)
        hits += truth in found
    assert hits / runs > 0.91


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000), chunk=st.integers(1, 70))
def test_scale_order_and_chunks_do_not_matter(scale: float, seed: int, chunk: int) -> None:
    model, x, y = trained()
    base = coherence(model, x, y)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    scaled = coherence(
        model, x[order], y[order], chunk=chunk,
        loss_fn=lambda out, t: scale * nn.functional.cross_entropy(out, t, reduction="none"),
    )  # fmt: skip
    assert scaled.unbiased.value == pytest.approx(base.unbiased.value, rel=1e-6)
    assert scaled.cosine.low == pytest.approx(base.cosine.low, rel=1e-6)
    np.testing.assert_allclose(scaled.agreement, base.agreement[order.numpy()], rtol=1e-6)


def test_random_labels_are_less_coherent() -> None:
    """After a few steps on real labels those cohere, and permuted ones much less."""
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (x[:, 0] > 0).long()
    model = nn.Linear(10, 2).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    real = coherence(model, x, y)
    null = coherence_null(model, x, y, seed=0, repeats=3)
    drawn = coherence_null(model, x, y, seed=0, repeats=3, classes=2)
    assert all(real.unbiased.low > other.unbiased.high for other in null)
    assert all(abs(other.unbiased.value) < 0.02 for other in null + drawn)
    assert coherence_null(model, x, y, seed=0, repeats=1)[0].alpha == null[0].alpha


def test_groups_are_measured_alone() -> None:
    model, x, y = trained()
    groups = ["even" if i % 2 == 0 else "odd" for i in range(50)] + ["few"] * 10
    found = coherence_by_group(model, x, y, groups)
    assert sorted(found) == ["even", "odd"]  # type: ignore[type-var]
    alone = coherence(model, x[:50:2], y[:50:2])
    assert found["even"].alpha == pytest.approx(alone.alpha)


def test_zero_gradients() -> None:
    model, x, y = trained()
    with pytest.raises(InputError, match="all zero"):
        coherence(model, x, y, loss_fn=lambda out, t: 0 * out[:, 0])
    some = coherence(model, x, y, loss_fn=lambda out, t: out[:, 0] * (t == 1))
    assert np.isnan(some.agreement).sum() == int((y != 1).sum())
    with pytest.raises(InputError, match="at least 20"):
        coherence(model, x[:19], y[:19])
