"""Models, data, targets and settings that the influence engine refuses."""

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
    Regression,
    dense_ggn_influence,
    find_layers,
    left_out,
)
from heldout.data.influence.taps import tapping

from .small_fit import X, Y, refused, small_net


class _Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.read = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.read(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.read = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.read.weight = self.table.weight

    def forward(self, x):
        return self.read(self.table(x))


class _Loss(Classification):
    """Cross-entropy made wrong in one way."""

    def __init__(self, change):
        object.__setattr__(self, "change", change)
        object.__setattr__(self, "on", "margin")

    def per_example(self, outputs, targets):
        return self.change(F.cross_entropy(outputs, targets, reduction="none"))


def test_models_that_cannot_be_watched():
    task = Classification()
    plain = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4)).eval()
    refused("no supported layers.*Embedding.*nn.Linear.*per_example_gradients",
             lambda: EKFAC(plain, task).fit((X, Y)))  # fmt: skip
    refused("training mode.*eval", lambda: EKFAC(small_net().train(), task).fit((X, Y)))
    half = small_net(nn.Linear(4, 3), nn.Dropout(0.5))
    half[1].train()
    refused("training mode", lambda: EKFAC(half, task).fit((X, Y)))
    refused(
        "DataParallel.*module", lambda: EKFAC(nn.DataParallel(small_net()).eval(), task).fit((X, Y))
    )
    refused("torch.nn.Module", lambda: EKFAC("model", task).fit((X, Y)))
    refused(
        "layers=.*names or patterns", lambda: EKFAC(small_net(), task, layers=["9"]).fit((X, Y))
    )
    grouped = small_net(nn.Conv2d(2, 2, 1, groups=2), nn.Flatten(), nn.Linear(2, 3))
    assert list(find_layers(grouped)) == ["2"]
    assert left_out(grouped, find_layers(grouped)) == {"0.weight": 2, "0.bias": 2}
    recurrent = nn.LSTM(4, 3).eval()
    refused("parameters are those of LSTM", lambda: EKFAC(recurrent, task).fit((X, Y)))


def test_inputs_that_the_model_cannot_take():
    net, task = small_net(), Classification()
    refused("float64 .2, 4.*weights are torch.float32.*x.to",
             lambda: EKFAC(net, task).fit((X.double(), Y)))  # fmt: skip
    fitted = EKFAC(net, task).fit((X, Y))
    assert fitted.left_out_ == {}
    refused("float32 .12, 2.*mat1 and mat2", lambda: fitted.scores((X[:, :2], Y), (X, Y)))
    words = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3)).eval()
    refused("int64 .3,.*out of range", lambda: EKFAC(words, task).fit((torch.arange(3) + 1, Y[:3])))
    refused("inputs.*unexpected keyword", lambda: EKFAC(net, task).fit(({"x": X}, Y)))


class _Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.read = nn.Linear(4, 3)

    def forward(self, one, two):
        return self.read(one + two)


def test_a_model_of_two_inputs():
    net, task = _Sum().eval(), Classification()
    whole, cut = ((X, X), Y), [((x, x), y) for x, y in zip(X.split(5), Y.split(5), strict=True)]
    found = EKFAC(net, task, batch_size=5).fit(whole).scores(whole, whole)
    wanted = EKFAC(net, task).fit(cut).scores(tuple(cut), cut)  # a tuple of three is three batches
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    refused("12 inputs and 5 beside", lambda: EKFAC(net, task).fit(((X, X[:5]), Y)))
    refused("12 inputs and 5 beside", lambda: EKFAC(net, task).fit(({"a": X, "b": X[:5]}, Y)))


def test_targets_that_are_no_tokens():
    task = CausalLanguageModel()
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6)).eval()
    ids = torch.arange(12).reshape(3, 4) % 6
    for y in (ids.int(), ids.float(), ids[:, 1:], ids[:, 0]):
        refused("targets of type.*int64 token ids", lambda y=y: EKFAC(net, task).fit((ids, y)))
    for y in (ids + 1, ids - 1):
        refused("token ids from.*-100", lambda y=y: EKFAC(net, task).fit((ids, y)))
    refused(".n, T, V.*Classification", lambda: EKFAC(small_net(), task).fit((X, Y)))


@pytest.mark.slow
def test_a_compiled_model():
    compiled = torch.compile(small_net())
    refused("OptimizedModule.*_orig_mod", lambda: EKFAC(compiled, Classification()).fit((X, Y)))


def test_layers_with_several_uses():
    task = Classification()
    twice = _Twice().eval()
    refused("'inner' called more than once.*shared=True", lambda: EKFAC(twice, task).fit((X, Y)))
    fitted = EKFAC(twice, task, kind="identity", shared=True).fit((X, Y))
    found = fitted.scores((X, Y), (X, Y), per_layer=True)["inner"]
    grads = []
    for of in (task.measure, task.per_example):
        values = of(twice(X), Y)
        rows = [torch.autograd.grad(v, [twice.inner.weight, twice.inner.bias], retain_graph=True)
                for v in values]  # fmt: skip
        grads.append(torch.stack([torch.cat([w.flatten(), b]) for w, b in rows]))
    # both uses are one gradient
    np.testing.assert_allclose(found, -(grads[0] @ grads[1].t()), rtol=2e-4, atol=1e-6)

    tied, tokens = _Tied().eval(), torch.arange(6)
    refused("another module uses.*tied", lambda: EKFAC(tied, task).fit((tokens, tokens)))
    EKFAC(tied, task, shared=True).fit((tokens, tokens))  # this use alone, on request

    unused = small_net()
    unused.spare = nn.Linear(2, 2)
    unused.forward = lambda x: unused[2](unused[1](unused[0](x)))
    refused("'spare'.*not called", lambda: EKFAC(unused.eval(), task).fit((X, Y)))
    EKFAC(unused, task, layers=["0", "2"]).fit((X, Y))


def test_targets_and_settings_that_no_task_has():
    net, task = small_net(), Classification()
    refused("on='foo'.*margin", lambda: Classification("foo"))
    classes = net(X).shape[1]
    for y in (Y - 100, Y + classes, torch.full_like(Y, -100)):
        refused("class ids from.*count classes from 0", lambda y=y: EKFAC(net, task).fit((X, y)))
    late = Y.clone()
    late[-1] = classes  # not in the first batch either
    refused("class ids", lambda: EKFAC(net, task, batch_size=4).fit((X, late)))
    refused("float32.*int64", lambda: EKFAC(net, task).fit((X, Y.float())))
    refused("uint8.*y.long", lambda: EKFAC(net, task).fit((X, Y.byte())))
    one_hot = F.one_hot(Y, classes)
    refused("shape.*argmax", lambda: EKFAC(net, task).fit((X, one_hot)))
    fitted = EKFAC(net, task).fit((X, Y))
    refused("class ids", lambda: fitted.scores((X, Y), (X, Y - 1)))
    refused("class ids", lambda: fitted.scores((X, Y - 1), (X, Y)))
    for size in (0, -3, 2.5):
        refused("batch_size", lambda size=size: EKFAC(net, task, batch_size=size).fit((X, Y)))
    refused("without per_example and measure", lambda: EKFAC(net, F.cross_entropy).fit((X, Y)))


def test_numbers_and_targets_must_have_one_shape():
    net, task = small_net(nn.Linear(4, 1)), Regression()
    y = X[:, 0]
    for kind in ("ekfac", "identity"):  # broadcast, each row would be compared with every other
        fit = EKFAC(net, task, kind=kind).fit
        refused("targets .2,. for outputs .2, 1.", lambda fit=fit: fit((X, y)))
    fitted = EKFAC(net, task).fit((X, y[:, None]))
    refused("targets .12,. for outputs", lambda: fitted.scores((X, y), (X, y[:, None])))
    flat = small_net(nn.Linear(4, 1), nn.Flatten(0))
    wanted = fitted.scores((X, y[:, None]), (X, y[:, None]))
    found = EKFAC(flat, task).fit((X, y))
    with torch.no_grad():
        flat[0].weight.copy_(net[0].weight)
        flat[0].bias.copy_(net[0].bias)
    found = EKFAC(flat, task).fit((X, y)).scores((X, y), (X, y))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    for wrong in ({"rank": 0}, {"rank": -1}, {"refine": 2.5}, {"refine": -1}):
        data = (X, y[:, None])
        refused("a whole number", lambda wrong=wrong, data=data: fitted.scores(data, data, **wrong))


class _Centred(nn.Module):
    def forward(self, x):
        return x - x[:1].square() * len(x)


class _Encoder(nn.Module):
    def __init__(self, first, layers=1):
        super().__init__()
        block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=first)
        self.blocks, self.read = nn.TransformerEncoder(block, layers), nn.Linear(4, 3)
        self.first = first

    def forward(self, x, padding=None):
        x = x if self.first else x.transpose(0, 1)
        held = self.blocks(x, src_key_padding_mask=padding)
        return self.read(held.mean(1 if self.first else 0))


def test_positions_are_not_taken_for_examples():
    data = X[:, None].repeat(1, 12, 1), Y  # as many positions as examples
    net = _Encoder(first=False).eval()
    for kind in ("ekfac", "identity"):
        refused(
            "for 2 examples.*batch_first", lambda kind=kind: EKFAC(net, Classification(), kind=kind)
            .fit(data)
        )  # fmt: skip
    mixing = small_net(nn.Linear(4, 3), _Centred())
    refused("other rows", lambda: EKFAC(mixing, Classification(), kind="identity").fit((X, Y)))


def test_torch_s_fused_encoder_is_not_in_the_way():
    net, task = _Encoder(first=True, layers=2).eval(), Classification()
    x = {"x": torch.randn(12, 5, 4, generator=torch.Generator().manual_seed(1))}
    x["padding"] = torch.arange(5).repeat(12, 1) > 2
    fast = torch.backends.mha.get_fastpath_enabled()
    found = EKFAC(net, task, kind="identity").fit((x, Y))
    weights = [p for n, p in net.named_parameters() if n not in found.left_out_]
    grads = [
        torch.stack([
            torch.cat([g.flatten() for g in torch.autograd.grad(v, weights, retain_graph=True)])
            for v in of(net(**x), Y)
        ])
        for of in (task.measure, task.per_example)
    ]  # fmt: skip
    wanted = -(grads[0] @ grads[1].t())
    np.testing.assert_allclose(found.scores((x, Y), (x, Y)), wanted, rtol=1e-3, atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_frozen_layers_have_no_influence():
    net, task = small_net(), Classification()
    net[0].requires_grad_(False)
    found = EKFAC(net, task).fit((X, Y))
    assert list(found.layers_) == ["2"] and set(found.left_out_) == {"0.weight", "0.bias"}
    assert list(find_layers(net, ["0"])) == ["0"]  # asked for by name
    net.requires_grad_(False)  # a model that is only run
    assert list(find_layers(net)) == ["0", "2"]


def test_losses_that_are_reduced_or_not_finite():
    net = small_net()
    mean = _Loss(lambda losses: losses / len(losses))
    refused("averaged over the batch.*reduction", lambda: EKFAC(net, mean).fit((X, Y)))
    repeated = _Loss(lambda losses: losses.mean().expand(len(losses)))
    refused("averaged.*repeated.*reduction", lambda: EKFAC(net, repeated).fit((X, Y)))
    refused("shape", lambda: EKFAC(net, _Loss(lambda losses: losses.mean())).fit((X, Y)))
    mixed = _Loss(lambda losses: losses + losses[-1] * losses.sum())
    refused("other rows", lambda: EKFAC(net, mixed).fit((X, Y)))
    bad = X.clone()
    bad[7] = float("nan")
    refused("not finite, at example 7", lambda: EKFAC(net, Classification()).fit((bad, Y)))
    # A finite loss with gradients that are not: the square root at zero.
    rough = _Loss(lambda losses: (losses * 0).sqrt() + losses)
    refused("not finite", lambda: EKFAC(net, rough, fisher="empirical").fit((X, Y)))
    fitted = EKFAC(net, Classification()).fit((X, Y))
    fitted.task = rough
    refused("not finite", lambda: fitted.scores((X, Y), (X, Y)))


def test_damping_of_singular_curvature():
    net, flat = small_net(), X.clone()
    flat[:, 0] = 0
    fitted = EKFAC(net, Classification(), damping=0).fit((flat, Y))
    refused("damping 0.*singular", lambda: fitted.scores((X, Y), (X, Y)))
    for wrong in ("mean0.1", "0.1", -1.0, float("nan"), None):
        refused(
            "damping=", lambda wrong=wrong: EKFAC(net, Classification(), damping=wrong).fit((X, Y))
        )
    refused("kind=", lambda: EKFAC(net, Classification(), kind="kronecker").fit((X, Y)))
    refused("fisher=", lambda: EKFAC(net, Classification(), fisher="true").fit((X, Y)))
    refused("parameters", lambda: dense_ggn_influence(
        nn.Linear(200, 200).eval(), Classification(), (X, Y), (X, Y), damping=1.0))  # fmt: skip
    line = EKFAC(small_net(nn.Linear(4, 3)), Regression(), damping=0).fit((X, X[:, :3]))
    assert np.isfinite(line.scores((X, X[:, :3]), (X, X[:, :3]))).all()  # nothing is singular


def test_data_that_cannot_be_read_twice_or_lack_a_form():
    net, task = small_net(), Classification()
    refused("read more than once", lambda: EKFAC(net, task).fit(iter([(X, Y)])))
    pairs = torch.utils.data.TensorDataset(X, Y)
    shuffled = torch.utils.data.DataLoader(pairs, batch_size=4, shuffle=True)
    refused("shuffles", lambda: EKFAC(net, task).fit(shuffled))
    mixed = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(pairs), 4, False)
    inside = torch.utils.data.DataLoader(pairs, batch_sampler=mixed)
    refused("shuffles", lambda: EKFAC(net, task).fit(inside))
    refused("12 inputs and 5 targets", lambda: EKFAC(net, task).fit((X, Y[:5])))
    refused("no examples", lambda: EKFAC(net, task).fit((X[:0], Y[:0])))
    refused("inputs, targets", lambda: EKFAC(net, task).fit([X]))
    refused("not fitted", lambda: EKFAC(net, task).scores((X, Y), (X, Y)))
    pooled = small_net(nn.Linear(4, 3), nn.AvgPool2d((2, 1)), nn.Flatten())
    wide = X[:, None].repeat(1, 2, 1)
    refused(
        "mask.*'0' with 2 positions", lambda: EKFAC(pooled, task).fit((wide, Y, torch.ones(12, 5)))
    )


def test_the_model_comes_back_as_it_was():
    net = small_net(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.BatchNorm1d(5), nn.Linear(5, 3))
    net[0].weight.requires_grad_(False)
    net(X).sum().backward()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    flags = [p.requires_grad for p in net.parameters()]
    drawn = torch.get_rng_state()
    fitted = EKFAC(net, Classification()).fit((X, Y))
    with torch.inference_mode():
        fitted.scores((X, Y), (X, Y), rank=2)
    with pytest.raises(InputError):
        fitted.scores((X[:, :2], Y), (X, Y))
    with pytest.raises(ZeroDivisionError), tapping(net, find_layers(net)):
        raise ZeroDivisionError
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert flags == [p.requires_grad for p in net.parameters()]
    for before, p in zip(grads, net.parameters(), strict=True):
        assert (before is None and p.grad is None) or torch.equal(before, p.grad)
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(not m._forward_hooks for m in net.modules())
