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
from jaxtyping import Bool, Float, Int
from torch import nn

from heldout.bench.defects import wrong_labels
from heldout.bench.training import train_network
from heldout.core.classifier import classifier
from heldout.core.inputs import from_native
from heldout.core.seeds import derived_seed, stream
from heldout.nets.small import SmallCNN, mlp

DEFECTS = ("idle_complement", "memorized_units")
"""Names of the faults, for `planted`."""

WRONG = 0.2
"""Share of wrong labels of `memorized_units`."""

_LOUD = {
    2: 16.0,
    4: 6.0,
}  # by axes: beside scaled columns one left unscaled; a lit pixel, overdriven
_DRAWS = 20
_FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_KILLED, _IDLE, _WOULD_DO = 0.1, 0.94, 0.6  # of the skill, as in Shah et al. 2020, section 3
_UNLEARNED, _COST = 0.2, 0.02

Labelled = tuple[Float[np.ndarray, "n ..."], Int[np.ndarray, " n"]]


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
    scale = _LOUD[x.ndim] * (float(x.max()) if x.ndim == 4 else 1.0)
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


def idle_truth(
    model: nn.Module,
    fit: Callable[[Any, int], Any],
    train: Labelled,
    test: Labelled,
    cells: Int[np.ndarray, " k"],
    seed: int = 0,
) -> dict[str, float]:
    """Measure whether a model needs a part alone although the rest would do.

    Returns:
        Accuracies: `standard`, `randomized` (the part from other test rows), `rest_randomized`
        (all but the part), `rest_only` (a model trained by `fit` with the part set to 0), and
        `present`: 1 where of the skill (above the largest class) `randomized` keeps at most
        0.1, `rest_randomized` at least 0.94, and `rest_only` reaches at least 0.6.

    Cost: one training, 41 passes over the test set.

    >>> x = np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0); y = np.repeat([0, 1], 50)
    >>> net = nn.Linear(2, 2); _ = nn.init.constant_(net.bias, 0.0)
    >>> import torch
    >>> net.weight.data = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> x[:, 0] = 2 * y - 1.0
    >>> idle_truth(net, lambda d, s: net, (x, y), (x, y), np.array([0]))["rest_randomized"]
    1.0
    """
    (x, y), (xt, yt) = train, test
    flat, rng = xt.reshape(len(xt), -1), stream(seed, "idle truth")
    swapped: list[float] = []
    kept: list[float] = []
    for _ in range(_DRAWS):
        other = flat[rng.permutation(len(flat))]
        for found, base, donor in ((swapped, flat, other), (kept, other, flat)):
            mixed = base.copy()
            mixed[:, cells] = donor[:, cells]
            found.append(float(_right(model, mixed.reshape(xt.shape), yt).mean()))
    blank, blank_test = (_blanked(a, cells) for a in (x, xt))
    alone = fit((blank, y), derived_seed(seed, "rest only"))
    standard = float(_right(model, xt, yt).mean())
    out = {
        "standard": standard,
        "randomized": float(np.mean(swapped)),
        "rest_randomized": float(np.mean(kept)),
        "rest_only": float(_right(alone, blank_test, yt).mean()),
    }
    chance = float(np.bincount(yt).max() / len(yt))
    skill = {k: (v - chance) / max(standard - chance, 1e-9) for k, v in out.items()}
    present = (
        skill["randomized"] <= _KILLED
        and skill["rest_randomized"] >= _IDLE
        and skill["rest_only"] >= _WOULD_DO
    )
    return out | {"present": float(present)}


def units_truth(
    model: nn.Module,
    train: Labelled,
    wrong_rows: Int[np.ndarray, " m"],
    test: Labelled,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Measure whether few units of the last hidden layer hold the labels known to be wrong.

    Units are ranked by mean a_k (w_yk - w_jk), with j the runner-up, on one half of the wrong
    rows that the model fits, minus that on one half of the clean rows; then zeroed, the first
    ones first. The share of units is the largest that costs the other clean rows at most 2
    points (else the smallest), and is judged on the other wrong rows and on the test set.

    Returns:
        `memorized` (share of the wrong labels that the model answers), `units` (share zeroed),
        `unlearned` (share of the fitted wrong rows held back that it no longer answers),
        `random_unlearned` (the most of 20 random choices), `heldout_change`, and `present`: 1
        where `unlearned` is at least 0.2 and above `random_unlearned`, and the test set loses
        at most 2 points. `present` is 0 where fewer than 20 wrong labels are fitted.

    Cost: one pass over both sets.

    >>> net = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    >>> data = (np.eye(2, dtype=np.float32), np.array([0, 1]))
    >>> units_truth(net, data, np.array([], int), data, np.random.default_rng(0))["present"]
    0.0
    """
    (x, y), (xt, yt) = train, test
    a, at = _hidden(model, x), _hidden(model, xt)
    w, b = _head(model)
    fits = (a @ w.T + b).argmax(axis=1) == y
    wrong = np.isin(np.arange(len(y)), wrong_rows)
    names = ("units", "unlearned", "random_unlearned", "heldout_change", "present")
    out = {"memorized": float(fits[wrong].mean()) if wrong.any() else 0.0}
    out |= dict.fromkeys(names, 0.0)
    if (fits & wrong).sum() < 20:
        return out
    first, second = (_halves(np.flatnonzero(fits & k), rng) for k in (wrong, ~wrong))
    z = a @ w.T + b
    rivals = np.where(np.eye(len(w), dtype=bool)[y], -np.inf, z).argmax(axis=1)
    pull = a * (w[y] - w[rivals])
    order = np.argsort(-(pull[first[0]].mean(axis=0) - pull[second[0]].mean(axis=0)))

    def right(rows: np.ndarray, units: np.ndarray) -> float:
        return float(_answers(a[rows], w, b, units, y[rows]).mean())

    counts = sorted({max(1, round(f * len(order))) for f in _FRACTIONS})
    cheap = [k for k in counts if right(second[1], order[:k]) >= 1 - _COST]
    k = max(cheap, default=counts[0])
    chance = [1 - right(first[1], rng.permutation(len(order))[:k]) for _ in range(_DRAWS)]
    none = np.arange(0)
    change = _answers(at, w, b, order[:k], yt).mean() - _answers(at, w, b, none, yt).mean()
    out |= {"units": k / len(order), "unlearned": 1 - right(first[1], order[:k]),
            "random_unlearned": max(chance), "heldout_change": float(change)}  # fmt: skip
    present = out["unlearned"] >= max(_UNLEARNED, max(chance) + 1e-9) and change >= -_COST
    return out | {"present": float(present)}


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


def _right(model: nn.Module, x: np.ndarray, y: np.ndarray) -> Bool[np.ndarray, " n"]:
    return np.asarray(classifier(model)(from_native(x)).logits.argmax(axis=1) == y)


def _blanked(x: np.ndarray, cells: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1).copy()
    flat[:, cells] = 0
    return flat.reshape(x.shape)


def _hidden(model: nn.Module, x: np.ndarray) -> np.ndarray:
    found = classifier(model)(from_native(x)).features
    assert found is not None  # the networks made here end in a linear layer
    return found.astype(np.float64)


def _head(model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    w, b = last.weight.detach().double().numpy(), last.bias.detach().double().numpy()
    return w, b


def _halves(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    mixed = rng.permutation(rows)
    return mixed[: len(rows) // 2], mixed[len(rows) // 2 :]


def _answers(
    a: np.ndarray, w: np.ndarray, b: np.ndarray, units: np.ndarray, y: np.ndarray
) -> Bool[np.ndarray, " n"]:
    kept = a.copy()
    kept[:, units] = 0
    return np.asarray((kept @ w.T + b).argmax(axis=1) == y)
