"""Norms of layers against numpy, an explicit matrix of a convolution, and enumerated paths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.measures.complexity._folding import Layer, fold
from heldout.measures.complexity.margins import margins, percentile_margin
from heldout.measures.complexity.norms import (
    conv_spectral_norm,
    layer_norms,
    norm_measures,
    spectral_norm,
)
from heldout.measures.complexity.path_norm import path_norm


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def layers_of(*weights):
    return [Layer(str(i), w.double(), ()) for i, w in enumerate(weights)]


def wrapped_matrix(kernel, side):
    """The map of a wrapped convolution on side x side images, one column per basis image."""
    out, inputs, k, _ = kernel.shape
    columns = []
    for c, i, j in itertools.product(range(inputs), range(side), range(side)):
        image = torch.zeros(1, inputs, side, side, dtype=torch.float64)
        image[0, c, i, j] = 1
        padded = nn.functional.pad(image, (0, k - 1, 0, k - 1), mode="circular")
        columns.append(nn.functional.conv2d(padded, kernel.double()).flatten().numpy())
    return np.stack(columns, axis=1)


def test_the_spectral_norm_of_a_convolution_is_that_of_its_matrix():
    kernel = drawn(3, 2, 3, 3)
    truth = np.linalg.norm(wrapped_matrix(kernel, 5), 2)
    assert conv_spectral_norm(kernel, (5, 5)) == pytest.approx(truth, rel=1e-9)
    reshaped = spectral_norm(kernel)
    assert reshaped == pytest.approx(np.linalg.norm(kernel.numpy().reshape(3, -1), 2), rel=1e-6)
    assert abs(reshaped / truth - 1) > 0.1  # the reshaped norm is another number


def test_groups_are_a_convolution_each_and_large_kernels_are_not_cut():
    kernel = drawn(4, 1, 3, 3, seed=1)
    each = [conv_spectral_norm(kernel[2 * g : 2 * g + 2], (6, 6)) for g in (0, 1)]
    assert conv_spectral_norm(kernel, (6, 6), groups=2) == pytest.approx(max(each))
    assert conv_spectral_norm(torch.ones(1, 1, 5, 5), (2, 2)) == pytest.approx(25.0)
    along = conv_spectral_norm(drawn(2, 3, 3), (7,))
    assert along > spectral_norm(drawn(2, 3, 3)[:, :, 0]) / 3


def test_every_norm_measure_by_numpy():
    w, v = [drawn(4, 3), drawn(2, 4, seed=1)], [drawn(4, 3, seed=2), drawn(2, 4, seed=3)]
    found = norm_measures(layers_of(*w), layers_of(*v), margin=0.5)
    w, v = [a.double().numpy() for a in w], [a.double().numpy() for a in v]
    fro = np.array([np.sum(a**2) for a in w])
    spec = np.array([np.linalg.svd(a, compute_uv=False)[0] ** 2 for a in w])
    moved = np.array([np.sum((a - b) ** 2) for a, b in zip(w, v, strict=True)])
    moved_spec = sum(np.linalg.norm(a - b, 2) ** 2 for a, b in zip(w, v, strict=True))
    over = np.log(spec).sum() - 2 * math.log(0.5)
    expected = {
        "log_prod_spec": np.log(spec).sum(),
        "log_prod_spec_over_margin": over,
        "log_sum_spec": np.log(2 * np.prod(spec) ** 0.5),
        "log_sum_spec_over_margin": np.log(2 * (np.prod(spec) / 0.25) ** 0.5),
        "log_spec_init_main": over + np.log((moved / spec).sum()),
        "log_spec_orig_main": over + np.log((fro / spec).sum()),
        "fro_over_spec": (fro / spec).sum(),
        "dist_spec_init": moved_spec,
        "log_prod_fro": np.log(fro).sum(),
        "log_prod_fro_over_margin": np.log(fro).sum() - 2 * math.log(0.5),
        "log_sum_fro": np.log(2 * np.prod(fro) ** 0.5),
        "log_sum_fro_over_margin": np.log(2 * (np.prod(fro) / 0.25) ** 0.5),
        "fro_dist": moved.sum(),
        "param_norm": fro.sum(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
        if "spec" in name:  # no convolution: both ways agree
            assert found[name + "_fft"] == pytest.approx(value, rel=1e-9), name
    assert set(norm_measures(layers_of(*[torch.eye(2)]), layers_of(torch.eye(2)))) == {
        n for n in found if "margin" not in n and "main" not in n
    }


def test_scaling_a_layer_moves_products_as_it_should():
    w, zero = [drawn(3, 3), drawn(2, 3, seed=1)], [torch.zeros(3, 3), torch.zeros(2, 3)]
    one = norm_measures(layers_of(*w), layers_of(*zero))
    two = norm_measures(layers_of(2 * w[0], w[1]), layers_of(*zero))
    assert two["log_prod_spec"] - one["log_prod_spec"] == pytest.approx(math.log(4))
    assert two["fro_over_spec"] == pytest.approx(one["fro_over_spec"])


def enumerated(weights):
    """Sum over all paths of the product of squared weights, one path at a time."""
    sizes = [weights[0].shape[1], *[w.shape[0] for w in weights]]
    total = 0.0
    for path in itertools.product(*map(range, sizes)):
        steps = zip(weights, path[1:], path[:-1], strict=True)
        total += math.prod(float(w[j, i]) ** 2 for w, j, i in steps)
    return total


def test_the_path_norm_is_the_sum_over_paths():
    net = seeded(lambda: nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.LeakyReLU(),
        nn.Linear(3, 2, bias=False),
    ))  # fmt: skip
    weights = [m.weight.detach() for m in net if isinstance(m, nn.Linear)]
    assert path_norm(net, torch.zeros(1, 3)) == pytest.approx(enumerated(weights), rel=1e-6)
    single = seeded(lambda: nn.Linear(3, 1, bias=False))
    truth = float(single.weight.detach().square().sum())
    assert path_norm(single, torch.zeros(1, 3)) == pytest.approx(truth, rel=1e-6)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(x + torch.relu(self.a(x)))


@pytest.mark.parametrize("make", [
    Residual,
    lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
    lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)),
    lambda: nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)),
])  # fmt: skip
def test_path_norms_of_residual_and_smooth_networks_are_refused(make):
    with pytest.raises(InputError, match="path_norm"):
        path_norm(seeded(make), torch.zeros(1, 3))


def test_margins_and_their_percentile():
    logits = drawn(50, 4)
    labels = logits.argmax(1)
    by_hand = [float(z.max() - z.sort().values[-2]) for z in logits]
    assert np.allclose(margins(logits, labels).numpy(), by_hand, atol=1e-6)
    assert percentile_margin(logits, labels) == pytest.approx(sorted(by_hand)[4], rel=1e-6)
    wrong = labels.clone()
    wrong[:10] = (wrong[:10] + 1) % 4
    with pytest.raises(InputError, match="accuracy 0.800"):
        percentile_margin(logits, wrong)
    nearly = labels.clone()
    nearly[:5] = (nearly[:5] + 1) % 4  # 90 % right, but the percentile is a mistake's margin
    with pytest.raises(InputError, match="margin of -"):
        percentile_margin(logits, nearly)


def conv_net(norm=True):
    parts = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
             nn.Linear(4 * 36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]  # fmt: skip
    net = nn.Sequential(*[p for p in parts if norm or not isinstance(p, nn.BatchNorm2d)])
    net(drawn(32, 1, 8, 8))  # running averages
    return net.eval()


def test_folding_keeps_the_function_and_gives_the_layers():
    net, x = seeded(conv_net), drawn(6, 1, 8, 8, seed=3)
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([2.0, 0.5, -1.0, 1.0]))
        found, before = fold(net, x), net(x)
        assert torch.allclose(found.logits(x), before, atol=1e-5)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in found.model.modules())
    assert [a.name for a in found.layers] == ["0", "4", "7"]
    assert found.layers[0].spatial == (8, 8) and found.layers[1].spatial == ()
    scale = net[1].weight / (net[1].running_var + net[1].eps).sqrt()
    truth = (net[0].weight * scale[:, None, None, None]).double()
    assert torch.allclose(found.layers[0].weight, truth, rtol=1e-5)
    assert layer_norms(found.layers)[1][0] != layer_norms(found.layers, exact=True)[1][0]


class Loose(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x):
        z = self.a(x)
        return self.b(self.norm(z) + z)  # the layer's output is used twice


def twice():
    a = nn.Linear(3, 3)
    return nn.Sequential(a, nn.ReLU(), a)


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


@pytest.mark.parametrize("make, word", [
    (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), "does not follow"),
    (lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "LayerNorm"),
    (lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)),
     "keeps no averages"),
    (twice, "called twice|two names"),
    (tied, "two names"),
    (lambda: nn.Sequential(nn.Flatten()), "0 in all"),
])  # fmt: skip
def test_what_cannot_be_folded_is_refused(make, word):
    with pytest.raises(InputError, match=word):
        fold(seeded(make), drawn(4, 3))


def test_a_layer_used_beside_its_norm_is_refused():
    net = seeded(Loose)
    net.train()(drawn(64, 3) * 3 + 1)
    with pytest.raises(InputError, match="outputs change"):
        fold(net.eval(), drawn(4, 3))


def test_a_state_of_another_model_and_of_a_wrapped_one():
    net, x = seeded(lambda: nn.Sequential(nn.Linear(3, 2))), drawn(4, 3)
    with pytest.raises(InputError, match="does not fit"):
        fold(net, x, nn.Linear(3, 5).state_dict())
    wrapped = {f"module.{k}": v * 2 for k, v in net.state_dict().items()}
    doubled = fold(nn.DataParallel(net), x, wrapped).layers[0].weight
    assert torch.allclose(doubled, 2 * net[0].weight.double())
