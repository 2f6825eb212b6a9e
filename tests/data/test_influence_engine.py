"""EK-FAC against closed forms, explicit matrices and brute force, in float64."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from heldout.data.influence import (
    EKFAC,
    CausalLanguageModel,
    Classification,
    FisherPass,
    Regression,
    bases,
    batches,
    corrected,
    covariances,
    dense_ggn_influence,
    find_layers,
)
from heldout.data.influence.batches import Draws
from heldout.data.influence.precondition import preconditioner


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _set(model, seed=0, scale=0.5):
    generator = _generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model.double().eval()


def _mlp(seed=0):
    return _set(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), seed)


def _rows(n, seed=1, width=4, classes=3):
    generator = _generator(seed)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, classes, (n,), generator=generator)


class _Words(nn.Module):
    """Tokens to logits of the next token through one hidden layer; causal by a running mean."""

    def __init__(self, words=7, width=5):
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.up, self.down = nn.Linear(width, 6), nn.Linear(6, width, bias=False)
        self.read = nn.Linear(width, words)

    def forward(self, x):
        h = self.table(x)
        h = h.cumsum(1) / torch.arange(1, x.shape[1] + 1, dtype=h.dtype)[:, None]
        return self.read(h + self.down(torch.tanh(self.up(h))))


def _sequences(n=5, t=6, seed=3):
    x = torch.randint(0, 7, (n, t), generator=_generator(seed))
    return x, x


def _flat_gradients(model, layers, losses):
    """One backward per example: rows of [W | b] gradients by layer, the slow and plain way."""
    rows = {name: [] for name in layers}
    for loss in losses:
        for name in layers:
            module = model.get_submodule(name)
            wanted = [module.weight] + ([module.bias] if module.bias is not None else [])
            grads = torch.autograd.grad(loss, wanted, retain_graph=True)
            w = grads[0].flatten(1)
            rows[name].append(torch.cat([w, *(g[:, None] for g in grads[1:])], 1))
    return {name: torch.stack(found) for name, found in rows.items()}


def test_one_example_is_the_dense_inverse():
    # One position and one example: G = E_y[d d^T] x a a^T exactly, so EK-FAC and K-FAC are exact.
    model = _set(nn.Sequential(nn.Linear(4, 3)))
    data, queries = _rows(1), _rows(5, seed=2)
    dense = dense_ggn_influence(model, Classification(), queries, data, damping=0.03)
    for kind in ("ekfac", "kfac"):
        fitted = EKFAC(model, Classification(), kind=kind, damping=0.03, fisher="exact").fit(data)
        np.testing.assert_allclose(fitted.scores(queries, data), dense, rtol=1e-6)


def test_independent_inputs_and_gradients_are_the_dense_inverse():
    # Unit Gaussian outputs of a linear layer: d is independent of a, G = I x E[a a^T].
    model = _set(nn.Linear(4, 3))
    x, _ = _rows(30)
    y = torch.randn(30, 3, generator=_generator(5), dtype=torch.float64)
    data, queries = (x, y), (x[:4] + 1, y[:4])
    dense = dense_ggn_influence(model, Regression(), queries, data, damping=0.2)
    for kind in ("ekfac", "kfac"):
        fitted = EKFAC(model, Regression(), kind=kind, damping=0.2, fisher="exact").fit(data)
        np.testing.assert_allclose(fitted.scores(queries, data), dense, rtol=1e-6)


def test_the_dense_inverse_by_hand():
    # Logistic regression without offset: G = mean of p(1-p) x x^T for the two logits' difference.
    model = _set(nn.Linear(2, 2, bias=False))
    x, y = _rows(6, width=2, classes=2)
    found = dense_ggn_influence(model, Classification("loss"), (x, y), (x, y), damping=0.1)
    p = model(x).softmax(1).detach()
    hessian = (
        sum(
            torch.kron(torch.diag(q) - torch.outer(q, q), torch.outer(v, v))
            for q, v in zip(p, x, strict=True)
        )
        / 6
    )
    g = ((p - F.one_hot(y, 2))[:, :, None] * x[:, None, :]).flatten(1)
    wanted = -g @ torch.linalg.inv(hessian + 0.1 * torch.eye(4, dtype=torch.float64)) @ g.t()
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_kfac_is_the_inverse_of_the_explicit_kronecker_product():
    model, data, queries = _mlp(), _rows(20), _rows(3, seed=2)
    task = Classification()
    fitted = EKFAC(model, task, kind="kfac", damping=0.01, fisher="exact").fit(data)
    layers = find_layers(model)
    sums = covariances(model, task, layers, data, FisherPass("exact"))
    by_layer = fitted.scores(queries, data, per_layer=True)
    q = _flat_gradients(model, layers, task.measure(model(queries[0]), queries[1]))
    t = _flat_gradients(model, layers, task.per_example(model(data[0]), data[1]))
    for name in layers:
        a, s = sums[name].closed()
        matrix = torch.kron(s, a)
        swapped = torch.kron(a, s)
        damped = 0.01 * torch.eye(len(matrix), dtype=matrix.dtype)
        wanted = -(q[name].flatten(1) @ torch.linalg.solve(matrix + damped, t[name].flatten(1).t()))
        wrong = -(q[name].flatten(1) @ torch.linalg.solve(swapped + damped, t[name].flatten(1).t()))
        np.testing.assert_allclose(by_layer[name], wanted, rtol=1e-8, atol=1e-12)
        assert not np.allclose(by_layer[name], wrong, rtol=0.05)  # the order of the factors counts
        assert not np.allclose(by_layer[name], -wanted, rtol=0.05)  # and so does the sign


def test_identity_is_the_dot_product_of_gradients():
    model, data, queries = _mlp(), _rows(7), _rows(3, seed=2)
    task = Classification()
    found = EKFAC(model, task, kind="identity").fit(data).scores(queries, data)
    q = _flat_gradients(model, find_layers(model), task.measure(model(queries[0]), queries[1]))
    t = _flat_gradients(model, find_layers(model), task.per_example(model(data[0]), data[1]))
    wanted = -sum(q[name].flatten(1) @ t[name].flatten(1).t() for name in q)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_diagonal_divides_by_the_mean_squared_gradient():
    model, data, queries = _mlp(), _rows(7), _rows(3, seed=2)
    task = Classification()
    fitted = EKFAC(model, task, kind="diagonal", damping=0.1, fisher="empirical").fit(data)
    q = _flat_gradients(model, find_layers(model), task.measure(model(queries[0]), queries[1]))
    t = _flat_gradients(model, find_layers(model), task.per_example(model(data[0]), data[1]))
    wanted = -sum(
        (q[k] / (t[k].square().mean(0) + 0.1)).flatten(1) @ t[k].flatten(1).t() for k in q
    )
    np.testing.assert_allclose(fitted.scores(queries, data), wanted, rtol=1e-10)
    assert fitted.factors_.layers["0"].q_a is None


@pytest.mark.parametrize("positions", [False, True], ids=["rows", "sequences"])
def test_eigenvalues_are_the_squares_of_every_examples_rotated_gradient(positions):
    model = _set(_Words()) if positions else _mlp()
    task = CausalLanguageModel() if positions else Classification()
    data = _sequences() if positions else _rows(9)
    fitted = EKFAC(model, task, fisher="empirical", batch_size=4).fit(data)
    losses = task.per_example(model(data[0]), data[1])
    grads = _flat_gradients(model, find_layers(model), losses)
    for name, layer in fitted.factors_.layers.items():
        rotated = layer.q_s.t() @ grads[name] @ layer.q_a
        assert torch.allclose(layer.eigenvalues, rotated.square().mean(0), rtol=1e-9)
        exchanged = layer.q_s @ grads[name] @ layer.q_a.t()
        assert not torch.allclose(layer.eigenvalues, exchanged.square().mean(0), rtol=0.05)


def test_scores_are_those_of_the_plain_formula_on_sequences():
    model, task = _set(_Words()), CausalLanguageModel()
    data, queries = _sequences(), _sequences(3, seed=8)
    fitted = EKFAC(model, task, damping="0.1mean").fit(data)
    t = _flat_gradients(model, find_layers(model), task.per_example(model(data[0]), data[1]))
    q = _flat_gradients(model, find_layers(model), task.measure(model(queries[0]), queries[1]))
    wanted = 0
    for name, f in fitted.factors_.layers.items():
        damping = 0.1 * float(f.eigenvalues.mean())
        inner = (f.q_s.t() @ q[name] @ f.q_a) / (f.eigenvalues + damping)
        wanted = wanted - (f.q_s @ inner @ f.q_a.t()).flatten(1) @ t[name].flatten(1).t()
    np.testing.assert_allclose(fitted.scores(queries, data), wanted, rtol=1e-9)


def test_layers_and_tokens_add_up_and_low_rank_comes_near():
    model, data, queries = _set(_Words()), _sequences(), _sequences(3, seed=8)
    fitted = EKFAC(model, CausalLanguageModel()).fit(data)
    total = fitted.scores(queries, data)
    by_layer = fitted.scores(queries, data, per_layer=True)
    by_token = fitted.scores(queries, data, per_token=True)
    both = fitted.scores(queries, data, per_layer=True, per_token=True)
    np.testing.assert_allclose(sum(by_layer.values()), total, rtol=1e-9)
    np.testing.assert_allclose(by_token.sum(2), total, rtol=1e-9)
    np.testing.assert_allclose(sum(both.values()), by_token, rtol=1e-9)
    assert np.abs(by_token[:, :, -1]).max() == 0  # the last token predicts nothing
    np.testing.assert_allclose(fitted.scores(queries, data, rank=7), total, rtol=1e-8)
    low = fitted.scores(queries, data, rank=2, per_token=True).sum(2)
    assert 0.9 < np.corrcoef(low.ravel(), total.ravel())[0, 1] < 1 - 1e-9


def test_self_influence_is_the_diagonal():
    model, data = _mlp(), _rows(9)
    fitted = EKFAC(model, Classification("loss"), fisher="exact").fit(data)
    pairs = fitted.scores(data, data)  # of the loss: - g^T H^-1 g
    np.testing.assert_allclose(fitted.self_influence(data), -np.diag(pairs), rtol=1e-9)
    words, text = _set(_Words()), _sequences()
    fitted = EKFAC(words, CausalLanguageModel()).fit(text)
    pairs = fitted.scores(text, text)  # of log p: the loss with its sign turned
    np.testing.assert_allclose(fitted.self_influence(text), np.diag(pairs), rtol=1e-9)


@pytest.mark.parametrize("memory", [2**28, 0, 700], ids=["kept", "two passes", "query by query"])
@pytest.mark.parametrize("size", [1, 4, 64])
def test_batches_and_memory_change_nothing(size, memory):
    model, data, queries = _set(_Words()), _sequences(9), _sequences(3, seed=8)
    wanted = EKFAC(model, CausalLanguageModel()).fit(data).scores(queries, data)
    fitted = EKFAC(model, CausalLanguageModel(), batch_size=size, memory=memory).fit(data)
    np.testing.assert_allclose(fitted.scores(queries, data), wanted, rtol=1e-8)
    given = [(data[0][i : i + size], data[1][i : i + size]) for i in range(0, 9, size)]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=size)
    assert np.allclose(fitted.scores(queries, given), wanted)
    assert np.allclose(
        EKFAC(model, CausalLanguageModel()).fit(loader).scores(queries, loader), wanted
    )


def test_order_of_the_examples_is_the_order_of_the_scores():
    model, (x, y), queries = _mlp(), _rows(20), _rows(3, seed=2)
    order = torch.randperm(20, generator=_generator(4))
    fitted = EKFAC(model, Classification(), fisher="exact").fit((x, y))
    turned = EKFAC(model, Classification(), fisher="exact").fit((x[order], y[order]))
    a, b = fitted.scores(queries, (x, y)), turned.scores(queries, (x[order], y[order]))
    np.testing.assert_allclose(a[:, order], b, rtol=1e-8)


def test_sampled_labels_converge_to_the_exact_fisher():
    model, (x, y) = _mlp(), _rows(10)
    exact = EKFAC(model, Classification(), fisher="exact").fit((x, y)).factors_.layers
    errors = []
    for copies in (20, 2000):
        many = (x.repeat(copies, 1), y.repeat(copies))
        how = FisherPass("sampled", batch_size=5000)
        layers = find_layers(model)
        squares, n = corrected(model, Classification(), layers, many, how, exact)
        errors.append(max(
            float((squares[k] / n - exact[k].eigenvalues).norm() / exact[k].eigenvalues.norm())
            for k in exact
        ))  # fmt: skip
    assert errors[1] < 0.02 and errors[1] < 0.35 * errors[0]  # 1 / sqrt(100), with room
    empirical = EKFAC(model, Classification(), fisher="empirical").fit((x, y)).factors_.layers
    off = (empirical["0"].eigenvalues - exact["0"].eigenvalues).norm()
    assert off > 0.1 * exact["0"].eigenvalues.norm()  # which the data's own labels do not


def test_convolutions_are_matrices_over_patches():
    model = _set(nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh(),
        nn.Conv2d(3, 2, 2, padding="same", padding_mode="circular", bias=False),
        nn.Flatten(), nn.Linear(18, 3),
    ))  # fmt: skip
    x = torch.randn(6, 2, 5, 5, generator=_generator(), dtype=torch.float64)
    data, task = (x, torch.arange(6) % 3), Classification()
    found = EKFAC(model, task, kind="identity").fit(data).scores(data, data, per_layer=True)
    q = _flat_gradients(model, find_layers(model), task.measure(model(x), data[1]))
    t = _flat_gradients(model, find_layers(model), task.per_example(model(x), data[1]))
    for name in found:
        wanted = -q[name].flatten(1) @ t[name].flatten(1).t()
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-12)


def test_padding_a_batch_changes_nothing():
    model, (x, y) = _set(_Words()), _sequences(6)
    mask = torch.ones_like(x)
    plain = EKFAC(model, CausalLanguageModel()).fit((x, y, mask))
    wide = F.pad(x, (0, 3), value=2), F.pad(y, (0, 3), value=-100), F.pad(mask, (0, 3), value=0)
    padded = EKFAC(model, CausalLanguageModel(), batch_size=4).fit(wide)
    for name, layer in plain.factors_.layers.items():
        assert torch.allclose(layer.eigenvalues, padded.factors_.layers[name].eigenvalues)
    a, b = plain.scores((x, y), (x, y), per_token=True), padded.scores(wide, wide, per_token=True)
    np.testing.assert_allclose(a, b[:, :, :6], rtol=1e-8)
    assert np.abs(b[:, :, 6:]).max() == 0
    how, layers = FisherPass(), find_layers(model)
    counted = covariances(model, CausalLanguageModel(), layers, wide, how)["up"]
    blind = covariances(model, CausalLanguageModel(), layers, wide[:2], how)["up"]
    assert counted.positions == 36 and blind.positions == 54  # without the mask it would count
    assert not torch.allclose(counted.closed()[0], blind.closed()[0])


@pytest.mark.parametrize("fisher", ["sampled", "empirical"])
@pytest.mark.parametrize("given", ["mask and -100", "mask", "-100"])
def test_padding_is_exact_however_it_is_told(fisher, given):
    # Oracle: each row alone, cut to its length, so that there is no padding at all.
    model, task, (x, _) = _set(_Words()), CausalLanguageModel(), _sequences()
    lengths = torch.tensor([6, 4, 3, 5, 2])
    mask = torch.arange(6) < lengths[:, None]
    y = x.masked_fill(~mask, -100) if "-100" in given else x
    data = (x, y, mask) if "mask" in given else (x, y)
    rows = [(x[i : i + 1, :n], x[i : i + 1, :n]) for i, n in enumerate(lengths)]
    found = EKFAC(model, task, fisher=fisher, damping=0.1).fit(data)
    alone = EKFAC(model, task, fisher=fisher, damping=0.1).fit(rows)
    if fisher == "empirical":  # a sampled label's draw is of its place in a row, of any width
        for name, layer in alone.factors_.layers.items():
            assert torch.allclose(layer.eigenvalues, found.factors_.layers[name].eigenvalues)
    found.factors_ = alone.factors_
    np.testing.assert_allclose(found.scores(data, data), alone.scores(rows, rows), rtol=1e-7)
    np.testing.assert_allclose(found.self_influence(data), alone.self_influence(rows), rtol=1e-7)
    assert np.abs(found.scores(data, data, per_token=True)[:, 4, 2:]).max() == 0


def test_a_mask_without_a_position_is_refused():
    x, y = _sequences()
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[3] = False
    for wrong in (mask, mask & False):
        with pytest.raises(ValueError, match="without a True for example"):
            EKFAC(_set(_Words()), CausalLanguageModel()).fit((x, y, wrong))


def test_parts_of_the_data_add_up():
    model, (x, y), task = _mlp(), _rows(20), Classification()
    layers = find_layers(model)
    whole = covariances(model, task, layers, (x, y), FisherPass())
    one = covariances(model, task, layers, (x[:7], y[:7]), FisherPass())
    two = covariances(model, task, layers, (x[7:], y[7:]), FisherPass(offset=7))
    for name in layers:
        assert torch.allclose(one[name].s.triu() + two[name].s.triu(), whole[name].s.triu())
        assert one[name].positions + two[name].positions == whole[name].positions
    found = bases(whole)
    all_, n = corrected(model, task, layers, (x, y), FisherPass(), found)
    left, m = corrected(model, task, layers, (x[:7], y[:7]), FisherPass(), found)
    right, k = corrected(model, task, layers, (x[7:], y[7:]), FisherPass(offset=7), found)
    assert n == m + k == 20
    assert all(torch.allclose(left[name] + right[name], all_[name]) for name in layers)


def test_float32_keeps_to_the_plain_formula():
    # Curvature over six decades, as in trained networks: the staircase is used, nothing cancels.
    model = nn.Sequential(nn.Linear(40, 70), nn.ReLU(), nn.Linear(70, 10)).eval()
    _set(model, scale=0.4).float()
    x = torch.randn(300, 40, generator=_generator()) * torch.logspace(1, -3, 40)
    y = model(x).argmax(1)
    fitted = EKFAC(model, Classification("log_prob")).fit((x, y))
    wide = copy.deepcopy(model).double()
    exact = EKFAC(wide, Classification("log_prob")).fit((x.double(), y))
    exact.factors_.layers = {
        k: type(f)(f.eigenvalues.double(), f.q_a.double(), f.q_s.double())
        for k, f in fitted.factors_.layers.items()
    }
    first = fitted.factors_.layers["0"]
    solver = preconditioner(first, first.damping("0.1mean"))
    assert 0 < sum(s.weights.numel() for s in solver.steps) < 0.9 * 70 * 41
    a = fitted.scores((x[:20], y[:20]), (x, y))
    b = exact.scores((x[:20].double(), y[:20]), (x.double(), y))
    assert np.linalg.norm(a - b) / np.linalg.norm(b) < 1e-5


def test_sampled_labels_are_the_examples_own():
    model, (x, y) = _mlp(), _rows(40)
    drawn = []
    for size in (7, 40):
        parts = []
        for b in batches((x, y), size):
            parts.append(Classification().sample_targets(model(b.inputs), b.targets, Draws(3, b)))
        drawn.append(torch.cat(parts))
    assert torch.equal(*drawn)
    many = batches((x[:1].repeat(20000, 1), y[:1].repeat(20000)), 20000)
    b = next(many)
    shares = (
        torch.bincount(
            Classification().sample_targets(model(b.inputs), b.targets, Draws(0, b)), minlength=3
        )
        / 20000
    )
    assert torch.allclose(shares.double(), model(x[:1])[0].softmax(0).detach(), atol=0.015)
