"""Use a user's model and hand it back exactly as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from heldout.core.seeds import derived_seed


@contextmanager
def borrowed(model: object = None, evaluating: bool = True) -> Iterator[None]:
    """Restore mode, gradient flags, gradients, buffers and every random state on leaving.

    Inside, gradients are None, so that a backward pass cannot add to the user's own.

    Args:
        model: an `nn.Module`; anything else has only the random states restored.
        evaluating: switch the module to evaluation mode inside.

    Cost: a copy of the module's buffers, none of its weights.

    >>> net = nn.Dropout().train()
    >>> with borrowed(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    module = model if isinstance(model, nn.Module) else nn.Identity()
    parts = list(module.modules())
    modes = [(m, m.training) for m in parts]
    flags = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    # By owner and name: a module may put another tensor in a buffer's place.
    buffers = [
        (m, k, b, b.detach().clone()) for m in parts for k, b in m._buffers.items() if b is not None
    ]
    try:
        for parameter, _, _ in flags:
            parameter.grad = None
        if evaluating:
            module.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag, gradient in flags:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        with torch.no_grad():
            for owner, name, buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
                owner._buffers[name] = buffer
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def user_code(seed: int, *purpose: str | int) -> Iterator[None]:
    """Run the user's own code so that what it draws is decided by a seed, and leaves no trace.

    A user's `fit` or transform may draw from the global random states, which nothing else in
    Heldout touches. Here they are seeded, and put back on leaving.

    >>> with user_code(0, "fit", 3):
    ...     first = torch.rand(1)
    >>> with user_code(0, "fit", 3):
    ...     torch.equal(first, torch.rand(1))
    True
    """
    with borrowed():
        drawn = derived_seed(seed, *purpose)
        random.seed(drawn)
        np.random.seed(drawn)
        torch.manual_seed(drawn)
        yield
