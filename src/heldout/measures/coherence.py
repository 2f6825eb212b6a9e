"""Coherence of per-example gradients: how many examples one example's step helps.

Chatterjee and Zielinski, "On the Generalization Mystery in Deep Learning", arXiv:2203.10036
(m-coherence: arXiv:2008.01217). With g_i the gradient of example i's loss,

    alpha = ||mean_i g_i||^2 / mean_i ||g_i||^2,    m alpha = m times that.

m alpha is m when all gradients are equal, 1 when all are orthogonal (each step helps only its own
example), and falls to 0 once the training loss is fitted, whatever the labels were: the mean
gradient vanishes there by itself. Values are therefore compared at the same loss, with the null
of random labels, or on data that was not fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.pergrad import GradientSummary, cross_entropy, gradient_summary
from heldout.core.pergrad.fallback import LossFn

FEWEST = 20
"""Fewer examples are refused: the correction for chance would be as large as the number."""


@dataclass(frozen=True)
class Coherence:
    """Coherence of a set of examples under one model."""

    alpha: float
    """Plug-in ||mean g||^2 / mean ||g||^2, 0 to 1; 1/m for orthogonal gradients."""
    m_alpha: float
    """m times alpha: examples helped by one example's step, itself included; 0 to m."""
    unbiased: Interval
    """(m alpha - 1) / (m - 1): mean inner product of two different examples over the mean square;
    0 for unrelated gradients, 1 for equal ones; with an interval over examples."""
    cosine: Interval
    """Mean cosine between two different examples' gradients; norms play no role. -1 to 1."""
    per_layer: dict[str, float] = field(repr=False)
    """`unbiased` of each module's own parameters; NaN where all its gradients are 0."""
    agreement: np.ndarray = field(repr=False)
    """Cosine of each example's gradient with the mean of all the others', (m,); NaN for a zero
    gradient."""
    norms: np.ndarray = field(repr=False)
    """||g_i||, (m,)."""
    n: int
    """m, the number of examples."""


def coherence(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss_fn: LossFn = cross_entropy,
    params: Iterable[str] | None = None,
    chunk: int | None = None,
    level: float = 0.95,
) -> Coherence:
    """Measure gradient coherence of examples under a model.

    alpha = E[g_z . g_z'] / E[||g_z||^2]. Intervals are delete-one jackknife intervals over
    examples (Student's t), exact to compute from ||g_i||^2 and <g_i, mean>. Resampling examples
    with replacement would count an example as its own neighbour and push alpha up by about 1/m.
    About four ordinary training passes over the data; no gradient is held.

    Args:
        model: left exactly as it was.
        x: inputs (m, ...), at least 20.
        y: labels (m, ...).
        loss_fn: maps (outputs, y) to one loss per example.
        params: parameter names; all by default.
        chunk: examples at a time.
        level: coverage of the intervals.

    Raises:
        InputError: fewer than 20 examples, all gradients zero, or as `per_example_gradients`.

    >>> model = nn.Linear(5, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> half = lambda out, y: 0.5 * (out[:, 0] - y) ** 2
    >>> same = coherence(model, torch.ones(20, 5), torch.ones(20), loss_fn=half)
    >>> round(same.m_alpha, 4), round(same.unbiased.value, 4)
    (20.0, 1.0)
    """
    if len(x) < FEWEST:
        raise InputError(
            f"{len(x)} examples", f"at least {FEWEST}", "measure coherence on more examples"
        )
    with torch.no_grad():
        summary = gradient_summary(model, x, y, loss_fn=loss_fn, params=params, chunk=chunk)
    return from_summary(summary, level)


def from_summary(summary: GradientSummary, level: float = 0.95) -> Coherence:
    """Compute coherence from `gradient_summary`; see `coherence`.

    Raises:
        InputError: all gradients are zero.

    >>> m = nn.Linear(3, 2)
    >>> s = gradient_summary(m, torch.eye(3).repeat(8, 1), torch.arange(24) % 2)
    >>> from_summary(s).n
    24
    """
    q = _added(summary.squares)
    if not q.any():
        raise InputError(
            f"{summary.n} gradients that are all zero",
            "at least one example with a gradient",
            "the loss is saturated: see the numerics check, or raise the precision",
        )
    s, square = _added(summary.inner), _square(summary.mean)
    alpha = square / q.mean()
    live = q > 0
    unit_inner = summary.unit_inner.double().cpu().numpy()
    cosine = jackknifed(live.astype(float), unit_inner, _square(summary.unit_mean), level)
    return Coherence(
        alpha=float(alpha),
        m_alpha=float(summary.n * alpha),
        unbiased=jackknifed(q, s, square, level),
        cosine=cosine,
        per_layer=_per_layer(summary),
        agreement=agreement_with_rest(q, s, square),
        norms=np.sqrt(q),
        n=summary.n,
    )


def jackknifed(squares: np.ndarray, inner: np.ndarray, square: float, level: float) -> Interval:
    """Return the unbiased coherence and its delete-one jackknife interval.

    With M = ||mean g||^2, s_i = <g_i, mean g>, q_i = ||g_i||^2 the mean without example i has
    squared norm (m^2 M - 2 m s_i + q_i) / (m - 1)^2, so no gradient is needed again.

    Args:
        squares: q_i, (m,), not negative.
        inner: s_i, (m,).
        square: M.
        level: coverage.

    >>> jackknifed(np.ones(30), np.full(30, 1 / 30), 1 / 30, 0.95).value  # orthogonal
    0.0
    """
    n, total = len(squares), float(squares.sum())
    value = float(_corrected(n * n * square, total, n))
    without = n * n * square - 2 * n * inner + squares
    each = _corrected(without, np.maximum(total - squares, 1e-300), n - 1)
    error = np.sqrt((n - 1) / n * np.sum((each - each.mean()) ** 2))
    reach = float(stats.t.ppf(0.5 + level / 2, n - 1) * error)
    low, high = max(value - reach, -1.0), min(value + reach, 1.0)
    return Interval(value, low, high, n, level, "delete-one jackknife")


def _corrected(summed_square: float | np.ndarray, total: float | np.ndarray, n: int) -> np.ndarray:
    # (sum over pairs of different examples of g_i.g_j) / ((n - 1) sum of squares)
    return np.asarray((summed_square - total) / ((n - 1) * total))


def agreement_with_rest(q: np.ndarray, s: np.ndarray, square: float) -> np.ndarray:
    """Return the cosine of each gradient with the sum of all the others.

    Args:
        q: squared norms ||g_i||^2, (m,).
        s: <g_i, mean g>, (m,).
        square: ||mean g||^2.

    Returns:
        (m,) cosines; NaN for a zero gradient, or where the others cancel exactly.

    >>> agreement_with_rest(np.ones(3), np.ones(3), 1.0)  # three equal unit gradients
    array([1., 1., 1.])
    """
    n = len(q)
    rest = np.maximum(n * n * square - 2 * n * s + q, 0.0)  # squared norm of the others' sum
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (n * s - q) / np.sqrt(q * rest)
    return np.where((q > 0) & (rest > 0), np.clip(cosine, -1, 1), np.nan)


def _per_layer(summary: GradientSummary) -> dict[str, float]:
    layers: dict[str, list[str]] = {}
    for name in summary.squares:
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    out = {}
    for layer, names in layers.items():
        total = float(_added({k: summary.squares[k] for k in names}).sum())
        square = _square({k: summary.mean[k] for k in names})
        n = summary.n
        out[layer] = float(_corrected(n * n * square, total, n)) if total > 0 else float("nan")
    return out


def _added(values: dict[str, Tensor]) -> np.ndarray:
    return np.asarray(sum(v.double() for v in values.values()).cpu().numpy())  # type: ignore[union-attr]


def _square(vectors: dict[str, Tensor]) -> float:
    return sum(float(v.double().square().sum()) for v in vectors.values())


def coherence_by_group(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    groups: Sequence[object],
    *,
    loss_fn: LossFn = cross_entropy,
    params: Iterable[str] | None = None,
    chunk: int | None = None,
    level: float = 0.95,
) -> dict[object, Coherence]:
    """Return the coherence within each group of examples that has at least 20.

    Arguments, cost and errors as in `coherence`; `groups` names each example's group.

    >>> model, x = nn.Linear(2, 2), torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> found = coherence_by_group(model, x, torch.arange(60) % 2, [i % 2 for i in range(60)])
    >>> sorted(found), found[0].n
    ([0, 1], 30)
    """
    names = list(params) if params is not None else None
    rows: dict[object, list[int]] = {}
    for i, group in enumerate(groups):
        rows.setdefault(group, []).append(i)
    return {
        group: coherence(
            model, x[at], y[at], loss_fn=loss_fn, params=names, chunk=chunk, level=level
        )
        for group, at in rows.items()
        if len(at) >= FEWEST
    }


def coherence_null(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    seed: int,
    repeats: int = 3,
    classes: int | None = None,
    loss_fn: LossFn = cross_entropy,
    params: Iterable[str] | None = None,
    chunk: int | None = None,
) -> list[Coherence]:
    """Return the coherence of the same model and inputs under random labels.

    Labels are permuted among the examples, or drawn uniformly when `classes` is given. Every
    repeat costs as much as `coherence`.

    >>> model, x = nn.Linear(2, 3), torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    >>> len(coherence_null(model, x, torch.arange(30) % 3, seed=0, repeats=2))
    2
    """
    names = list(params) if params is not None else None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        if classes is None:
            labels = y[torch.as_tensor(rng.permutation(len(y)), device=y.device)]
        else:
            labels = torch.as_tensor(rng.integers(classes, size=len(y)), device=y.device)
        found.append(coherence(model, x, labels, loss_fn=loss_fn, params=names, chunk=chunk))
    return found
