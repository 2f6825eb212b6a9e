"""Twelve rows, a net that reads them, and a look at the words of a refusal."""

import re

import pytest
import torch
from torch import nn

from heldout.core.errors import InputError

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def small_net(*layers):
    layers = layers or (nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    return nn.Sequential(*layers).eval()


def refused(words, call):
    with pytest.raises(InputError, match=re.compile(words, re.S)):
        call()
