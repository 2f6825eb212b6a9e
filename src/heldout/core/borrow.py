"""Use a user's model and hand it back exactly as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def borrowed(model: object, evaluating: bool = True) -> Iterator[None]:
    """Restore mode, gradient flags, gradients, buffers and every random state on leaving.

    Args:
        model: an `nn.Module`; anything else has only the random states restored.
        evaluating: switch the module to evaluation mode inside.

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
    modes = [(m, m.training) for m in module.modules()]
    flags = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    buffers = [(b, b.detach().clone()) for b in module.buffers()]
    try:
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
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
