"""Small reference networks for small data."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import nn


def mlp(widths: list[int]) -> nn.Sequential:
    """Fully connected ReLU network that flattens its input.

    Args:
        widths: input, hidden and output widths, at least two.

    >>> mlp([4, 8, 3])(torch.zeros(2, 1, 2, 2)).shape
    torch.Size([2, 3])
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.Linear(a, b))
    return nn.Sequential(*layers)


class SmallCNN(nn.Module):
    """Two 3x3 convolutions, one 2x2 max-pooling, one hidden layer.

    Args:
        channels: of the input images.
        side: height and width of the input images, even.
        n_classes: outputs.
        width: channels of the first convolution; the second has twice as many.

    >>> SmallCNN(1, 8, 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, channels: int, side: int, n_classes: int, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * (side // 2) ** 2, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, n_classes)

    def forward(self, x: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n k"]:
        """Return logits."""
        return self.head(self.features(x))
