"""Zoo models whose fault is where they look, or where they keep wrong labels; with the truth.

For `heldout.bench.zoo.world`, after the data are made and before a model is trained:

    if case.defect in DEFECTS:
        made = planted(case.defect, (x, y), (xt, yt), case.model, derived_seed(case.seed, case.id))
        return World(made.arguments, (), made.wrong_rows)  # and made.truth, for the score

`made.arguments` are those of `heldout.core.preparing.prepare`, `fit` among them, without shifted
sets: nothing but the model and its own distribution can give the fault away. Models: `mlp`, and
`cnn` for images. `made.truth["present"]` says whether the fault is truly there, by measurement:
a hit of `shortcuts` (`idle_complement`) or `memorizing_units` (`memorized_units`) counts where it
is, and no alarm may where it is not. Cost: two trainings, or one long one; under 10 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import nn

from heldout.bench.defects import wrong_labels
from heldout.bench.planted_truth import Labelled, idle_truth, units_truth
from heldout.bench.training import train_network
from heldout.core.seeds import derived_seed, stream
from heldout.nets.small import SmallCNN, mlp

DEFECTS = ("idle_complement", "memorized_units")
"""Names of the faults, for `planted`."""

WRONG = 0.2
"""Share of wrong labels of `memorized_units`."""

_COLUMN, _PIXEL = 16.0, 6.0  # a column left unscaled beside scaled ones; a lit pixel, overdriven


@dataclass(frozen=True)
class Planted:
    """A model with one planted fault, and what is true of it."""

    arguments: dict[str, Any]
    """For `heldout.core.preparing.prepare`: model, train, test, fit; no shifted sets."""
    truth: dict[str, float]
    """Measured, accuracies 0 to 1; `present` is 1 where the fault is truly there, else 0."""
    cells: Int[np.ndarray, " k"] = field(default_factory=lambda: np.arange(0))
    """Flat positions of the planted part; none for `memorized_units`."""
    wrong_rows: Int[np.ndarray, " m"] = field(default_factory=lambda: np.arange(0))
    """Training rows with a wrong label; none for `idle_complement`."""


def planted(
    defect: str, train: Labelled, test: Labelled, model: str = "mlp", seed: int = 0
) -> Planted:
    """Plant a fault in clean data, train a model, and measure whether it has the fault.

    - `idle_complement`: a simple part that says the class without error joins the real inputs,
      in training and in test alike, so that no accuracy shows it (`simple_part`).
    - `memorized_units`: 20 % of the training labels become another class, and a wide network
      without weight decay is trained until it holds them.

    Args:
        defect: one of `DEFECTS`.
        train: clean training data, a table (n, d) or images (n, 1, s, s), s even.
        test: clean held-out data.
        model: `mlp`, or `cnn` for images.
        seed: of the plant and of training.

    Cost: two trainings (`idle_complement`), or one of 150 epochs; under 10 s at 600 rows.

    Shah et al. 2020, arXiv:2006.07710; Doshi et al. 2023, arXiv:2310.13061.

    >>> x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    >>> made = planted("memorized_units", (x, (x[:, 0] > 0) * 1), (x, (x[:, 0] > 0) * 1))
    >>> len(made.wrong_rows), sorted(made.truth)[:2]
    (8, ['heldout_change', 'memorized'])
    """
    rng = stream(seed, "zoo units", defect)
    (x, y), (xt, yt) = train, test
    n_classes = int(max(y.max(), yt.max())) + 1
    if defect == "memorized_units":
        y, wrong = wrong_labels(y, WRONG, n_classes, rng)
        fit = trainer(model, n_classes, long=True)
        net = fit((x, y), derived_seed(seed, "fit"))
        truth = units_truth(net, (x, y), wrong, (xt, yt), rng)
        return Planted(_arguments(net, (x, y), (xt, yt), fit), truth, wrong_rows=wrong)
    scale = _PIXEL * float(x.max()) if x.ndim == 4 else _COLUMN
    x, cells = simple_part(x, y, n_classes, scale)
    xt, _ = simple_part(xt, yt, n_classes, scale)
    fit = trainer(model, n_classes)
    net = fit((x, y), derived_seed(seed, "fit"))
    truth = idle_truth(net, fit, (x, y), (xt, yt), cells, seed)
    return Planted(_arguments(net, (x, y), (xt, yt), fit), truth, cells=cells)


def simple_part(
    x: Float[np.ndarray, "n ..."], y: Int[np.ndarray, " n"], n_classes: int, scale: float
) -> tuple[Float[np.ndarray, "n ..."], Int[np.ndarray, " k"]]:
    """Add a part that says the class: columns of a table, or a frame around an image.

    A table gets one column for two classes (-scale or scale), else one per class (scale at the
    own one, else 0). An image grows by a pixel on every side; in its bottom row the pixel at
    the class's place, counted cyclically, is lit.

    Returns:
        The new inputs, and the flat positions that were added and are not constant.

    >>> simple_part(np.zeros((2, 3)), np.array([0, 1]), 2, 6.0)[0][:, 3].tolist()
    [-6.0, 6.0]
    >>> x, cells = simple_part(np.zeros((1, 1, 8, 8)), np.array([3]), 10, 1.0)
    >>> x.shape, x[0, 0, 9, 3], len(cells)
    ((1, 1, 10, 10), np.float64(1.0), 10)
    """
    rows = np.arange(len(y))
    if x.ndim == 4:
        wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        side = wide.shape[3]
        wide[rows, 0, -1, y % side] = scale
        return wide, np.arange(side * side - side, side * side)
    if n_classes == 2:
        code = np.where(y == 1, scale, -scale)[:, None]
    else:
        code = scale * (y[:, None] == np.arange(n_classes))
    wide = np.concatenate([x, code.astype(x.dtype)], axis=1)
    return wide, np.arange(x.shape[1], wide.shape[1])


def trainer(model: str, n_classes: int, long: bool = False) -> Callable[[Any, int], nn.Module]:
    """Return `fit(dataset, seed)`: a small network, or a wide one trained until it memorizes.

    >>> trainer("mlp", 2).__name__
    'fit'
    """

    def fit(dataset: Any, seed: int) -> nn.Module:
        x, y = dataset
        x = np.asarray(x)
        hidden = [256, 256] if long else [64, 32]
        if model == "cnn":
            make: Callable[[], nn.Module] = lambda: SmallCNN(1, x.shape[2], n_classes, 8)  # noqa: E731
        else:
            make = lambda: mlp([int(np.prod(x.shape[1:])), *hidden, n_classes])  # noqa: E731
        epochs = 150 if long else 30
        return train_network(
            make, x, y, epochs=epochs, weight_decay=0.0 if long else 1e-2, seed=seed
        )

    return fit


def _arguments(net: nn.Module, train: Labelled, test: Labelled, fit: Any) -> dict[str, Any]:
    return {"model": net, "train": train, "test": test, "fit": fit}
