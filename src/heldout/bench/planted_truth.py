"""Whether a planted fault is truly in a model: measured with what only the planter knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import nn

from heldout.core.classifier import classifier
from heldout.core.inputs import from_native
from heldout.core.seeds import derived_seed, stream

Labelled = tuple[Float[np.ndarray, "n ..."], Int[np.ndarray, " n"]]
"""Inputs and class ids."""

_DRAWS = 20
_FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_KILLED, _IDLE, _WOULD_DO = 0.1, 0.94, 0.6  # of the skill, as in Shah et al. 2020, section 3
_UNLEARNED, _COST = 0.2, 0.02


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
