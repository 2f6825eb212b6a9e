"""Does influence predict retraining, and how is it spread? Small networks on digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heldout.bench.digits import digits
from heldout.core.seeds import derived_seed, stream
from heldout.data.influence import (
    EKFAC,
    Classification,
    dense_ggn_influence,
    find_layers,
    mean_eigenvalue,
)
from heldout.data.influence_eval import (
    Perceptrons,
    agreement,
    perceptron,
    perceptron_retrain,
    random_subsets,
    train_perceptrons,
)
from heldout.data.influence_stats import tail_exponent, top_share

Settings = dict[str, Any]
Labelled = tuple[Tensor, Tensor]
FACTORED = {
    "ekfac": ("ekfac", "exact"),
    "ekfac_sampled": ("ekfac", "sampled"),
    "ekfac_empirical": ("ekfac", "empirical"),
    "kfac": ("kfac", "exact"),
    "diagonal": ("diagonal", "exact"),
}
"""Kind and Fisher by the name in the metrics."""


def retraining(settings: Settings, seed: int) -> dict[str, float]:
    """Linear datamodeling scores of every kind of influence, each at its own tuned damping."""
    train, queries, how = _data(settings, seed)
    n = len(train[1])
    subsets = random_subsets(n, settings["subsets"], seed)
    retrain = perceptron_retrain(*train, queries, how)
    seeds = [derived_seed(seed, "retrain", k) for k in range(settings["retrains"])]
    outcomes = np.mean([retrain(subsets, s) for s in seeds], axis=0)
    net = _network(train, how, seed)
    damping = settings["damping"]
    mixed = stream(seed, "shuffle").permutation(n)

    def judged(scores: np.ndarray) -> float:
        return agreement(subsets @ scores.T, outcomes).mean.value

    found: dict[str, float] = {}
    for name, score in _every(net, train, queries, settings, seed).items():
        scores = score(damping.get(name, 0.0))
        found[f"lds/{name}"] = judged(scores)
        if name == "ekfac":
            found["lds/shuffled"] = judged(scores[:, mixed])
            found |= {f"lds/ekfac@{g:g}": judged(score(g)) for g in settings["grid"]}
    at = {name.removeprefix("lds/"): value for name, value in found.items()}
    return found | {
        "ekfac_minus_dot": at["ekfac"] - at["dot"],
        "shuffled_minus_dot": at["shuffled"] - at["dot"],
        "ekfac_minus_dense": at["ekfac"] - at["dense"],
        "blocks_minus_dense": at["blocks"] - at["dense"],
        "refined_minus_dense": at["refined"] - at["dense"],
        "refined_minus_ekfac": at["refined"] - at["ekfac"],
        "core_minus_dense": at["core"] - at["dense"],
        "ekfac_minus_kfac": at["ekfac"] - at["kfac"],
        "ekfac_minus_diagonal": at["ekfac"] - at["diagonal"],
        "exact_minus_empirical": at["ekfac"] - at["ekfac_empirical"],
        "accuracy/test": _accuracy(net, queries),
    }


def tuned(settings: Settings, seed: int) -> dict[str, float]:
    """Score every kind at every damping of the grid, "name@multiple": for an uncounted seed."""
    train, queries, how = _data(settings, seed)
    subsets = random_subsets(len(train[1]), settings["subsets"], seed)
    retrain = perceptron_retrain(*train, queries, how)
    seeds = [derived_seed(seed, "retrain", k) for k in range(settings["retrains"])]
    outcomes = np.mean([retrain(subsets, s) for s in seeds], axis=0)
    net = _network(train, how, seed)
    return {
        f"{name}@{g:g}": agreement(subsets @ score(g).T, outcomes).mean.value
        for name, score in _every(net, train, queries, settings, seed).items()
        for g in settings["grid"]
    }


def spread(settings: Settings, seed: int) -> dict[str, float]:
    """How much of the positive influence the first rows have, and the exponent of its tail."""
    train, queries, how = _data(settings, seed)
    net = _network(train, how, seed)
    task = Classification(on="log_prob")
    scores = EKFAC(net, task, seed=seed, batch_size=256).fit(train).scores(queries, train)
    rng = stream(seed, "tail")
    normal = stream(seed, "normal").normal(size=scores.shape)
    tails = [tail_exponent(row, rng, least=settings["least"], draws=2) for row in scores]

    def share(values: np.ndarray) -> float:
        return float(np.median([top_share(row, rng, draws=1).value for row in values]))

    exponent = float(np.median([t.alpha.value for t in tails]))
    return {
        "top_share": share(scores),
        "top_share/normal": share(normal),
        "top_share/normal_ratio": share(scores) / share(normal),
        "tail_exponent": exponent,
        "tail_outside": max(
            settings["exponents"][0] - exponent, exponent - settings["exponents"][1]
        ),
        "tail_distance": float(np.median([t.distance for t in tails])),
        "accuracy/test": _accuracy(net, queries),
    }


def _every(
    net: nn.Module, train: Labelled, queries: Labelled, settings: Settings, seed: int
) -> dict[str, Callable[[float], np.ndarray]]:
    # scores by name, as functions of the damping in multiples of the mean eigenvalue
    task = Classification()
    found: dict[str, Callable[[float], np.ndarray]] = {}
    for name, (kind, fisher) in FACTORED.items():
        fitted = EKFAC(net, task, kind=kind, fisher=fisher, seed=seed).fit(train)  # type: ignore[arg-type]
        found[name] = _at(fitted, train, queries)
        if name == "ekfac":
            mean = mean_eigenvalue(fitted.factors_.layers)
            core = fitted.core(train, settings["core"])
            found["refined"] = _at(fitted, train, queries, refine=settings["refine"])
            found["core"] = _at(fitted, train, queries, core=core)
    dot = EKFAC(net, task, kind="identity").fit(train)
    found["dot"] = lambda multiple: dot.scores(queries, train)

    def dense(multiple: float, layers: list[str] | None = None) -> np.ndarray:
        return dense_ggn_influence(
            net, task, queries, train, damping=multiple * mean, layers=layers
        )

    # each layer's block whole: what is lost by layers alone, before Kronecker factors
    found["blocks"] = lambda multiple: np.sum(
        [dense(multiple, [name]) for name in find_layers(net)], axis=0
    )
    found["dense"] = dense
    return found


def _at(
    fitted: EKFAC, train: Labelled, queries: Labelled, **options: Any
) -> Callable[[float], np.ndarray]:
    def scores(multiple: float) -> np.ndarray:
        fitted.damping = f"{multiple}mean"
        found: np.ndarray = fitted.scores(queries, train, **options)
        return found

    return scores


def _data(settings: Settings, seed: int) -> tuple[Labelled, Labelled, Perceptrons]:
    (x, y), (xt, yt) = digits(seed, settings["train"])
    k = settings["queries"]
    train = torch.as_tensor(x).flatten(1), torch.as_tensor(y)
    how = Perceptrons(tuple(settings["hidden"]), settings["steps"], decay=settings["decay"])
    return train, (torch.as_tensor(xt[:k]).flatten(1), torch.as_tensor(yt[:k])), how


def _network(train: Labelled, how: Perceptrons, seed: int) -> nn.Module:
    every = np.ones((1, len(train[1])), dtype=bool)
    return perceptron(train_perceptrons(*train, every, derived_seed(seed, "network"), how))


def _accuracy(net: nn.Module, data: Labelled) -> float:
    with torch.no_grad():
        return float((net(data[0]).argmax(1) == data[1]).double().mean())
