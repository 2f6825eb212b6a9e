"""Refined scores against the dense solution, explicit matrices, and what must not matter."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heldout.core.errors import InputError
from heldout.data.influence import (
    EKFAC,
    CausalLanguageModel,
    Classification,
    FisherPass,
    conjugate_gradients,
    dense_ggn_influence,
    find_layers,
)
from heldout.data.influence.curvature import DampedCurvature, mean_eigenvalue
from heldout.data.influence.taps import tapping


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _set(model, seed=0):
    with torch.no_grad():
        for p, s in zip(model.parameters(), range(seed, seed + 99), strict=False):
            p.copy_(0.6 * torch.randn(p.shape, generator=_generator(s), dtype=p.dtype))
    return model.double().eval()


def _mlp(seed=0):
    return _set(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), seed)


def _rows(n, seed=1):
    x = torch.randn(n, 4, generator=_generator(seed), dtype=torch.float64)
    return x * torch.tensor([3.0, 1, 0.5, 0.2]), torch.randint(0, 3, (n,), generator=_generator(9))


class _Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 5)
        self.up, self.read = nn.Linear(5, 6), nn.Linear(6, 7, bias=False)

    def forward(self, x):
        h = self.table(x).cumsum(1)
        return self.read(torch.tanh(self.up(h)))


def _text(n=6, seed=3):
    x = torch.randint(0, 7, (n, 5), generator=_generator(seed))
    return x, x


CASES = {
    "rows": (_mlp, Classification(), _rows(25), _rows(4, seed=2), "exact"),
    "sampled": (_mlp, Classification(), _rows(25), _rows(4, seed=2), "sampled"),
    "text": (lambda: _set(_Words()), CausalLanguageModel(), _text(), _text(3, 8), "sampled"),
}


@pytest.fixture(params=CASES)
def case(request):
    made, task, data, queries, fisher = CASES[request.param]
    model = made()
    fitted = EKFAC(model, task, fisher=fisher, damping="0.3mean").fit(data)
    at = 0.3 * mean_eigenvalue(fitted.factors_.layers)
    dense = dense_ggn_influence(model, task, queries, data, damping=at, fisher=fisher)
    return fitted, data, queries, dense


def _off(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def test_many_steps_are_the_dense_solution(case):
    fitted, data, queries, dense = case
    plain = _off(fitted.scores(queries, data), dense)
    errors = [_off(fitted.scores(queries, data, refine=k), dense) for k in (4, 8, 80)]
    assert errors[2] < 1e-5 and fitted.residuals_.max() < 1e-4
    assert errors[1] < errors[0] < plain and plain > 0.05  # EK-FAC by itself is not


def test_a_core_of_all_directions_is_the_dense_solution(case):
    fitted, data, queries, dense = case
    p = sum(f.eigenvalues.numel() for f in fitted.factors_.layers.values())
    whole = fitted.scores(queries, data, core=fitted.core(data, p))
    assert _off(whole, dense) < 1e-8
    half = _off(fitted.scores(queries, data, core=fitted.core(data, p // 2)), dense)
    assert half < _off(fitted.scores(queries, data, core=fitted.core(data, 1)), dense)
    refined = fitted.scores(queries, data, refine=2, core=fitted.core(data, p // 2))
    assert _off(refined, dense) < min(half, _off(fitted.scores(queries, data, refine=2), dense))


def test_a_core_of_one_is_ekfac_with_one_damping(case):
    # The largest eigenvalue alone has nothing beside it.
    fitted, data, queries, _ = case
    core = fitted.core(data, 1)
    layers = fitted.factors_.layers
    top = max(float(f.eigenvalues.max()) for f in layers.values())
    assert core.matrix.shape == (1, 1) and float(core.matrix) == pytest.approx(top)
    found = fitted.scores(queries, data, core=core)
    fitted.damping = 0.3 * mean_eigenvalue(layers)
    np.testing.assert_allclose(found, fitted.scores(queries, data), rtol=1e-8)


def test_products_are_those_of_the_explicit_matrix():
    model, (x, y), task = _mlp(), _rows(7), Classification()
    layers = find_layers(model)
    log_p, rows = model(x).log_softmax(1), []
    for i in range(7):
        for k in range(3):
            grads = torch.autograd.grad(log_p[i, k], list(model.parameters()), retain_graph=True)
            parts = [torch.cat([grads[j], grads[j + 1][:, None]], 1).flatten() for j in (0, 2)]
            rows.append(log_p[i, k].exp().sqrt().detach() * torch.cat(parts))
    g = torch.stack(rows)
    v = torch.randn(2, 51, generator=_generator(), dtype=torch.float64)
    wanted = v @ g.t() @ g / 7 + 0.5 * v
    parts = {"0": v[:, :30].reshape(2, 6, 5), "2": v[:, 30:].reshape(2, 3, 7)}
    for memory in (0, 2**20):
        with tapping(model, layers) as taps:
            how = FisherPass("exact", batch_size=3)
            matrix = DampedCurvature(taps, task, (x, y), how, 0.5, memory)
            first, again = matrix.times(parts), matrix.times(parts)
        for found in (first, again):
            flat = torch.cat([found["0"].flatten(1), found["2"].flatten(1)], 1)
            assert torch.allclose(flat, wanted, rtol=1e-9)
        assert (matrix.stash.pairs is None) == (memory == 0)


def test_layers_are_solved_for_together():
    model, data, queries = _mlp(), _rows(25), _rows(4, seed=2)
    task, at = Classification(), 0.02
    fitted = EKFAC(model, task, fisher="exact", damping=at).fit(data)
    alone = sum(
        dense_ggn_influence(model, task, queries, data, damping=at, layers=[name])
        for name in find_layers(model)
    )
    together = dense_ggn_influence(model, task, queries, data, damping=at)
    found = fitted.scores(queries, data, refine=80)
    assert _off(found, together) < 1e-4 and _off(found, alone) > 0.05


def test_memory_and_batches_change_nothing(case):
    fitted, data, queries, _ = case
    wanted = fitted.scores(queries, data, refine=3)
    left = fitted.residuals_
    for memory, size in ((0, 64), (3000, 2), (2**28, 5)):
        fitted.memory, fitted.batch_size = memory, size
        np.testing.assert_allclose(fitted.scores(queries, data, refine=3), wanted, rtol=1e-7)
        np.testing.assert_allclose(fitted.residuals_, left, rtol=1e-7)
    given = [(data[0][i : i + 4], data[1][i : i + 4]) for i in range(0, len(data[0]), 4)]
    np.testing.assert_allclose(fitted.scores(queries, given, refine=3), wanted, rtol=1e-7)


def test_layers_and_positions_add_up():
    model, data, queries = _set(_Words()), _text(), _text(3, 8)
    fitted = EKFAC(model, CausalLanguageModel()).fit(data)
    total = fitted.scores(queries, data, refine=3)
    layers = fitted.scores(queries, data, refine=3, per_layer=True)
    tokens = fitted.scores(queries, data, refine=3, per_token=True)
    assert set(layers) == {"up", "read"} and tokens.shape == (3, 6, 5)
    np.testing.assert_allclose(sum(layers.values()), total, rtol=1e-9)
    np.testing.assert_allclose(tokens.sum(2), total, rtol=1e-9)
    # padding is no position: of the loss, of the curvature, of the scores
    wide = F.pad(data[0], (0, 2)), F.pad(data[1], (0, 2), value=-100)
    mask = F.pad(torch.ones_like(data[0]), (0, 2))
    padded = fitted.scores(queries, (*wide, mask), refine=3, per_token=True)
    np.testing.assert_allclose(padded[:, :, :5], tokens, rtol=1e-7, atol=1e-12)
    assert np.abs(padded[:, :, 5:]).max() == 0


def test_the_curvature_of_other_data_is_another():
    fitted, data, queries = _fitted()
    few = data[0][:5], data[1][:5]
    found = fitted.scores(queries, data, refine=80, refine_on=few)
    at = 0.3 * mean_eigenvalue(fitted.factors_.layers)
    dense = dense_ggn_influence(
        fitted.model, fitted.task, queries, data, damping=at, fitted=few, fisher="exact"
    )
    assert _off(found, dense) < 1e-4
    assert _off(fitted.scores(queries, data, refine=80), dense) > 0.05


def _fitted(**options):
    model, data = _mlp(), _rows(25)
    options = {"fisher": "exact", "damping": "0.3mean"} | options
    return EKFAC(model, Classification(), **options).fit(data), data, _rows(4, seed=2)


def test_plain_conjugate_gradients_need_more_steps():
    # "identity" is no preconditioner: EK-FAC's part in the speed.
    fitted, data, queries = _fitted()
    at = 0.3 * mean_eigenvalue(fitted.factors_.layers)
    dense = dense_ggn_influence(fitted.model, fitted.task, queries, data, damping=at)
    plain, _, _ = _fitted(kind="identity", damping=at)
    with_, without = (_off(f.scores(queries, data, refine=4), dense) for f in (fitted, plain))
    assert with_ < 0.7 * without
    assert _off(plain.scores(queries, data, refine=80), dense) < 1e-4


def test_the_solver_stops_when_there_is_nothing_left():
    side = {"a": torch.eye(2, dtype=torch.float64)[None], "b": torch.zeros(1, 1, 1)}
    calls = []

    def times(v):
        calls.append(0)
        return {k: 2 * t for k, t in v.items()}

    x, left = conjugate_gradients(times, lambda v: v, side, 50)
    assert torch.allclose(x["a"], side["a"] / 2) and len(calls) == 1 and left[0] < 1e-12
    x, left = conjugate_gradients(times, lambda v: v, {"a": torch.zeros(2, 1, 1)}, 5)
    assert float(x["a"].abs().max()) == 0 and left.tolist() == [0, 0]


def test_float32_comes_as_near_as_its_digits():
    model, data, queries = _mlp(), _rows(25), _rows(4, seed=2)
    narrow = copy.deepcopy(model).float()
    fitted = EKFAC(narrow, Classification(), fisher="exact").fit((data[0].float(), data[1]))
    found = fitted.scores((queries[0].float(), queries[1]), (data[0].float(), data[1]), refine=60)
    wide, _, _ = _fitted(damping="0.1mean")
    assert _off(found, wide.scores(queries, data, refine=80)) < 1e-3


def test_the_model_is_handed_back():
    fitted, data, queries = _fitted()
    before = {k: v.clone() for k, v in fitted.model.state_dict().items()}
    state = torch.get_rng_state()
    fitted.scores(queries, data, refine=2, core=fitted.core(data, 5))
    assert all(torch.equal(v, before[k]) for k, v in fitted.model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in fitted.model.parameters())
    assert not any(m._forward_hooks for m in fitted.model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_refusals():
    fitted, data, queries = _fitted()
    with pytest.raises(InputError, match="rank=3 with refined"):
        fitted.scores(queries, data, refine=2, rank=3)
    with pytest.raises(InputError, match="refine=-1"):
        fitted.scores(queries, data, refine=-1)
    with pytest.raises(InputError, match="core of 0 directions"):
        fitted.core(data, 0)
    with pytest.raises(InputError, match="not fitted"):
        EKFAC(_mlp(), Classification()).core(data, 3)
    flat, _, _ = _fitted(kind="identity", damping="0.1mean")
    with pytest.raises(InputError, match="positive damping"):
        flat.scores(queries, data, refine=2)
    with pytest.raises(InputError, match="curvature up to 0"):
        flat.core(data, 3)
    broken = data[0] * torch.nan, data[1]
    with pytest.raises(InputError, match="not finite"):
        fitted.scores(queries, data, refine=2, refine_on=broken)
