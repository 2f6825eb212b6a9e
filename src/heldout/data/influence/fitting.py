"""The steps of a fit in order, each of which can be interrupted and goes on from its last save."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .batches import batches, expected
from .factors import (
    Factors,
    Kind,
    LayerFactors,
    Progress,
    Stash,
    bases,
    corrected,
    covariances,
)
from .layers import Layer
from .losses import LossTask
from .passes import FisherPass, refuse_reduced
from .store import load_partial, save_partial
from .taps import tapping

STAGES = ("covariances", "eigenvalues")


@dataclass(frozen=True)
class Fitting:
    """What a fit needs beside the model and the data."""

    kind: Kind
    """Of the curvature."""
    how: FisherPass
    """Labels and batches."""
    shared: bool = False
    """Whether layers may be called several times."""
    memory: int = 256 * 2**20
    """Bytes for inputs and gradients kept between the passes."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the factors are of, to be compared when they are read."""
    folder: Path | None = None
    """For the sums of an unfinished pass."""
    sizes: tuple[int, ...] = ()
    """Rows of each batch: how far a pass came is counted in batches."""
    save_every: float = 60.0
    """Seconds between saves."""


def fit_factors(
    model: nn.Module, task: LossTask, layers: dict[str, Layer], data: Any, fitting: Fitting
) -> Factors:
    """Fit the curvature of a model's layers; see `EKFAC.fit`.

    Args:
        model: in evaluation mode.
        task: the loss.
        layers: from `find_layers`.
        data: as in `batches.batches`.
        fitting: how, and where unfinished sums go.

    Raises:
        InputError: see `run_fisher`.
    """
    kind, how = fitting.kind, fitting.how
    if kind == "identity":
        with tapping(model, layers, fitting.shared, ones=False) as taps:
            device = next(model.parameters()).device
            refuse_reduced(taps, task, next(batches(data, how.batch_size, device)))
        dtype = next(model.parameters()).dtype
        flat = {
            k: LayerFactors(torch.zeros(v.n_out, v.n_in, dtype=dtype)) for k, v in layers.items()
        }
        return Factors("identity", flat, fitting.about)
    one, two = (_progress(fitting, stage) for stage in STAGES)
    stash = Stash(fitting.memory if not one.done and not two.done else 0, expected(data))
    kept_too = stash if kind in ("ekfac", "diagonal") else None
    sums = covariances(model, task, layers, data, how, kept_too, fitting.shared, one)
    found = bases(sums, kind)
    examples = max(total.examples for total in sums.values())
    about = {**fitting.about, "examples": examples}
    if kind == "kfac":
        return Factors(kind, found, about)
    if fitting.folder is not None:  # whole, so that what comes next can be interrupted as well
        save_partial(fitting.folder, STAGES[0], len(fitting.sizes), sums, _start(fitting))
    del sums
    kept = stash.pairs or None  # none either where the first pass was whole before
    squares, _ = corrected(model, task, layers, data, how, found, kept, fitting.shared, two)
    for name, layer in found.items():
        layer.eigenvalues = squares[name].div_(examples)
    return Factors(kind, found, about)


def _start(fitting: Fitting) -> dict[str, Any]:
    return {**fitting.about, "batches": list(fitting.sizes)}


def _progress(fitting: Fitting, stage: str) -> Progress:
    folder = fitting.folder
    if folder is None:
        return Progress()
    progress = load_partial(folder, stage, _start(fitting))
    last = time.monotonic()

    def save(done: int, sums: dict[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last >= fitting.save_every:
            save_partial(folder, stage, done, sums, _start(fitting))
            last = time.monotonic()

    progress.after = save
    return progress
