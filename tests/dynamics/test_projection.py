"""Every way in which gradients are projected, against the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heldout.core.seeds import torch_stream
from heldout.dynamics.projection import perpendicular, project


def pair(
    n: int | tuple[int, ...], share: float = 0.3, seed: int = 0, mean: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Weights, and a gradient of norm 1 with this share of its square along them."""
    rng = torch_stream(seed, "projection")
    shape = (n,) if isinstance(n, int) else n
    w = torch.randn(shape, generator=rng) + mean
    v = torch.randn(shape, generator=rng)
    if w.numel() == 1:
        return w, v
    v = v - (v * w).sum() / (w * w).sum() * w
    return w, math.sqrt(share) * w / w.norm() + math.sqrt(1 - share) * v / v.norm()


def right(w: Tensor, g: Tensor) -> Tensor:
    w, g = w.double(), g.double()
    rest = g - (w * g).sum() / ((w * w).sum() + 1e-30) * w
    return rest * g.norm() / rest.norm()


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def projected(w: Tensor, g: Tensor) -> Tensor:
    out = g.clone(memory_format=torch.preserve_format)
    project([w], [out])
    return out


@pytest.mark.parametrize("n", [2, 4095, 4096, 40_000, 300_000])
@pytest.mark.parametrize("share", [0.0, 0.48, 0.52, 0.98, 0.995, 0.9999])
@pytest.mark.parametrize("mean", [0.0, 2.0])
def test_sizes_and_angles(n: int, share: float, mean: float) -> None:
    w, g = pair(n, share, mean=mean)
    found = projected(w, g)
    assert off(found, right(w, g)) < 2e-6
    assert off(perpendicular(g, w), right(w, g)) < 1e-7  # what other devices use
    cosine = float((found.double() * w.double()).sum() / w.double().norm() / found.double().norm())
    assert abs(cosine) < 2e-6


@given(st.floats(-22, 18), st.floats(-22, 18), st.sampled_from([64, 8192]))
@settings(max_examples=25, deadline=None)
def test_any_magnitude_within_float32(weights: float, grads: float, n: int) -> None:
    """Squares of 1e-22 and 1e18 * sqrt(n) leave float32: these go through float64."""
    w, g = pair(n)
    w, g = w * 10**weights, g * 10**grads
    assert off(projected(w, g), right(w, g)) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("n", [500, 9000])
def test_other_types(dtype: torch.dtype, n: int) -> None:
    w, g = (t.to(dtype) for t in pair(n))
    found = projected(w, g)
    assert found.dtype == dtype
    assert off(found, right(w, g)) < max(2e-6, torch.finfo(dtype).eps)
    mixed = projected(w.float(), g)  # float32 weights, gradients of another type
    assert off(mixed, right(w, g)) < max(2e-6, torch.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (24, 16, 5, 5)])
def test_strides_do_not_matter(shape: tuple[int, ...]) -> None:
    w, g = pair(shape)
    wanted = right(w, g)
    last = torch.channels_last
    for a in (w, w.to(memory_format=last)):
        for b in (g, g.to(memory_format=last)):
            found = projected(a, b)
            assert found.stride() == b.stride()
            assert off(found, wanted) < 2e-6


def test_many_at_once_are_each_by_itself_in_any_order() -> None:
    sizes = [1, 0, 7, 5000, 300, 16384, 3, 12_000, 4000, 4000, 4000, 4000, 4000, 1, 40_000]
    pairs = [pair(n, seed=i) if n else (torch.ones(0), torch.ones(0)) for i, n in enumerate(sizes)]
    together = [g.clone() for _, g in pairs]
    project([w for w, _ in pairs], together)
    for (w, g), found in zip(pairs, together, strict=True):
        alone = projected(w, g)
        assert torch.equal(found, alone)
        if len(w) > 1:
            assert off(found, right(w, g)) < 2e-6
    backwards = [g.clone() for _, g in reversed(pairs)]
    project([w for w, _ in reversed(pairs)], backwards)
    for one, other in zip(together, reversed(backwards), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n", [50, 6000])
def test_degenerate(n: int) -> None:
    w, g = pair(n)
    nothing = torch.zeros(n)
    assert torch.equal(projected(nothing, g), g)
    assert torch.equal(projected(w, nothing), nothing)
    assert not projected(w, 3 * w).any()
    for bad in (math.nan, math.inf):
        broken = g.clone()
        broken[0] = bad
        assert torch.equal(projected(w, broken).isnan(), broken.isnan())  # left as it is
        weights = w.clone()
        weights[0] = bad
        assert not bool(projected(weights, g).isfinite().all())


def test_neighbours_of_what_is_not_finite_are_not_touched_by_it() -> None:
    (w, g), (v, h) = pair(50), pair(60, seed=1)
    grads = [torch.full_like(g, math.nan), h.clone()]
    project([w, v], grads)
    assert bool(grads[0].isnan().all()) and off(grads[1], right(v, h)) < 2e-6
