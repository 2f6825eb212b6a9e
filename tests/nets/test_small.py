"""Small networks: shapes, and training that learns, repeats, and leaves the random state."""

import numpy as np
import pytest
import torch

from heldout.bench.training import train_network
from heldout.nets.small import SmallCNN, mlp


@pytest.mark.parametrize("make", [lambda: mlp([64, 16, 3]), lambda: SmallCNN(1, 8, 3, 4)])
def test_training_separates_blobs_and_repeats(make):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 1, 8, 8)) * 0.3
    x[np.arange(90), 0, y] += 2.0
    before = torch.get_rng_state()
    first, again = (train_network(make, x, y, epochs=60, seed=1) for _ in range(2))
    other = train_network(make, x, y, epochs=60, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    predict = first(torch.tensor(x).float()).argmax(1).numpy()
    assert (predict == y).mean() > 0.95
    states = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, again, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
