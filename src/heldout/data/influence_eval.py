"""Do influence scores predict what retraining does? Linear datamodeling score and leave-one-out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from torch import Tensor, nn

from heldout.core import statistics
from heldout.core.adamw import AdamW
from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.seeds import stream, torch_stream

Retrain = Callable[[np.ndarray, int], np.ndarray]
"""`retrain(subsets, seed)`: train a model on each row's examples, (m, n) bool, and return the
measure of every query on every model, (m, q)."""


@dataclass(frozen=True)
class Agreement:
    """How well scores rank the outcomes of retraining."""

    per_query: Float[np.ndarray, " q"]
    """Spearman correlation of each query, -1 to 1; NaN where outcomes or predictions are equal."""
    mean: Interval
    """Mean over the queries, with Student's t interval over them."""


def random_subsets(n: int, count: int, seed: int, share: float = 0.5) -> Bool[np.ndarray, "m n"]:
    """Draw subsets of equal size without replacement, one a row.

    >>> random_subsets(10, 3, seed=0).sum(1).tolist()
    [5, 5, 5]
    """
    size = round(share * n)
    if not 0 < size < n or count < 1:
        raise InputError(f"{count} subsets of {size} of {n}", "proper subsets", "share=0.5")
    rng = stream(seed, "subsets")
    order = rng.random((count, n)).argsort(1)
    return order < size


def lds(
    scores: Float[np.ndarray, "q n"],
    retrain: Retrain,
    subsets: Bool[np.ndarray, "m n"],
    seeds: Sequence[int],
) -> Agreement:
    """Linear datamodeling score: rank correlation of summed scores and retrained measures.

        LDS(q) = Spearman over subsets of ( sum_{i in subset} score(q, i), measure of q )

    Measures are averaged over the seeds, since one retraining is mostly noise (Park et al. 2023,
    arXiv:2303.14186, definition 2.3).

    Args:
        scores: positive where training on i raises the measure of q.
        retrain: trains on every subset; see `Retrain`. `one_by_one` adapts a function of one.
        subsets: from `random_subsets`; at least ten.
        seeds: of the retrainings.

    Raises:
        InputError: fewer than ten subsets, no seed, or shapes that do not fit.

    Cost: subsets times seeds trainings.

    >>> rng = np.random.default_rng(0)
    >>> effect = rng.normal(size=(2, 20))
    >>> retrain = lambda subsets, seed: subsets @ effect.T
    >>> lds(effect, retrain, random_subsets(20, 30, seed=0), [0]).mean.value
    1.0
    """
    if len(subsets) < 10 or not len(seeds) or subsets.shape[1] != scores.shape[1]:
        raise InputError(
            f"{len(subsets)} subsets of {subsets.shape[1]} examples, {scores.shape[1]} scored, "
            f"{len(seeds)} seeds",
            "at least ten subsets of the scored examples, and a seed",
            "random_subsets(n, 60, seed)",
        )
    outcomes = np.mean([retrain(subsets, seed) for seed in seeds], axis=0)
    return agreement(subsets @ scores.T, outcomes)


def loo(
    scores: Float[np.ndarray, "q n"],
    retrain: Retrain,
    rows: Int[np.ndarray, " m"],
    seeds: Sequence[int],
) -> Agreement:
    """Rank correlation of scores with leave-one-out effects, over the examples `rows`.

    The effect of i on q is the measure with all examples minus that without i, averaged over the
    seeds, with the same initialization in both. Noisy at few seeds: an example's effect is small
    beside that of another initialization.

    Raises:
        InputError: fewer than ten rows, rows that were not scored, or no seed.

    Cost: (rows + 1) times seeds trainings.

    >>> effect = np.random.default_rng(0).normal(size=(2, 20))
    >>> loo(effect, lambda subsets, seed: subsets @ effect.T, np.arange(20), [0]).mean.value
    1.0
    """
    rows = np.asarray(rows)
    n = scores.shape[1]
    if len(rows) < 10 or not len(seeds) or not 0 <= rows.min() <= rows.max() < n:
        raise InputError(
            f"{len(rows)} rows of {n} scored, {len(seeds)} seeds",
            "ten rows among those scored, and a seed",
            "np.arange(n) for all",
        )
    subsets = np.ones((len(rows) + 1, scores.shape[1]), dtype=bool)
    subsets[np.arange(len(rows)), rows] = False
    outcomes = np.mean([retrain(subsets, seed) for seed in seeds], axis=0)
    return agreement(scores[:, rows].T, outcomes[-1] - outcomes[:-1])


def agreement(predicted: Float[np.ndarray, "m q"], outcomes: Float[np.ndarray, "m q"]) -> Agreement:
    """Spearman correlation of each query's column, and their mean.

    Raises:
        InputError: shapes that do not fit, fewer than three rows, or values that are not finite.

    >>> agreement(np.arange(4.0)[:, None], np.array([[1.0], [2.0], [4.0], [3.0]])).per_query
    array([0.8])
    """
    finite = np.isfinite(predicted).all() and np.isfinite(outcomes).all()
    if predicted.shape != outcomes.shape or len(outcomes) < 3 or not finite:
        raise InputError(
            f"predictions {predicted.shape} and outcomes {outcomes.shape}, "
            f"{'finite' if finite else 'some not finite'}",
            "one finite outcome for every prediction, three or more of each",
            "let retrain return (subsets, queries)",
        )
    a, b = (rankdata(v, axis=0) - (len(v) + 1) / 2 for v in (predicted, outcomes))
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    per_query = np.where(scale > 0, (a * b).sum(0) / np.where(scale > 0, scale, 1), np.nan)
    return Agreement(per_query, statistics.mean(per_query[np.isfinite(per_query)]))


def one_by_one(retrain: Callable[[np.ndarray, int], np.ndarray]) -> Retrain:
    """Make a `Retrain` of a function that takes the row numbers of one subset and a seed.

    >>> train = one_by_one(lambda rows, seed: np.array([len(rows)]))
    >>> train(np.array([[True, False], [True, True]]), 0).tolist()
    [[1], [2]]
    """
    return lambda subsets, seed: np.stack([retrain(np.flatnonzero(s), seed) for s in subsets])


@dataclass(frozen=True)
class Perceptrons:
    """Settings of small tanh networks that are trained at once, one for each subset."""

    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers."""
    steps: int = 300
    """Full-batch steps of Adam."""
    rate: float = 0.02
    """Learning rate, falling to zero along a half cosine."""
    decay: float = 1e-3
    """Half of this times the squared weights is added to the mean loss."""


def train_perceptrons(
    x: Tensor, y: Tensor, subsets: Bool[np.ndarray, "m n"], seed: int, how: Perceptrons
) -> list[Tensor]:
    """Train one tanh network per subset on the mean cross-entropy, all at once.

    The networks of a seed begin with equal weights, so that they differ by their data alone.

    Args:
        x: rows, (n, a).
        y: class ids, (n,).
        subsets: which rows each network is trained on.
        seed: of the initial weights.
        how: widths and optimization.

    Returns:
        W1 (m, a, h), b1 (m, 1, h), W2, ...

    Cost: `steps` passes over the data per network; 60 networks of 16 units on 400 rows of 64 take
    seconds.

    >>> x, y = torch.eye(2), torch.tensor([0, 1])
    >>> nets = train_perceptrons(x, y, np.ones((3, 2), bool), 0, Perceptrons(steps=50))
    >>> perceptron_logits(nets, x).argmax(-1).tolist()
    [[0, 1], [0, 1], [0, 1]]
    """
    m, generator = len(subsets), torch_stream(seed, "perceptrons")
    widths = [x.shape[1], *how.hidden, int(y.max()) + 1]
    nets: list[Tensor] = []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        w = torch.randn(a, b, generator=generator) / a**0.5
        nets += [w.to(x).repeat(m, 1, 1), x.new_zeros(m, 1, b)]
    for p in nets:
        p.requires_grad_(True)
    share = torch.from_numpy(subsets / subsets.sum(1, keepdims=True)).to(x)
    labels = y.expand(m, -1)
    adam = AdamW(nets, how.rate)
    with torch.enable_grad():
        for step in range(how.steps):
            adam.rate = 0.5 * how.rate * (1 + math.cos(math.pi * step / how.steps))
            logits = perceptron_logits(nets, x)
            losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
            weights = sum(p.square().sum() for p in nets)
            total = (share * losses).sum() + 0.5 * how.decay * weights
            adam.step(torch.autograd.grad(total, nets))
    return [p.detach() for p in nets]


def perceptron_logits(nets: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the outputs of every network on the same rows, (m, n, classes).

    >>> perceptron_logits([torch.ones(1, 2, 1), torch.zeros(1, 1, 1)], torch.ones(1, 2)).item()
    2.0
    """
    h = x.expand(len(nets[0]), -1, -1)
    for i in range(0, len(nets), 2):
        h = torch.baddbmm(nets[i + 1], torch.tanh(h) if i else h, nets[i])
    return h


def perceptron(nets: Sequence[Tensor], number: int = 0) -> nn.Sequential:
    """Return one of the networks as a module in evaluation mode.

    >>> perceptron([torch.ones(1, 2, 1), torch.zeros(1, 1, 1)])(torch.ones(1, 2)).item()
    2.0
    """
    layers: list[nn.Module] = []
    for i in range(0, len(nets), 2):
        w, b = nets[i][number], nets[i + 1][number, 0]
        linear = nn.Linear(w.shape[0], w.shape[1], dtype=w.dtype, device=w.device)
        with torch.no_grad():
            linear.weight.copy_(w.t())
            linear.bias.copy_(b)
        layers += [nn.Tanh(), linear] if i else [linear]
    return nn.Sequential(*layers).eval()


def perceptron_retrain(
    x: Tensor,
    y: Tensor,
    queries: tuple[Tensor, Tensor],
    how: Perceptrons | None = None,
) -> Retrain:
    """Return a `Retrain` of tanh networks whose measure is the margin log p(y) - log(1 - p(y)).

    >>> x, y = torch.eye(2), torch.tensor([0, 1])
    >>> retrain = perceptron_retrain(x, y, (x, y), Perceptrons(steps=5))
    >>> retrain(np.ones((3, 2), bool), 0).shape
    (3, 2)
    """
    settings = how or Perceptrons()

    def retrain(subsets: np.ndarray, seed: int) -> np.ndarray:
        nets = train_perceptrons(x, y, subsets, seed, settings)
        log_p = perceptron_logits(nets, queries[0]).double().log_softmax(-1)
        own = F.one_hot(queries[1], log_p.shape[-1]).bool()
        margin = log_p[:, own] - log_p.masked_fill(own, -torch.inf).logsumexp(-1)
        return margin.numpy()

    return retrain
