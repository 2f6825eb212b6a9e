"""How much of what a model fitted is memory: gradient norms against their random-label null.

Coherence itself (Chatterjee and Zielinski, arXiv:2203.10036) tells memory from generalization
while a network trains, but falls to zero for all labels once the loss is fitted. For a single
trained checkpoint two relatives of it still speak:

* held-out excess: r = mean ||g(x, y)|| / mean ||g(x, random label)|| says how foreign labels are
  to the model, 0 for labels that it takes for granted, 1 for labels that it knows nothing about.
  r on held-out data minus r on training data is 0 without memory and 1 for pure memory.
* same-label cosine: mean cosine between the gradients of two training examples with one label.
  Learned examples pull together, memorised ones each pull their own way.

DIFFERS: both are ours. `benchmarks/memorization.py` compares them with other candidates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.pergrad import cross_entropy, gradient_norms, gradient_summary
from heldout.core.pergrad.fallback import LossFn
from heldout.core.seeds import stream
from heldout.measures.coherence import FEWEST, agreement_with_rest, jackknifed

_SMALLEST_CLASS = 3  # examples with one label that still have a meaningful mean of the others
_MOST_CLASSES = 50  # classes that are looked at, the largest ones
_DRAWS = 1000


@dataclass(frozen=True)
class Memorization:
    """What gradient norms and directions say about memory in one trained model."""

    excess: Interval
    """Held-out ratio minus training ratio, -1 to 1; 0 without memory, 1 for pure memory."""
    train_ratio: Interval
    """Mean gradient norm of the training labels over that of random labels, from 0."""
    test_ratio: Interval
    """The same for held-out labels; 1 when the model knows nothing about them."""
    cosine: Interval
    """Mean cosine between two training examples with the same label, -1 to 1."""
    cosine_null: Interval
    """The same with labels permuted among the training examples."""
    train_norms: np.ndarray = field(repr=False)
    """||g_i|| of the training examples, (n,)."""
    test_norms: np.ndarray = field(repr=False)
    """||g_i|| of the held-out examples, (m,)."""
    train_null: np.ndarray = field(repr=False)
    """Mean ||g_i|| under permuted labels, (n,)."""
    test_null: np.ndarray = field(repr=False)
    """Mean ||g_i|| under permuted labels, (m,)."""
    agreement: np.ndarray = field(repr=False)
    """Cosine of each training example's gradient with the mean unit gradient of the others with
    its label, (n,); NaN in classes that are too small, and for zero gradients."""


def memorization_statistics(
    model: nn.Module,
    x_train: Tensor,
    y_train: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    *,
    seed: int,
    repeats: int = 3,
    loss_fn: LossFn = cross_entropy,
    params: Iterable[str] | None = None,
    chunk: int | None = None,
    level: float = 0.95,
) -> Memorization:
    """Compare training and held-out gradients of one trained model with their random-label null.

    excess = mean ||g||_test / mean ||g||_test,null - mean ||g||_train / mean ||g||_train,null.
    Random labels are permutations of the labels within each set. Intervals: percentile bootstrap
    over examples, training and held-out ones apart, for ratios; delete-one jackknife within each
    class for cosines. Cost: 1 + `repeats` norm passes over both sets, and eight ordinary training
    passes over the training set. No gradients are held; the model is left as it was.

    Args:
        model: a classifier in evaluation mode.
        x_train: inputs it was trained on, (n, ...), or a sample of them.
        y_train: the labels it was trained on.
        x_test: held-out inputs, (m, ...).
        y_test: their labels.
        seed: of the permutations and the bootstrap.
        repeats: permutations.
        loss_fn: maps (outputs, labels) to one loss per example.
        params: parameter names; all by default.
        chunk: examples at a time.
        level: coverage of the intervals.

    Raises:
        InputError: fewer than 20 examples or a single class in one of the sets, no gradient even
            under random labels, or as `per_example_gradients`.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> found = memorization_statistics(nn.Linear(3, 2), x[:20], y[:20], x[20:], y[20:], seed=0)
    >>> found.excess.low <= found.excess.value <= found.excess.high
    True
    """
    for name, y in (("training", y_train), ("held-out", y_test)):
        _require(name, y)
    names = list(params) if params is not None else None

    def norms(x: Tensor, y: Tensor) -> np.ndarray:
        found = gradient_norms(model, x, y, loss_fn=loss_fn, params=names, chunk=chunk)
        return found.double().cpu().numpy()

    def null(x: Tensor, y: Tensor, part: str) -> np.ndarray:
        rng = stream(seed, "memorization", part)
        drawn = [norms(x, _permuted(y, rng)) for _ in range(repeats)]
        return np.asarray(np.mean(drawn, axis=0))

    train, test = norms(x_train, y_train), norms(x_test, y_test)
    train_null, test_null = null(x_train, y_train, "train"), null(x_test, y_test, "test")
    if not train_null.any() or not test_null.any():
        raise InputError(
            "gradients that are zero even under random labels",
            "a model whose outputs depend on its weights",
            "see the numerics check",
        )
    excess, of_train, of_test = _ratios(train, train_null, test, test_null, seed, level)

    def within(y: Tensor) -> tuple[Interval, np.ndarray]:
        return same_label_cosine(
            model, x_train, y, loss_fn=loss_fn, params=names, chunk=chunk, level=level
        )

    cosine, agreement = within(y_train)
    shuffled = _permuted(y_train, stream(seed, "memorization", "cosine"))
    return Memorization(
        excess, of_train, of_test, cosine, within(shuffled)[0],
        train, test, train_null, test_null, agreement,
    )  # fmt: skip


def _require(name: str, y: Tensor) -> None:
    if len(y) < FEWEST or len(torch.unique(y)) < 2:
        raise InputError(
            f"{len(y)} {name} examples of {len(torch.unique(y))} classes",
            f"at least {FEWEST} examples of two classes",
            "with fewer, or one class, random labels are no null",
        )


def _permuted(y: Tensor, rng: np.random.Generator) -> Tensor:
    return y[torch.as_tensor(rng.permutation(len(y)), device=y.device)]


def _ratios(
    train: np.ndarray,
    train_null: np.ndarray,
    test: np.ndarray,
    test_null: np.ndarray,
    seed: int,
    level: float,
) -> tuple[Interval, Interval, Interval]:
    rng = stream(seed, "memorization", "bootstrap")
    draws = []
    for norms, null in ((test, test_null), (train, train_null)):
        rows = rng.integers(len(norms), size=(_DRAWS, len(norms)))
        below = null[rows].mean(1)
        draws.append(norms[rows].mean(1) / np.where(below > 0, below, np.inf))
    values = float(test.mean() / test_null.mean()), float(train.mean() / train_null.mean())

    def interval(value: float, drawn: np.ndarray, n: int) -> Interval:
        low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
        return Interval(value, float(low), float(high), n, level, "percentile bootstrap")

    smaller = min(len(train), len(test))
    return (
        interval(values[0] - values[1], draws[0] - draws[1], smaller),
        interval(values[1], draws[1], len(train)),
        interval(values[0], draws[0], len(test)),
    )


def same_label_cosine(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss_fn: LossFn = cross_entropy,
    params: Iterable[str] | None = None,
    chunk: int | None = None,
    level: float = 0.95,
) -> tuple[Interval, np.ndarray]:
    """Return the mean cosine between gradients of examples with one label, and each one's own.

    Average over the (at most 50 largest) classes, weighted by their size; delete-one jackknife
    within each. About four ordinary training passes.

    Returns:
        The interval, and per example the cosine with the mean unit gradient of the others with
        its label (NaN where there is none).

    >>> model, x = nn.Linear(2, 2), torch.ones(6, 2)
    >>> found, own = same_label_cosine(model, x, torch.tensor([0, 0, 0, 1, 1, 1]))
    >>> round(found.value, 4), own.round(4).tolist()
    (1.0, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """
    names = list(params) if params is not None else None
    own = np.full(len(y), np.nan)
    classes, sizes = torch.unique(y, return_counts=True)
    values, errors, weights = [], [], []
    for c in classes[sizes.argsort(descending=True)][:_MOST_CLASSES]:
        rows = torch.nonzero(y == c).flatten()
        if len(rows) < _SMALLEST_CLASS:
            continue
        summary = gradient_summary(
            model, x[rows], y[rows], loss_fn=loss_fn, params=names, chunk=chunk
        )
        live = torch.stack(list(summary.squares.values())).sum(0).double().cpu().numpy() > 0
        if live.sum() < _SMALLEST_CLASS:
            continue
        inner = summary.unit_inner.double().cpu().numpy()
        square = sum(float(v.double().square().sum()) for v in summary.unit_mean.values())
        found = jackknifed(live.astype(float), inner, square, 0.6827)
        values.append(found.value)
        # one standard error, from a Student interval of that coverage
        errors.append((found.high - found.low) / 2 / stats.t.ppf(0.84135, len(rows) - 1))
        weights.append(len(rows))
        own[rows.cpu().numpy()] = agreement_with_rest(live.astype(float), inner, square)
    if not values:
        return Interval(np.nan, -1.0, 1.0, 0, level, "no class with enough gradients"), own
    w = np.array(weights) / np.sum(weights)
    value, error = float(w @ values), float(np.sqrt(np.sum((w * errors) ** 2)))
    reach = float(stats.norm.ppf(0.5 + level / 2)) * error
    method = "delete-one jackknife within classes"
    return Interval(value, value - reach, value + reach, int(np.sum(weights)), level, method), own
