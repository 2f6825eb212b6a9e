"""Wrong labels found by influence and by EL2N, from the same networks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from heldout.bench.defects import wrong_labels
from heldout.bench.digits import digits
from heldout.core.seeds import derived_seed, stream
from heldout.data.el2n import el2n
from heldout.data.influence import EKFAC, Classification
from heldout.data.short_training import Training, probabilities, train_steps
from heldout.nets.small import mlp

Settings = dict[str, Any]
Labelled = tuple[Tensor, Tensor]


def label_errors(settings: Settings, seed: int) -> dict[str, float]:
    """Average precision of every score at the length and damping tuned for it."""
    train, clean, wrong = _data(settings, seed)
    chosen = settings["chosen"]  # score: (epochs, damping in multiples of the mean eigenvalue)
    found: dict[str, float] = {}
    rankings: dict[str, np.ndarray] = {}
    for epochs in sorted({epochs for epochs, _ in chosen.values()}):
        here = {name: damping for name, (e, damping) in chosen.items() if e == epochs}
        nets = _networks(settings, train, epochs, seed)
        for name, damping in here.items():
            rankings[name] = _score(name, nets, train, clean, damping, seed)
    for name, ranking in rankings.items():
        found[f"ap/{name}"] = float(average_precision_score(wrong, ranking))
    mixed = stream(seed, "shuffle").permutation(rankings["self"])
    found["ap/shuffled"] = float(average_precision_score(wrong, mixed))
    for name in chosen:
        if name != "el2n":
            found[f"{name}_minus_el2n"] = found[f"ap/{name}"] - found["ap/el2n"]
    return found


def tuned(settings: Settings, seed: int) -> dict[str, float]:
    """Average precision at every length and damping, "score/damping@epochs"; uncounted seeds."""
    train, clean, wrong = _data(settings, seed)
    found = {}
    for epochs in settings["lengths"]:
        nets = _networks(settings, train, epochs, seed)
        for name in settings["chosen"]:
            grid = settings["grid"] if name in ("self", "heldout") else [0.0]
            for damping in grid:
                ranking = _score(name, nets, train, clean, damping, seed)
                key = f"{name}/{damping:g}@{epochs}"
                found[key] = float(average_precision_score(wrong, ranking))
    return found


def _score(
    name: str, nets: list[nn.Module], train: Labelled, clean: Labelled, damping: float, seed: int
) -> np.ndarray:
    if name == "el2n":
        probs = np.stack([probabilities(net, train[0]).numpy() for net in nets])
        return el2n(probs, train[1].numpy())
    total = np.zeros(len(train[1]))
    for net in nets:
        kind = "identity" if name.endswith("dot") else "ekfac"
        fitted = EKFAC(
            net, Classification(on="loss"), kind=kind, seed=seed, batch_size=256,  # type: ignore[arg-type]
            damping=f"{damping}mean" if damping else "0.1mean",
        ).fit(train)  # fmt: skip
        if name.startswith("self"):
            total += fitted.self_influence(train)
        else:  # what raised the loss on right labels
            total += fitted.scores(clean, train).mean(0)
    return total


def _networks(settings: Settings, train: Labelled, epochs: float, seed: int) -> list[nn.Module]:
    batch = settings["batch_size"]
    how = Training(learning_rate=settings["rate"], batch_size=batch, milestones=())
    steps = round(epochs * len(train[1]) / batch)
    make = partial(mlp, [train[0].shape[1], *settings["hidden"], 10])
    return [
        train_steps(make, *train, steps, how=how, seed=derived_seed(seed, "run", run))
        for run in range(settings["runs"])
    ]


def _data(settings: Settings, seed: int) -> tuple[Labelled, Labelled, np.ndarray]:
    (x, y), (xt, yt) = digits(seed, settings["train"])
    new, rows = wrong_labels(y, settings["wrong"], 10, stream(seed, "wrong"))
    k = settings["clean"]
    train = torch.as_tensor(x).flatten(1), torch.as_tensor(new)
    clean = torch.as_tensor(xt[:k]).flatten(1), torch.as_tensor(yt[:k])
    return train, clean, np.isin(np.arange(len(y)), rows)
