"""Parts of an input that a decision may lean on: columns, patches, strips, frequency bands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats
from scipy.cluster.hierarchy import fcluster, linkage

from heldout.core.errors import InputError
from heldout.core.inputs import Inputs

Space = Literal["input", "spectrum"]


@dataclass(frozen=True)
class Region:
    """A set of coordinates of the input that are intervened on together."""

    name: str
    """For a reader: `column age`, `patch row 1, column 4`, `top edge`, `low frequencies`."""
    kind: str
    """`column`, `columns`, `input`, `patch`, `strip`, `channel`, `band`, `frequencies`."""
    space: Space
    """Whether `cells` count flattened inputs, or flattened coefficients of `numpy.fft.rfft2`."""
    cells: tuple[int, ...]
    """Flattened positions; for named inputs, positions of the names."""
    share: float
    """Share of all coordinates, 0 to 1."""


def transplant(base: Inputs, donor: Inputs, region: Region) -> Inputs:
    """Give each example of `base` the region of the example of `donor` in the same row.

    Shuffled donors randomize the region jointly; swapping the two arguments randomizes its
    complement. In the spectrum, coefficients are exchanged, phases included.

    Args:
        base: n examples.
        donor: n examples of the same shape.
        region: what is replaced.

    Raises:
        InputError: the lengths differ.

    >>> from heldout.core.inputs import from_native
    >>> x, z = from_native(np.zeros((1, 3))), from_native(np.ones((1, 3)))
    >>> transplant(x, z, Region("b", "column", "input", (1,), 1 / 3)).array.tolist()
    [[0.0, 1.0, 0.0]]
    """
    if len(base) != len(donor):
        raise InputError(f"{len(base)} examples and {len(donor)} donors", "one each", "use .take")
    cells = list(region.cells)
    if "" not in base.columns:
        taken = {list(base.columns)[c] for c in cells}
        mixed = {k: (donor if k in taken else base).columns[k] for k in base.columns}
        return replace(base, columns=mixed)
    if region.space == "spectrum":
        return base.with_images(_mix_spectra(base.images(), donor.images(), cells))
    flat = base.array.reshape(len(base), -1).copy()
    flat[:, cells] = donor.array.reshape(len(donor), -1)[:, cells]
    return replace(base, columns={"": flat.reshape(base.array.shape)})


def coordinates(inputs: Inputs, space: Space) -> Float[np.ndarray, "n d k"]:
    """Return numbers (n, cells, k) that a probe can read: k = 2 (real, imaginary) for spectra.

    Text columns become codes in sorted order, so pass all splits at once (see `stack`).
    """
    if space == "spectrum":
        spectrum = np.fft.rfft2(inputs.images()).reshape(len(inputs), -1)
        return np.stack([spectrum.real, spectrum.imag], axis=2).astype(np.float32)
    if "" in inputs.columns:
        return inputs.array.reshape(len(inputs), -1, 1).astype(np.float32)
    if any(v.ndim > 1 for v in inputs.columns.values()):
        flat = [np.asarray(v, np.float32).reshape(len(inputs), -1) for v in inputs.columns.values()]
        width = max(v.shape[1] for v in flat)
        padded = [np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in flat]
        return np.stack(padded, axis=1)
    return np.stack([_numbers(v) for v in inputs.columns.values()], axis=1)[:, :, None]


def regions(inputs: Inputs, labels: Int[np.ndarray, " n"], most: int = 48) -> list[Region]:
    """Return the regions worth asking about, for the kind of the inputs.

    Tables: every column (the `most` most related to the label), and groups of columns whose
    absolute rank correlation is at least 0.8, and all two-valued columns jointly. Images:
    patches on a grid of at most 4 x 4, the four edges, the frame and the corners, channels,
    three radial frequency bands, and the frequencies that tell most about the label. Several
    named inputs: each of them.

    Args:
        inputs: training examples; a few hundred suffice.
        labels: their classes; used only to choose and to sort.
        most: single columns at most.

    Raises:
        InputError: inputs without regions (token ids, or one cell only).

    >>> from heldout.core.inputs import from_native
    >>> y = np.arange(8) % 2
    >>> [r.name for r in regions(from_native(np.c_[y, y, np.arange(8) % 3, range(8)]), y)][-1]
    'columns feature 0, feature 1'
    """
    if inputs.kind == "image":
        return _image_regions(inputs, labels)
    if inputs.kind == "tokens":
        raise InputError("token ids", "images, tables or named inputs", "skip this check")
    if inputs.kind == "sequence":
        return _sequence_regions(inputs)
    names = inputs.feature_names()
    if len(names) < 2:
        raise InputError("inputs of one column", "at least two", "nothing can be left out")
    table = coordinates(inputs, "input")
    kind = "input" if inputs.kind == "mixed" and "" not in inputs.columns else "column"
    order = np.argsort(-information(table, labels), kind="stable")[:most]
    found = [Region(f"{kind} {names[j]}", kind, "input", (int(j),), 1 / len(names)) for j in order]
    if table.shape[2] == 1:
        groups = _correlated(table[:, sorted(order), 0], np.sort(order))
        indicators = tuple(j for j in range(len(names)) if len(np.unique(table[:, j, 0])) == 2)
        # One-hot columns say something only together.
        groups += [indicators] if len(indicators) > 1 and indicators not in groups else []
        found += [
            Region(_joint(names, g), "columns", "input", g, len(g) / len(names))
            for g in groups
            if len(g) <= len(names) / 2
        ]
    return found


def information(
    table: Float[np.ndarray, "n d k"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " d"]:
    """Share of each cell's variance that lies between classes (eta squared), 0 to 1.

    >>> information(np.array([[[0.0]], [[1.0]]]), np.array([0, 1])).tolist()
    [1.0]
    """
    x = table.astype(np.float64)
    total = ((x - x.mean(axis=0)) ** 2).sum(axis=(0, 2))
    between = np.zeros(x.shape[1])
    for k in np.unique(labels):
        rows = x[labels == k]
        between += len(rows) * ((rows.mean(axis=0) - x.mean(axis=0)) ** 2).sum(axis=1)
    return np.asarray(np.divide(between, total, out=np.zeros_like(total), where=total > 1e-12))


def _image_regions(inputs: Inputs, labels: np.ndarray) -> list[Region]:
    channels, height, width = inputs.images().shape[1:]
    found = [_spatial(inputs, n, k, m) for n, k, m in _masks(height, width)]
    if channels > 1:
        every = np.arange(channels)[:, None, None] * np.ones((1, height, width))
        found += [_spatial(inputs, f"channel {c}", "channel", every == c) for c in range(channels)]
    return found + _frequencies(inputs, labels)


def _masks(height: int, width: int) -> Iterable[tuple[str, str, Bool[np.ndarray, "h w"]]]:
    rows, columns = np.mgrid[:height, :width]
    down, across = min(4, max(1, height // 2)), min(4, max(1, width // 2))
    grid_r, grid_c = rows * down // height, columns * across // width
    for r in range(down):
        for c in range(across):
            yield f"patch row {r + 1}, column {c + 1}", "patch", (grid_r == r) & (grid_c == c)
    edge_r, edge_c = max(1, height // 8), max(1, width // 8)
    top, bottom = rows < edge_r, rows >= height - edge_r
    left, right = columns < edge_c, columns >= width - edge_c
    yield "top edge", "strip", top
    yield "bottom edge", "strip", bottom
    yield "left edge", "strip", left
    yield "right edge", "strip", right
    yield "frame", "strip", top | bottom | left | right
    yield "corners", "strip", (grid_r % (down - 1 or 1) == 0) & (grid_c % (across - 1 or 1) == 0)


def _spatial(inputs: Inputs, name: str, kind: str, mask: np.ndarray) -> Region:
    channels, height, width = inputs.images().shape[1:]
    full = np.broadcast_to(mask, (channels, height, width))
    if inputs.array.ndim == 4 and inputs.channels_last:
        full = full.transpose(1, 2, 0)
    cells = np.flatnonzero(full)
    return Region(name, kind, "input", tuple(cells.tolist()), len(cells) / full.size)


def _frequencies(inputs: Inputs, labels: np.ndarray) -> list[Region]:
    channels, height, width = inputs.images().shape[1:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    flat = radius.ravel()
    limits = {"low": (0.0, 1 / 6), "middle": (1 / 6, 1 / 3), "high": (1 / 3, 1.0)}
    found = {
        f"{name} frequencies": ("band", np.flatnonzero((flat >= a) & (flat < b)))
        for name, (a, b) in limits.items()
    }
    found["brightness"] = ("frequencies", np.flatnonzero(flat == 0))
    told = information(coordinates(inputs, "spectrum"), labels).reshape(channels, -1).max(axis=0)
    order = np.argsort(-np.where(flat == 0, -1.0, told), kind="stable")
    for most in (1, 4):
        found[f"{most} most telling frequenc{'y' if most == 1 else 'ies'}"] = (
            "frequencies",
            np.sort(order[:most]),
        )
    # A frequency is meant in all channels: a mark is rarely in one only.
    offsets = len(flat) * np.arange(channels)[:, None]
    return [
        Region(
            name,
            kind,
            "spectrum",
            tuple((offsets + cells).ravel().tolist()),
            len(cells) / len(flat),
        )
        for name, (kind, cells) in found.items()
        if len(cells)
    ]


def _sequence_regions(inputs: Inputs) -> list[Region]:
    steps, width = inputs.array.shape[1:]
    at, channel = np.mgrid[:steps, :width]
    pieces = min(8, steps)
    found = [
        (f"steps {i + 1} of {pieces}", "patch", at * pieces // steps == i) for i in range(pieces)
    ]
    found += [(f"channel {c}", "channel", channel == c) for c in range(min(width, 24))]
    return [
        Region(name, kind, "input", tuple(np.flatnonzero(m).tolist()), float(m.mean()))
        for name, kind, m in found
        if not m.all()
    ]


def _mix_spectra(base: np.ndarray, donor: np.ndarray, cells: list[int]) -> np.ndarray:
    ours, theirs = np.fft.rfft2(base), np.fft.rfft2(donor)
    shape = ours.shape
    ours = ours.reshape(len(base), -1)
    ours[:, cells] = theirs.reshape(len(donor), -1)[:, cells]
    mixed = np.fft.irfft2(ours.reshape(shape), s=base.shape[2:])
    return np.asarray(mixed, dtype=np.float32)


def _numbers(values: np.ndarray) -> np.ndarray:
    try:
        return np.nan_to_num(values.astype(np.float32))
    except (TypeError, ValueError):
        return np.unique([str(v) for v in values], return_inverse=True)[1].astype(np.float32)


def _correlated(table: np.ndarray, columns: np.ndarray) -> list[tuple[int, ...]]:
    if table.shape[1] < 2:
        return []
    ranks = stats.rankdata(table, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    norm = np.linalg.norm(ranks, axis=0)
    alike = np.abs(ranks.T @ ranks) / np.maximum(np.outer(norm, norm), 1e-12)
    apart = np.clip(1 - alike[np.triu_indices(len(alike), 1)], 0, 1)
    cluster = fcluster(linkage(apart, "average"), 0.2, "distance")
    groups = [tuple(columns[cluster == c].tolist()) for c in np.unique(cluster)]
    return [g for g in groups if len(g) > 1]


def _joint(names: list[str], group: tuple[int, ...]) -> str:
    shown = ", ".join(names[j] for j in group[:4])
    return f"columns {shown}" + (f" and {len(group) - 4} more" if len(group) > 4 else "")
