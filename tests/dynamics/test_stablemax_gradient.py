import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.dynamics.stablemax import StableMaxCrossEntropy
from heldout.dynamics.stablemax_gradient import stablemax_gradient


def by_autograd(z, y):
    leaf = z.detach().double().requires_grad_()
    return torch.autograd.grad(StableMaxCrossEntropy("sum")(leaf, y), leaf)[0]


def drawn(n=64, c=11, scale=3.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n, c, generator=rng, dtype=torch.float64) * scale
    return z, torch.randint(c, (n,), generator=rng)


def relative(found, true):
    return float(((found.double() - true) / true).abs().max())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
def test_equals_autograd(scale):
    z, y = drawn(scale=scale)
    found, true = stablemax_gradient(z, y), by_autograd(z, y)
    # the reference cancels at the label, so it is compared on the scale of its own terms
    assert (found - true).abs().max() <= 1e-13 * true.abs().max().clamp(min=1)


def test_equals_finite_differences():
    z, y = drawn(n=3, c=4)
    loss, h = StableMaxCrossEntropy("sum"), 1e-6
    found = stablemax_gradient(z, y)
    for i in range(3):
        for j in range(4):
            e = torch.zeros_like(z)
            e[i, j] = h
            slope = float(loss(z + e, y) - loss(z - e, y)) / (2 * h)
            assert float(found[i, j]) == pytest.approx(slope, abs=1e-8)


def test_at_zero_both_branches_have_slope_one():
    found = stablemax_gradient(torch.zeros(1, 2), torch.tensor([0]))
    assert found.tolist() == [[-0.5, 0.5]]


def fitted(gap=1e4, n=40, c=10):
    z, y = drawn(n, c, scale=gap)
    z = -z.abs() - gap
    z[torch.arange(n), y] *= -1
    return z, y


def test_float32_is_right_to_its_last_places_on_fitted_examples():
    z, y = fitted()
    z = z.float()
    exact = stablemax_gradient(z.double(), y)
    assert relative(stablemax_gradient(z, y, dtype=torch.float32), exact) < 2e-6
    assert relative(stablemax_gradient(z, y), exact) < 1e-7


def test_the_difference_of_shares_would_lose_the_label_in_float32():
    z, y = fitted()
    z, rows = z.float(), torch.arange(len(y))
    r = 1 / (1 - z.clamp(max=0))
    s = r + z.clamp(min=0)
    naive = (r**2 / s.sum(1, keepdim=True))[rows, y] - (r**2 / s)[rows, y]
    exact = stablemax_gradient(z.double(), y)[rows, y]
    assert relative(naive, exact) > 0.5


def test_huge_logits_stay_finite_in_float32():
    found = stablemax_gradient(
        torch.tensor([[1e30, -1e30, 0.0]]), torch.tensor([0]), dtype=torch.float32
    )
    assert bool(torch.isfinite(found).all()) and found[0, 2] > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 100), st.integers(0, 99))
def test_signs_and_classes_in_any_order(n, c, scale, seed):
    z, y = drawn(n, c, scale, seed)
    found = stablemax_gradient(z, y)
    at = torch.nn.functional.one_hot(y, c).bool()
    assert bool((found[at] <= 0).all()) and bool((found[~at] > 0).all())
    order = torch.randperm(c, generator=torch.Generator().manual_seed(seed))
    moved = stablemax_gradient(z[:, order], torch.argsort(order)[y])
    assert torch.allclose(moved, found[:, order], rtol=1e-12, atol=0)


def test_ignored_labels_have_no_gradient_and_the_logits_are_untouched():
    z, y = drawn(5, 3)
    before, y[2] = z.clone(), -100
    found = stablemax_gradient(z.requires_grad_(), y)
    assert not found.requires_grad and bool((found[2] == 0).all())
    keep = y >= 0
    assert torch.equal(found[keep], stablemax_gradient(z[keep], y[keep]))
    assert torch.equal(z.detach(), before)


@pytest.mark.parametrize(
    ("z", "y", "says"),
    [
        (torch.zeros(2, 3).half(), torch.zeros(2).long(), "float16"),
        (torch.zeros(2, 3).long(), torch.zeros(2).long(), "int64"),
        (torch.full((2, 3), torch.nan), torch.zeros(2).long(), "not finite"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "0 to 3"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "-1 to 0"),
        (torch.zeros(2, 3), torch.zeros(2), "float32"),
        (torch.zeros(2, 3), torch.zeros(3).long(), r"\(3,\)"),
        (torch.zeros(2, 3, 4), torch.zeros(2).long(), r"\(2, 3, 4\)"),
    ],
)
def test_bad_input(z, y, says):
    with pytest.raises(InputError, match=says):
        stablemax_gradient(z, y)


def test_a_type_that_is_too_coarse_to_compute_in():
    with pytest.raises(InputError, match="bfloat16"):
        stablemax_gradient(torch.zeros(1, 2), torch.tensor([0]), dtype=torch.bfloat16)
