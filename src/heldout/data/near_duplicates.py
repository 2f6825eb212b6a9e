"""Rows that are far closer to a row of another set than the data's own spacing explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Views = Sequence[NDArray[np.float32]]

NEIGHBOURS = 4
_BLOCK = 2048


@dataclass(frozen=True)
class Spacing:
    """How close the nearest rows of a set are, relative to the spacing there."""

    ratio: FloatArray
    """(n,) distance to the nearest row over distance to the fourth nearest; 1 where both are 0."""
    distance: FloatArray
    """(n,) distance to the nearest row."""
    partner: IntArray
    """(n,) that row."""


@dataclass(frozen=True)
class NearDuplicates:
    """Rows judged to be near-copies, closest first."""

    rows: IntArray
    """Positions among the queried rows."""
    partners: IntArray
    """Their originals."""
    ratio: FloatArray
    """Distance ratio of each; 0 is a copy, values near 1 are ordinary neighbours."""
    p_value: FloatArray
    """(m,) of all queried rows: chance of so small a ratio in data without copies."""


def spacing(
    reference: np.ndarray, queries: Views | None = None, own: IntArray | None = None
) -> Spacing:
    """Nearest-neighbour distance of each query over its fourth-nearest distance.

    In data without copies the ratio raised to the intrinsic dimension is Beta(1, 3)-distributed
    wherever the density is locally flat, whatever the scale (Facco et al. 2017, arXiv
    1803.06992, for the ratio of the first two), so a copy stands out without a unit.

    Args:
        reference: (n, d) float32 rows to search; identical rows should have been removed.
        queries: one or more versions (m, d) of the queried rows, such as shifted images; the
            closest version counts. None queries the reference itself.
        own: (m,) for queries that are rows of the reference, which row each is; its match with
            itself, in any version, is left out. Implied when `queries` is None.

    Returns:
        The ratios. Costs `versions * m * n * d` multiply-adds in blocks of bounded memory.

    >>> line = np.arange(10, dtype=np.float32)[:, None]
    >>> s = spacing(line, [np.array([[4.01]], dtype=np.float32)])
    >>> int(s.partner[0]), bool(s.ratio[0] < 0.01)
    (4, True)
    """
    data = torch.as_tensor(np.ascontiguousarray(reference, dtype=np.float32))
    centre = data.mean(dim=0, keepdim=True)
    data = data - centre
    square = (data**2).sum(1)
    if queries is None:
        own = np.arange(len(data))
    versions = [data] if queries is None else [torch.as_tensor(q) - centre for q in queries]
    m, k = len(versions[0]), min(NEIGHBOURS, len(data) - (0 if own is None else 1))
    nearest = np.full((m, max(k, 1)), np.inf)
    partner = np.zeros(m, np.int64)
    for start in range(0, m, _BLOCK) if k > 0 else ():
        rows = slice(start, min(start + _BLOCK, m))
        found = _closest(versions, rows, data, square, None if own is None else own[rows])
        near, which = torch.topk(found, k, dim=1, largest=False)
        # Differences again in double: the expansion of the square loses small distances.
        exact = _distances(versions, rows, data, which)
        nearest[rows], index = np.sort(exact, axis=1), exact.argmin(axis=1)
        partner[rows] = which.numpy()[np.arange(len(index)), index]
    far = nearest[:, -1]
    ratio = np.where(far > 0, nearest[:, 0] / np.where(far > 0, far, 1.0), 1.0)
    return Spacing(np.nan_to_num(ratio, nan=1.0), nearest[:, 0], partner)


def _closest(
    versions: list[torch.Tensor],
    rows: slice,
    data: torch.Tensor,
    square: torch.Tensor,
    own: IntArray | None,
) -> torch.Tensor:
    best: torch.Tensor | None = None
    for version in versions:
        block = version[rows]
        found = torch.addmm(square[None], block, data.T, alpha=-2.0)
        found += (block**2).sum(1, keepdim=True)
        best = found if best is None else torch.minimum(best, found, out=best)
    assert best is not None
    if own is not None:
        best[torch.arange(len(own)), torch.as_tensor(own)] = torch.inf
    return best


def _distances(
    versions: list[torch.Tensor], rows: slice, data: torch.Tensor, which: torch.Tensor
) -> FloatArray:
    chosen = data[which]
    parts = [(v[rows][:, None] - chosen).double().pow(2).sum(-1).sqrt() for v in versions]
    smallest: FloatArray = torch.stack(parts).amin(0).numpy()
    return smallest


def tail_probability(ratio: FloatArray, null: FloatArray) -> FloatArray:
    """Chance of a ratio this small or smaller, judged by the ratios inside one set.

    The bulk of the null (its 5 % to 40 % quantiles) fixes a power law `F(r) = c r^m`, m being
    the intrinsic dimension; below the bulk the power law extrapolates, and it is never taken
    below the share of null ratios that are smaller still. So where near-copies are common
    inside the reference, as in repeated measurements, they count as natural.

    Args:
        ratio: (m,) ratios to judge.
        null: (n,) ratios of the reference set's own rows.

    Returns:
        (m,) values in [0, 1]; 1 everywhere when the null has fewer than 20 rows.

    >>> null = np.random.default_rng(0).beta(1, 3, 1000) ** 0.2
    >>> p = tail_probability(np.array([0.01, 0.5]), null)
    >>> bool(p[0] < 1e-6), bool(0.01 < p[1] < 0.3)
    (True, True)
    """
    if len(null) < 20:
        return np.ones(len(ratio))
    ordered = np.sort(null)
    low, high = np.quantile(ordered, [0.05, 0.4])
    dimension = np.log(0.4 / 0.05) / np.log(max(high, 1e-12) / max(low, 1e-12)) if low < high else 1
    power = 0.05 * (np.maximum(ratio, 1e-12) / max(low, 1e-12)) ** dimension
    counted = np.searchsorted(ordered, ratio, side="right") / len(ordered)
    below = np.searchsorted(ordered, ratio, side="left") / len(ordered)
    return np.minimum(1.0, np.where(ratio < low, np.maximum(power, below), counted))


def near_duplicates(
    views: Sequence[tuple[Spacing, Spacing]], level: float = 0.005, largest: float = 0.5
) -> NearDuplicates:
    """Judge which rows are near-copies, from one or more views of the data.

    A row's p-value is the smallest over the views times their number; rows are kept by
    Benjamini and Hochberg's rule at `level`, so that about that share of them is wrong, and with
    no copies at all anything is reported with at most that probability.

    Args:
        views: per view, spacing of the queries in the reference and of the reference in itself.
        level: expected share of false finds.
        largest: ratios above this are never called copies.

    Returns:
        The near-copies, closest first. No pass over the data.

    >>> rng = np.random.default_rng(0)
    >>> train = rng.normal(size=(400, 10)).astype(np.float32)
    >>> test = np.vstack([train[:5] + 0.01, rng.normal(size=(95, 10))]).astype(np.float32)
    >>> found = near_duplicates([(spacing(train, [test]), spacing(train))])
    >>> sorted(found.rows.tolist()), sorted(found.partners.tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """
    p_values = np.stack([tail_probability(q.ratio, own.ratio) for q, own in views])
    best = p_values.argmin(axis=0)
    columns = np.arange(p_values.shape[1])
    p_value = np.minimum(1.0, p_values[best, columns] * len(views))
    ratio = np.stack([q.ratio for q, _ in views])[best, columns]
    partner = np.stack([q.partner for q, _ in views])[best, columns]
    order = np.argsort(p_value, kind="stable")
    passes = p_value[order] <= level * (np.arange(len(order)) + 1) / max(len(order), 1)
    count = int(np.flatnonzero(passes).max()) + 1 if passes.any() else 0
    kept = order[:count]
    kept = kept[ratio[kept] <= largest]
    kept = kept[np.argsort(ratio[kept], kind="stable")]
    return NearDuplicates(kept, partner[kept], ratio[kept], p_value)
