"""The built-in example of `heldout audit`: real digits, a small CNN, three planted defects.

1. **Wrong labels**: 8 % of the training labels are another class, uniformly at random.
2. **Leakage**: 6 % of the test images are copies of training images, with their labels.
3. **A shortcut**: one lit pixel on the left or right border, as a scanner might leave it, says
   the class by its position, for 95 % of the images (and a random class for the rest).

The shifted sets are the test digits before any leak. In fifteen of them, under noise, blur,
rotation, contrast and occlusion at severities 1 to 3, the mark still holds. In `other scanner` it
says a random class, and in `no scanner mark` there is none: these two show what the shortcut
costs. The report should find all three defects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import nn

from heldout.bench.corruptions import example_shifts
from heldout.bench.defects import border_mark, leaked, wrong_labels
from heldout.bench.digits import Labelled, digits
from heldout.bench.training import train_network
from heldout.core.seeds import stream
from heldout.nets.small import SmallCNN

WRONG, LEAKED, MARKED = 0.08, 0.06, 0.95


@dataclass(frozen=True)
class Example:
    """The built-in example, with the truth about what was planted."""

    train: Labelled
    test: Labelled
    shifted: dict[str, Labelled]
    wrong_rows: Int[np.ndarray, " k"]
    """Training rows with a wrong label."""
    leaked_rows: Int[np.ndarray, " m"]
    """Test rows that are copies of training rows."""


def example(seed: int = 0) -> Example:
    """Return the data with its planted defects.

    >>> len(example().wrong_rows), len(example().shifted)
    (80, 17)
    """
    (x, y), (xt, yt) = digits(seed)
    rng = stream(seed, "example")
    plain, true = xt, yt
    x, xt = _marked(x, y, rng, MARKED), _marked(xt, yt, rng, MARKED)
    shifted = {
        name: (images.astype(np.float32), true)
        for name, images in example_shifts(xt, seed=seed, value_range=(0, 1)).items()
    }
    shifted["other scanner"] = (_marked(plain, true, rng, 0.0), true)
    shifted["no scanner mark"] = (plain, true)
    xt, leaked_rows, origin = leaked(x, xt, LEAKED, rng)
    yt = yt.copy()
    yt[leaked_rows] = y[origin]
    labels, wrong_rows = wrong_labels(y, WRONG, 10, rng)
    return Example((x, labels), (xt, yt), shifted, wrong_rows, leaked_rows)


def _marked(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Mark each image with its own class for a share of them, and a random one for the rest."""
    codes = np.where(rng.random(len(y)) < share, y, rng.integers(0, 10, len(y)))
    return border_mark(x, codes)


def fit(dataset: Any, seed: int) -> nn.Module:
    """Train the example's network; this is what a user's own `fit` looks like."""
    x, y = dataset
    return train_network(lambda: SmallCNN(1, 8, 10), x, y, epochs=20, seed=seed)


def arguments(seed: int = 0) -> dict[str, Any]:
    """Return the arguments of `heldout.audit` for the example; trains its model.

    >>> sorted(arguments.__annotations__)
    ['return', 'seed']
    """
    made = example(seed)
    train: Callable[[Any, int], nn.Module] = fit
    return {
        "model": train(made.train, seed),
        "train": made.train,
        "test": made.test,
        "shifted": made.shifted,
        "fit": train,
    }
