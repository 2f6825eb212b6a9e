"""Memorization statistics: closed forms, nulls, and models that do and do not memorise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heldout.bench.training import train_network
from heldout.core.errors import InputError
from heldout.core.pergrad import per_example_gradients
from heldout.measures.memorization import memorization_statistics, same_label_cosine
from heldout.nets.small import mlp


def clouds(n: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Three Gaussian clouds in ten dimensions; a share of labels replaced at random."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[np.arange(n), y] += 3
    wrong = rng.random(n) < noise
    y = np.where(wrong, (y + rng.integers(1, 3, size=n)) % 3, y)
    return torch.as_tensor(x), torch.as_tensor(y)


def trained(noise: float, epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    x, y = clouds(200, noise, seed=0)
    model = train_network(lambda: mlp([10, 64, 64, 3]), x.numpy(), y.numpy(), epochs=epochs)
    return model, x, y


def test_memory_is_told_from_patterns() -> None:
    held = clouds(300, 0.0, seed=1)
    clean = memorization_statistics(*trained(0.0, 10), *held, seed=0)
    noisy = memorization_statistics(*trained(0.3, 150), *held, seed=0)
    assert clean.excess.value < 0.1
    assert noisy.excess.low > 0.15 > clean.excess.high
    assert clean.cosine.low > noisy.cosine.high
    assert noisy.train_ratio.high < 0.2 < noisy.test_ratio.low


def test_wrong_labels_stand_alone() -> None:
    """Fitted to the last example, the model still shows which labels nothing supports."""
    model, x, y = trained(0.3, 150)
    with torch.no_grad():
        assert float((model(x).argmax(1) == y).float().mean()) > 0.97
    truth = x[:, :3].argmax(1)
    wrong = (y != truth).numpy()
    agreement = same_label_cosine(model, x, y)[1]
    right = agreement[~wrong]
    above = (right[:, None] > agreement[wrong]).mean()
    assert above > 0.8


def test_an_untrained_model_knows_nothing() -> None:
    """Labels that are random anyway: both ratios 1, no excess, cosine like its null."""
    x, y = clouds(200, 0.0, seed=0)
    shuffled = y[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = mlp([10, 16, 3])
    found = memorization_statistics(model, x[:100], shuffled[:100], x[100:], shuffled[100:], seed=0)
    assert 0.0 in found.excess
    assert found.train_ratio.value == pytest.approx(1, abs=0.1)
    assert found.test_ratio.value == pytest.approx(1, abs=0.1)
    assert abs(found.cosine.value - found.cosine_null.value) < 0.1


def test_ratio_closed_form() -> None:
    """Two classes, logits +-a z: ||g|| = 2 (1 - p_y) |x| up to the bias; a known ratio of means."""
    x = torch.cat([torch.ones(50, 1), -torch.ones(50, 1)])
    y = (x[:, 0] > 0).long()
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    found = memorization_statistics(model, x, y, x, y, seed=0, repeats=2)
    certain = 1 / (1 + np.exp(2))
    assert found.train_norms == pytest.approx(np.full(100, np.sqrt(2) * certain), rel=1e-5)
    right = found.train_null / np.sqrt(2)  # each entry averages `certain` and 1 - `certain`
    expected = certain / right.mean()
    assert found.train_ratio.value == pytest.approx(expected, rel=1e-5)
    assert found.excess.low <= 0 <= found.excess.high


def test_same_label_cosine_equals_all_pairs() -> None:
    model, x, y = trained(0.3, 5)
    grads = per_example_gradients(model, x, y)
    g = torch.cat([v.flatten(1) for v in grads.values()], 1).double().numpy()
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    values, weights = [], []
    found, own = same_label_cosine(model, x, y)
    for c in range(3):
        rows = np.flatnonzero(y.numpy() == c)
        pairs = unit[rows] @ unit[rows].T
        values.append(pairs[~np.eye(len(rows), dtype=bool)].mean())
        weights.append(len(rows))
        rest = unit[rows].sum(0) - unit[rows]
        cosine = (unit[rows] * rest).sum(1) / np.linalg.norm(rest, axis=1)
        np.testing.assert_allclose(own[rows], cosine, atol=1e-4)
    assert found.value == pytest.approx(np.average(values, weights=weights), abs=1e-4)
    assert found.low < found.value < found.high and found.n == 200


def test_seeded_and_independent_of_chunks() -> None:
    model, x, y = trained(0.1, 5)
    one = memorization_statistics(model, x, y, *clouds(60, 0, 1), seed=3)
    two = memorization_statistics(model, x, y, *clouds(60, 0, 1), seed=3, chunk=7)
    other = memorization_statistics(model, x, y, *clouds(60, 0, 1), seed=4)
    assert one.excess.value == pytest.approx(two.excess.value, rel=1e-4)
    assert one.cosine.low == pytest.approx(two.cosine.low, rel=1e-3)
    assert one.excess.value != other.excess.value


@pytest.mark.parametrize(("n", "classes"), [(10, 2), (40, 1)])
def test_too_little_data(n: int, classes: int) -> None:
    x, y = torch.randn(n, 10), torch.arange(n) % classes
    with pytest.raises(InputError, match="at least 20 examples of two classes"):
        memorization_statistics(mlp([10, 3]), x, y, *clouds(60, 0, 1), seed=0)
