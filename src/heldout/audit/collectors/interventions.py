"""Answers under interventions on regions of the input, and probes that see only a region."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
from scipy import stats

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, stack
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Split, Task
from heldout.dynamics.regions import Region, coordinates, regions
from heldout.dynamics.reliance import bound_within_classes, feature_reliance, region_probe

COLLECTOR = Collector("interventions", "Regions randomized, kept and swapped", order=20)

DRAWS = 3
_PER_FILE = 8
_ROWS = 1000  # test examples that are intervened on
_FEWEST = 200
_PER_FILE = 8
_PROBE_ROWS = 1000
_WIDEST = 400  # cells that a probe sees; more are thinned evenly
_FULL_PROBES = 10  # regions whose complement is probed too, where the model leans on them at all,
_REFERENCE = 6  # and at least this many, to say what is usual
_LEANS = 0.01  # accuracy lost when the region is swapped
_SECONDS_PER_PROBE = 0.3


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """3 passes per region and draw over a sample of the test set, and small forests."""
    if task.splits["train"].inputs.kind == "tokens":
        return Cost(0, skip="token ids have no regions")
    count = _expected(task)
    rows = _rows(task, speed, settings, count)
    seconds = 3 * DRAWS * count * rows * speed.forward + _SECONDS_PER_PROBE * (count + 40)
    megabytes = rows * speed.input_bytes * 6 / 1e6
    return Cost(seconds, megabytes, f"about {count} regions, {rows} test examples")


def collect(context: Context) -> None:
    """Store `interventions/...`: what was asked of the model, and the probes' answers.

    `sample` (test rows), `regions` (name, kind, space, share, cells of each), `whole` (labels and
    the probe on everything); `asked-<first>` and `probed-<first>`, 8 regions a file, with names
    `<k>/randomized`, `<k>/alone`, `<k>/swapped`, `<k>/donors`; `<k>/alone/<split>`,
    `<k>/rest/<split>`, `<k>/bound`.
    """
    task, seed = context.task, context.settings.seed
    train = task.splits["train"]
    fit_rows = _sample(len(train), _PROBE_ROWS, stream(seed, "interventions", "train"))
    try:
        found = regions(train.inputs.take(fit_rows), task.labels("train")[fit_rows])
    except InputError as error:
        raise NotApplicableError(str(error)) from error
    limit = _rows(task, context.speed, context.settings, len(found))
    rows = _sample(len(task.splits["test"]), limit, stream(seed, "interventions", "test"))
    context.keep("interventions/sample", lambda: {"rows": rows})
    context.keep("interventions/regions", lambda: _described(found))
    for block in _blocks(found):
        context.tell(f"part {block[-1] + 1} of {len(found)}")
        context.keep(
            f"interventions/asked-{block[0]}", partial(_asked, context, found, block, rows)
        )
    _probes(context, found, fit_rows, rows)


def _blocks(found: list[Region]) -> list[list[int]]:
    """Regions by the file that they share: a file each would cost more than the work."""
    every = list(range(len(found)))
    return [every[i : i + _PER_FILE] for i in range(0, len(every), _PER_FILE)]


def _asked(
    context: Context, found: list[Region], block: list[int], rows: np.ndarray
) -> dict[str, np.ndarray]:
    stored = {k: _reliance(context, found[k], k, rows) for k in block}
    return {f"{k}/{name}": v for k, of in stored.items() for name, v in of.items()}


def _reliance(context: Context, region: Region, k: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    test = context.task.splits["test"].take(rows)
    assert test.labels is not None
    rng = stream(context.settings.seed, "interventions", k)
    found = feature_reliance(context.task.classifier, test.inputs, test.labels, region, rng, DRAWS)
    return {
        "randomized": found.randomized.astype(np.uint8),
        "alone": found.alone.astype(np.uint8),
        "swapped": found.swapped.astype(np.int16),
        "donors": found.donors.astype(np.int16),
    }


def _probes(context: Context, found: list[Region], fit_rows: np.ndarray, rows: np.ndarray) -> None:
    """Probe every region alone; the complement only where randomizing the region matters."""
    task = context.task
    splits = {"train": task.splits["train"].take(fit_rows), "test": task.splits["test"].take(rows)}
    for name in task.shifted:
        chosen = _sample(
            len(task.splits[name]), _ROWS, stream(context.settings.seed, "probe", name)
        )
        splits[name] = task.splits[name].take(chosen)
    tables = _Tables(splits)
    context.keep("interventions/whole", lambda: _whole(context, tables))
    harm = _harm(context, found, rows)
    first = np.argsort(-harm, kind="stable")[:_FULL_PROBES].tolist()
    matter = {k for i, k in enumerate(first) if i < _REFERENCE or harm[k] >= _LEANS}
    for block in _blocks(found):
        context.tell(f"probe {block[-1] + 1} of {len(found)}")
        context.keep(
            f"interventions/probed-{block[0]}",
            partial(_probed, context, tables, found, block, matter),
        )


def _probed(
    context: Context, tables: _Tables, found: list[Region], block: list[int], matter: set[int]
) -> dict[str, np.ndarray]:
    stored = {k: _probe(context, tables, found[k], k in matter) for k in block}
    return {f"{k}/{name}": v for k, of in stored.items() for name, v in of.items()}


class _Tables:
    """Coordinates of every split in one space, made when first asked for."""

    def __init__(self, splits: dict[str, Split]) -> None:
        self.splits = splits
        self._made: dict[str, dict[str, np.ndarray]] = {}

    def of(self, space: str) -> dict[str, np.ndarray]:
        if space not in self._made:
            # Together, since text columns are coded by what occurs in any split.
            whole: Inputs = stack([s.inputs for s in self.splits.values()])
            ends = np.cumsum([len(s) for s in self.splits.values()])[:-1]
            parts = np.split(coordinates(whole, space), ends)  # type: ignore[arg-type]
            self._made[space] = dict(zip(self.splits, parts, strict=True))
        return self._made[space]


def _whole(context: Context, tables: _Tables) -> dict[str, np.ndarray]:
    first = tables.of("input")
    cells = np.arange(first["train"].shape[1])
    seed = derived_seed(context.settings.seed, "probe", "whole")
    stored = {f"labels/{k}": s.labels for k, s in tables.splits.items() if s.labels is not None}
    return stored | {f"whole/{k}": v for k, v in _answers(tables, "input", cells, seed)[0].items()}


def _probe(context: Context, tables: _Tables, region: Region, both: bool) -> dict[str, np.ndarray]:
    labels = tables.splits["train"].labels
    assert labels is not None
    seed = derived_seed(context.settings.seed, "probe", region.name)
    cells = np.asarray(region.cells)
    answers, shares = _answers(tables, region.space, cells, seed)
    stored = {f"alone/{k}": v for k, v in answers.items()}
    if not both:
        return stored
    table = tables.of(region.space)["train"]
    others = np.setdiff1d(np.arange(table.shape[1]), cells)
    rest, _ = _answers(tables, region.space, others, seed)
    view = _view(table, others)
    bound = bound_within_classes(shares, view, labels, seed)
    if len(cells) == 1 and table.shape[2] == 1:
        ranks = stats.rankdata(table[:, cells[0], 0])[:, None] / len(table)
        bound = max(bound, bound_within_classes(ranks, view, labels, seed))
    return stored | {f"rest/{k}": v for k, v in rest.items()} | {"bound": np.asarray(bound)}


def _answers(
    tables: _Tables, space: str, cells: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    labels = tables.splits["train"].labels
    assert labels is not None
    views = {k: _view(v, cells) for k, v in tables.of(space).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rows without out-of-bag votes: left at 0
        train = views.pop("train")
        # One column needs few trees, and there may be dozens of them.
        trees = 12 if train.shape[1] == 1 else 40
        probe = region_probe(train, labels, views, seed, trees)
    return {k: v.astype(np.int16) for k, v in probe.answers.items()}, probe.out_of_bag


def _view(table: np.ndarray, cells: np.ndarray) -> np.ndarray:
    if len(cells) > _WIDEST:
        cells = cells[np.linspace(0, len(cells) - 1, _WIDEST).astype(int)]
    return np.asarray(table[:, cells].reshape(len(table), -1))


def _harm(context: Context, found: list[Region], rows: np.ndarray) -> np.ndarray:
    """Accuracy lost by swapping each region."""
    truth = context.task.labels("test")[rows]
    right = context.artifacts.correct("test")[rows].mean()
    stored = _merged(context, found)
    return np.array([right - (stored[f"{k}/swapped"] == truth).mean() for k in range(len(found))])


def _merged(context: Context, found: list[Region]) -> dict[str, np.ndarray]:
    merged: dict[str, np.ndarray] = {}
    for block in _blocks(found):
        merged |= context.artifacts.read(f"interventions/asked-{block[0]}")
    return merged


def _described(found: list[Region]) -> dict[str, np.ndarray]:
    return {
        "name": np.asarray([r.name for r in found], dtype=np.str_),
        "kind": np.asarray([r.kind for r in found], dtype=np.str_),
        "space": np.asarray([r.space for r in found], dtype=np.str_),
        "share": np.asarray([r.share for r in found]),
        "start": np.cumsum([0] + [len(r.cells) for r in found]),
        "cells": np.concatenate([np.asarray(r.cells, dtype=np.int32) for r in found]),
    }


def _expected(task: Task) -> int:
    inputs = task.splits["train"].inputs
    if inputs.kind == "image":
        return 33
    return min(60, int(1.2 * len(inputs.feature_names())) + 1)


def _rows(task: Task, speed: Speed, settings: Settings, count: int) -> int:
    # A quarter of the whole audit's time at most goes into forward passes here.
    affordable = 0.25 * 60 * settings.budget_minutes / max(3 * DRAWS * count * speed.forward, 1e-9)
    return int(min(_ROWS, len(task.splits["test"]), max(_FEWEST, affordable)))


def _sample(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))
