"""Factors of a large model: layers in groups that fit in memory, data over processes, resumable.

Sums over examples add up over processes, eigendecompositions are divided by layer, and each
layer's factors are a folder of their own, so that what is finished is never lost:

    factors/layer_0007/   as `save_factors` writes it
    factors/bases_0007/   the same before its eigenvalues are corrected; removed afterwards
    factors/sums_0of2/    a process' sums of an unfinished pass
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heldout.core.files import read_json, write_json

from .batches import Batch
from .factors import Factors, LayerFactors, Progress, bases, corrected, covariances
from .layers import Layer
from .losses import LossTask
from .memory import consecutive, factor_size, release
from .passes import FisherPass
from .processes import Group, Say
from .store import load_factors, load_partial, refuse_other, save_factors, save_partial


def factor_bytes(layer: Layer) -> int:
    """Return the bytes that fitting a layer holds: A and S or their bases, and Lambda; float32.

    >>> factor_bytes(Layer("", nn.Linear(3, 2, bias=False), "linear", 3, 2, False))
    76
    """
    return factor_size(layer.n_in, layer.n_out)


def layer_groups(layers: dict[str, Layer], budget: int) -> list[list[str]]:
    """Cut layers into consecutive groups whose factors fit in a budget, at least one layer each.

    >>> from heldout.data.influence.layers import find_layers
    >>> net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    >>> layer_groups(find_layers(net), 200), layer_groups(find_layers(net), 400)
    ([['0'], ['1']], [['0', '1']])
    """
    names = list(layers)
    groups = consecutive([factor_bytes(layer) for layer in layers.values()], budget)
    return [[names[i] for i in group] for group in groups]


def fit_factors(
    model: nn.Module,
    task: LossTask,
    layers: dict[str, Layer],
    data: Sequence[Batch],
    folder: Path,
    about: dict[str, Any],
    *,
    how: FisherPass | None = None,
    budget: int = 2**31,
    save_every: float = 120.0,
    group: Group | None = None,
    say: Say = lambda _: None,
) -> None:
    """Fit EK-FAC factors of every layer to a folder; what is there already is kept.

    Args:
        model: in evaluation mode, on the group's device, the same on every process.
        task: the loss.
        layers: from `find_layers`.
        data: this process's batches; their `start` counts over the whole data, so that sampled
            labels do not depend on how it is shared.
        folder: seen by every process.
        about: what the factors are of (model hash, data, ...); factors of another are refused.
        how: labels; sampled with seed 0 by default.
        budget: bytes for factors held at a time, see `factor_bytes`, beside what one layer needs
            while it is decomposed or written (`memory.work_size`). Less memory is more passes.
        save_every: seconds between saves of a pass's sums.
        group: the processes; alone by default.
        say: told what is done.

    Raises:
        InputError: the folder holds factors of another model, data or setting; see also
            `covariances` and `bases`.

    Cost: two forward and backward passes (without weight gradients) for each group of layers.
    """
    group = group or Group()
    how = how or FisherPass()
    numbers = {name: i for i, name in enumerate(layers)}
    for name, i in numbers.items():
        if (folder / f"layer_{i:04d}" / "factors.json").exists():
            header = read_json(folder / f"layer_{i:04d}" / "factors.json")
            refuse_other(header["about"], {**about, "layer": name}, folder)
    for names in layer_groups(layers, budget):
        folders = {name: folder / f"layer_{numbers[name]:04d}" for name in names}
        todo = group.agree([n for n in names if not (folders[n] / "factors.json").exists()])
        if not todo:
            continue
        say(f"fitting {len(todo)} of {len(layers)} layers, from {todo[0]}")
        chosen = {name: layers[name] for name in todo}
        partial = _Partial(
            folder / f"sums_{group.rank}of{group.size}", {**about, "of": todo}, save_every
        )
        step = _Step(model, task, chosen, data, how, group, partial)
        found = _bases(step, {n: folder / f"bases_{numbers[n]:04d}" for n in todo}, about)
        say("eigenvalues")
        progress = partial.progress("eigenvalues")
        # The sums take the place of K-FAC's eigenvalues, which are not needed any more.
        progress.sums = progress.sums or {n: f.eigenvalues.zero_() for n, f in found.items()}
        for name, one in found.items():
            one.eigenvalues = progress.sums[name]
        squares, _ = corrected(model, task, chosen, data, how, found, progress=progress)
        total = int(group.sum_(torch.tensor(sum(b.size for b in data), device=group.device)))
        for name in todo:
            found[name].eigenvalues = group.sum_(squares.pop(name)).div_(total)
            if numbers[name] % group.size == group.rank:
                full = {**about, "layer": name, "examples": total}
                save_factors(Factors("ekfac", {name: found[name]}, full), folders[name])
            found.pop(name)
            release()
        group.sum_(torch.zeros(1, device=group.device))  # all are written before any is removed
        for name in todo:
            if numbers[name] % group.size == group.rank:
                shutil.rmtree(folder / f"bases_{numbers[name]:04d}", ignore_errors=True)
        partial.clear()


def load_layer(folder: Path, number: int, about: dict[str, Any], name: str) -> LayerFactors:
    """Read the factors of one layer.

    Raises:
        InputError: they are of something else.
        ArtifactError: they are missing or damaged.
    """
    found = load_factors(folder / f"layer_{number:04d}", {**about, "layer": name})
    return found.layers[name]


@dataclass(frozen=True)
class _Step:
    model: nn.Module
    task: LossTask
    layers: dict[str, Layer]
    data: Sequence[Batch]
    how: FisherPass
    group: Group
    partial: _Partial


def _bases(step: _Step, folders: dict[str, Path], about: dict[str, Any]) -> dict[str, LayerFactors]:
    group = step.group
    there = all((path / "factors.json").exists() for path in folders.values())
    if group.agree(there):
        return {
            name: load_factors(path, {**about, "layer": name}).layers[name]
            for name, path in folders.items()
        }
    progress = step.partial.progress("covariances")
    sums = covariances(
        step.model, step.task, step.layers, step.data, step.how, progress=progress
    )  # fmt: skip
    found: dict[str, LayerFactors] = {}
    for i, (name, path) in enumerate(folders.items()):
        total = sums.pop(name)
        group.sum_(total.a)
        group.sum_(total.s)
        counts = torch.tensor([total.positions, total.examples], device=group.device)
        total.positions, total.examples = group.sum_(counts).tolist()
        if i % group.size == group.rank:
            found[name] = bases({name: total})[name]
            save_factors(Factors("kfac", {name: found[name]}, {**about, "layer": name}), path)
            del total
            release()
        else:
            found[name] = LayerFactors(
                total.a.new_empty(len(total.s), len(total.a)), total.a, total.s
            )
    for i, name in enumerate(folders):
        one = found[name]
        for tensor in (one.eigenvalues, one.q_a, one.q_s):
            assert tensor is not None
            group.from_(tensor, i % group.size)
    step.partial.clear()
    return found


@dataclass
class _Partial:
    # A process' sums of an unfinished pass: one file a layer, so that saving holds no second copy
    # of them all; the header, written last, says which set of files counts.
    folder: Path
    about: dict[str, Any]
    save_every: float

    def progress(self, stage: str) -> Progress:
        found = Progress()
        header = self.folder / f"{stage}.json"
        if header.exists():
            done = read_json(header)["done"]
            sums: dict[str, Any] = {}
            for i in range(len(self.about["of"])):
                part = load_partial(self.folder / f"{stage}_{done}", str(i), self.about)
                sums.update(part.sums or {})
            if len(sums) == len(self.about["of"]):
                found = Progress(done, sums)
        last = time.monotonic()

        def after(done: int, sums: dict[str, Any]) -> None:
            nonlocal last
            if time.monotonic() - last >= self.save_every:
                self._save(stage, done, sums)
                last = time.monotonic()

        found.after = after
        return found

    def _save(self, stage: str, done: int, sums: dict[str, Any]) -> None:
        new = self.folder / f"{stage}_{done}"
        for i, name in enumerate(self.about["of"]):
            save_partial(new, str(i), done, {name: sums[name]}, self.about)
        write_json(self.folder / f"{stage}.json", {"done": done})
        for old in self.folder.glob(f"{stage}_*"):
            if old != new:
                shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
