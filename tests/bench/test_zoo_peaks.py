"""Networks for the track record: exact lengths of training, against gradient descent."""

from __future__ import annotations

import numpy as np
import torch

from heldout.bench.zoo_peaks import EPOCHS, TIMES, path, readouts, stopped, wide


def noisy(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(int)
    return x, y


def test_a_readout_is_what_gradient_descent_gives():
    x, y = noisy(60, 0)
    net, end = readouts(x, y, 2, 20, (3.0, np.inf))
    with torch.no_grad():
        h = net[:-1](torch.as_tensor(x)).double().numpy()
        said = net(torch.as_tensor(x)).numpy()
        last = end(torch.as_tensor(x)).numpy()
    targets = 10.0 * np.eye(2)[y]
    z = h - h.mean(0)
    z /= np.sqrt((z**2).sum() / (len(z) - 1))
    w, rate = np.zeros((20, 2)), 1e-3
    for _ in range(3000):  # time 3
        w -= rate * z.T @ (z @ w - (targets - targets.mean(0)))
    np.testing.assert_allclose(said, z @ w + targets.mean(0), atol=0.02)
    ones = np.column_stack([h, np.ones(60)])
    best = ones @ np.linalg.lstsq(ones, targets, rcond=None)[0]
    np.testing.assert_allclose(last, best, atol=0.02)


def test_as_many_features_as_examples_fit_noise_and_pay_for_it():
    x, y = noisy(100, 0)
    xt, yt = noisy(1000, 1)
    right = lambda m, a, b: float((m(torch.as_tensor(a)).argmax(1).numpy() == b).mean())  # noqa: E731
    end, early = readouts(x, y, 2, 99)[0], stopped(x, y, 2, 99)
    assert right(end, x, y) > 0.98
    assert right(early, xt, yt) > right(end, xt, yt) + 0.1


def test_paths_end_with_the_model_itself_and_a_seed_repeats_it():
    x, y = noisy(40, 0)
    inputs = torch.as_tensor(x)
    nets = path("random", x, y, 2, 30, seed=3)()
    assert len(nets) == len(TIMES) + 1
    assert torch.equal(nets[-1](inputs), readouts(x, y, 2, 30, seed=3)[0](inputs))
    nets = path("wide", x, y, 2, 10, seed=3)()
    assert len(nets) == len(EPOCHS)
    assert torch.equal(nets[-1](inputs), wide(x, y, 2, 10, seed=3)(inputs))
