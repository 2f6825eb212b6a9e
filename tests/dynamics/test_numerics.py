"""Softmax collapse, logit scaling and precision against torch's own arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.dynamics.logit_scaling import logit_scaling_slope, scaling_alignment
from heldout.dynamics.numerics import FORMATS, logit_range, nonfinite_counts, softmax_collapse
from heldout.dynamics.precision import precision_agreement

BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


@pytest.mark.parametrize("name", sorted(BITS))
@pytest.mark.parametrize("classes", [2, 3, 113])
def test_gap_at_which_the_loss_becomes_zero(name: str, classes: int) -> None:
    """ln(C - 1) plus the format's bits times ln 2, from both sides."""
    gap = math.log(classes - 1) + BITS[name] * math.log(2)
    step = 2 * torch.finfo(FORMATS[name]).eps * gap + 1e-9
    z = np.zeros((2, classes))
    z[:, 1] = [gap + step, gap - step]
    found = softmax_collapse(z, np.array([1, 1]), name)
    assert found.needed_gap == pytest.approx(gap)
    assert found.zero_loss.value == 0.5
    assert softmax_collapse(z, np.array([0, 0]), name).zero_loss.value == 0.0  # wrong, not certain


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_agrees_with_torch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 10, generator=g, dtype=torch.float64)
    z = z * torch.logspace(0, 3, 4000, dtype=torch.float64).unsqueeze(1)
    y = torch.where(torch.rand(4000, generator=g) < 0.8, z.argmax(1), torch.zeros(4000).long())
    cast = z.to(FORMATS[name]).requires_grad_()
    losses = nn.functional.cross_entropy(cast, y, reduction="none")
    losses.sum().backward()
    assert cast.grad is not None
    found = softmax_collapse(z, y, name)
    assert found.zero_loss.value == pytest.approx(float((losses == 0).double().mean()), abs=2e-3)
    gone = float((cast.grad == 0).all(1).double().mean())
    assert found.zero_gradient.value == pytest.approx(gone, abs=1e-2)
    assert 0.01 < found.zero_gradient.value < found.zero_loss.value


def test_coarser_formats_collapse_first() -> None:
    g = torch.Generator().manual_seed(1)
    z = 30 * torch.randn(500, 4, generator=g)
    shares = [softmax_collapse(z, z.argmax(1), name).zero_loss.value for name in FORMATS]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]


def test_overflow_and_lost_margins() -> None:
    z = np.array([[1e5, 0.0], [300.0, 300.5], [1.0, 2.0]])
    half = softmax_collapse(z, np.array([0, 1, 1]), "float16")
    brain = softmax_collapse(z, np.array([0, 1, 1]), "bfloat16")
    assert (half.overflow.value, brain.overflow.value) == (pytest.approx(1 / 3), 0.0)
    assert (half.unresolved.value, brain.unresolved.value) == (0.0, pytest.approx(1 / 3))


def test_range() -> None:
    found = logit_range(np.array([[100.0, -70.0, 99.0], [0.0, 4.0, 1.0]]))
    assert found.largest == 100 and found.largest_margin == 3
    for name, dtype in FORMATS.items():
        at = torch.tensor(100.0, dtype=dtype)
        if dtype in (torch.float32, torch.float64):
            infinity = torch.tensor(math.inf, dtype=dtype)
            assert found.spacing[name] == float(torch.nextafter(at, infinity) - at)
        assert found.headroom[name] == torch.finfo(dtype).max / 100


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), size=st.floats(0.1, 20))
def test_slope_is_the_derivative_along_the_scale(seed: int, classes: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    z, y = size * rng.normal(size=(7, classes)), rng.integers(classes, size=7)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses = nn.functional.cross_entropy(
        scale * torch.as_tensor(z), torch.as_tensor(y), reduction="none"
    )
    slopes = [-float(torch.autograd.grad(one, scale, retain_graph=True)[0]) for one in losses]
    np.testing.assert_allclose(logit_scaling_slope(z, y), slopes, atol=1e-9)


def _model() -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False))
        return model.double(), torch.randn(40, 5, dtype=torch.float64), torch.arange(40) % 3


def test_alignment_equals_the_loss_slope() -> None:
    """Without biases <-g, theta> is depth times the mean logit-scaling slope (Euler)."""
    model, x, y = _model()
    found = scaling_alignment(model, x, y, batch_size=7)
    slope = logit_scaling_slope(model(x).detach(), y).mean()
    size = math.sqrt(sum(float(p.detach().square().sum()) for p in model.parameters()))
    assert found.every == pytest.approx(2 * slope / (found.gradient_norm * size))
    loss = nn.functional.cross_entropy(model(x), y)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    last = model[2].weight.detach()
    cosine = -float((grads[1] * last).sum() / grads[1].norm() / last.norm())
    assert found.last == pytest.approx(cosine)
    assert found.per_tensor["2.weight"] == pytest.approx(cosine)


def test_alignment_grows_once_everything_is_right() -> None:
    """Labels that the model gives itself leave little but scaling; random labels do not."""
    model, x, y = _model()
    own = scaling_alignment(model, x, model(x).argmax(1))
    assert own.every > 3 * own.chance
    assert own.every > 3 * scaling_alignment(model, x, y).every


def test_the_model_is_left_as_it_was() -> None:
    model, x, y = _model()
    model.train()
    model[0].weight.requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    with torch.inference_mode():
        scaling_alignment(model, x, y)
    precision_agreement(model, x, "float16")
    assert model.training and not model[0].weight.requires_grad and model[2].weight.grad is None
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.dtype == torch.float64 for p in model.parameters())


def test_no_last_linear_layer() -> None:
    model, x, y = _model()
    assert scaling_alignment(nn.Sequential(model, nn.Tanh()), x, y).last is None


def test_agreement_counts_changed_predictions() -> None:
    """Margins of 2^-6 and 2^-10 at logits near 1: bfloat16 has 2^-7, float16 2^-10."""
    model = nn.Identity()
    wide, narrow = 1 + 2.0**-6, 1 + 2.0**-11
    x = torch.tensor([[1.0, wide], [1.0, narrow], [1e6, 2e6], [3.0, 1.0]])
    assert precision_agreement(model, x, "bfloat16").share.value == 0.75  # type: ignore[union-attr]
    half = precision_agreement(model, x, "float16")
    assert half.share.value == 0.5 and half.nonfinite == 1  # type: ignore[union-attr]


class Stubborn(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.double())


def test_a_model_that_cannot_run_coarser_says_so() -> None:
    found = precision_agreement(Stubborn(3, 2).double(), torch.zeros(4, 3), "bfloat16")
    assert found.share is None and "bfloat16" in found.reason


def test_nonfinite_counts() -> None:
    model = nn.BatchNorm1d(3)
    with torch.no_grad():
        model.weight[1] = math.nan
        model.running_var[0] = math.inf  # type: ignore[index]
    found = nonfinite_counts(model, inputs=np.array([1, 2]), logits=torch.tensor([math.inf, 1.0]))
    assert found == {"weights/weight": 1, "buffers/running_var": 1, "logits": 1}


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((2, 3), dtype=int), np.zeros(2, dtype=int), "before any softmax"),
        (np.zeros((2, 1)), np.zeros(2, dtype=int), "two classes"),
        (np.zeros((2, 3)), np.array([0, 3]), "class ids"),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), "class ids"),
        (np.array([[0.0, math.nan]]), np.array([0]), "nonfinite_counts"),
    ],
)
def test_refusals(logits: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        softmax_collapse(logits, labels, "float32")


def test_unknown_format() -> None:
    with pytest.raises(InputError, match="float16"):
        softmax_collapse(np.zeros((2, 3)), np.zeros(2, dtype=int), "int8")
