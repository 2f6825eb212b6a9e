"""Hashes of every example and its distance to the training set, so leaks show without data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.core.seeds import stream
from heldout.core.task import Split, Task
from heldout.data.design import image_versions, numeric_matrix
from heldout.data.duplicates import ExactMatches, column_hashes, exact_matches, expected_pairs
from heldout.data.near_duplicates import NearDuplicates, Spacing, near_duplicates, spacing

COLLECTOR = Collector("fingerprints", "Fingerprints of the examples", order=15)

_WIDTH = 128  # distances are taken after a random projection to this many dimensions
_NULL_ROWS = 3000
_MAX_OPERATIONS = 4e11  # above this, moved versions of images are not compared


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Blocked matrix products between every split and the training set."""
    n = len(task.splits["train"])
    others = sum(len(s) for s in task.splits.values()) - n
    width = _width(task.splits["train"])
    versions = _versions(task)
    operations = 2.0 * versions * n * (others + min(n, _NULL_ROWS)) * width
    note = "" if versions != 1 or task.splits["train"].inputs.kind != "image" else "no moved images"
    return Cost(operations / 1e10 + 1e-7 * (n + others) * width, 9 * n * width * 4e-6, note)


def collect(context: Context) -> None:
    """Store per split: row hashes, and per view the spacing to the training set.

    `fingerprints/<split>`: `hash`, `<view>/ratio`, `<view>/distance`, `<view>/partner`; for
    `train`, `<view>/ratio` is the null (its own rows), and `chance`, `found` count identical
    pairs in train and test together.
    """
    task = context.task
    base = None
    for name, split in task.splits.items():
        key = f"fingerprints/{name}"
        if context.artifacts.has(key):
            continue
        if base is None:
            base = _Base(context)
        context.tell(name)
        context.keep(key, partial(base.of, split))


def _width(train: Split) -> int:
    return min(_WIDTH, sum(int(np.prod(v.shape[1:])) for v in train.inputs.columns.values()))


def _versions(task: Task) -> int:
    train = task.splits["train"]
    if train.inputs.kind != "image":
        return 1
    n, most = len(train), max(len(s) for s in task.splits.values())
    return 9 if 18.0 * n * most * _width(train) <= _MAX_OPERATIONS else 1


class _Base:
    """What all splits are compared with: the training set's views without repeated rows."""

    def __init__(self, context: Context) -> None:
        self.context, self.seed = context, context.settings.seed
        self.train = context.task.splits["train"]
        self.moved = _versions(context.task) > 1
        self.hashes = _hashes(self.train)
        self.distinct = np.sort(np.unique(self.hashes, return_index=True)[1])
        self.scale: tuple[np.ndarray, np.ndarray] | None = None
        self.reference = {k: v[0][self.distinct] for k, v in self.views(self.train).items()}

    def views(self, split: Split) -> dict[str, list[np.ndarray]]:
        """Return each view of a split as one or more versions (n, d)."""
        found: dict[str, list[np.ndarray]] = {}
        if split.inputs.kind == "image":
            found["input"] = image_versions(split.inputs.images(), self.moved)
        else:
            matrix = numeric_matrix(split.inputs)
            if matrix is not None and matrix.shape[1]:
                found["input"] = [self._scaled(matrix)]
        features = self.context.artifacts.features(split.name)
        if features is not None:
            found["embedding"] = [np.asarray(features, dtype=np.float32)]
        return {k: [self._narrow(x) for x in v] for k, v in found.items()}

    def of(self, split: Split) -> dict[str, np.ndarray]:
        """Return the fingerprints of one split."""
        hashes = self.hashes if split is self.train else _hashes(split)
        out: dict[str, np.ndarray] = {"hash": hashes}
        own = None
        rows = np.arange(len(split))
        if split is self.train:
            own = np.arange(len(self.distinct))
            if len(own) > _NULL_ROWS:
                own = np.sort(stream(self.seed, "null").choice(own, _NULL_ROWS, replace=False))
            rows = self.distinct[own]
            out |= self._chance()
        for name, versions in self.views(split).items():
            found = spacing(self.reference[name], [v[rows] for v in versions], own)
            out[f"{name}/ratio"] = found.ratio
            out[f"{name}/distance"] = found.distance
            out[f"{name}/partner"] = self.distinct[found.partner]
        return out

    def _chance(self) -> dict[str, np.ndarray]:
        splits = [self.train, *(s for n, s in self.context.task.splits.items() if n == "test")]
        names = list(self.train.inputs.columns)
        stacked = [
            np.vstack([s.inputs.columns[n].reshape(len(s), -1) for s in splits]) for n in names
        ]
        chance, found = expected_pairs(stacked, self.seed)
        return {"chance": np.array(chance), "found": np.array(found)}

    def _scaled(self, matrix: np.ndarray) -> np.ndarray:
        if self.scale is None:
            deviation = matrix.std(axis=0)
            self.scale = matrix.mean(axis=0), np.where(deviation > 0, deviation, np.inf)
        return np.asarray((matrix - self.scale[0]) / self.scale[1], dtype=np.float32)

    def _narrow(self, x: np.ndarray) -> np.ndarray:
        if x.shape[1] <= _WIDTH:
            return x
        # Johnson-Lindenstrauss, the same matrix for every split: ratios survive to a few percent.
        matrix = stream(self.seed, "fingerprints").normal(size=(x.shape[1], _WIDTH))
        return np.asarray(x @ (matrix / np.sqrt(_WIDTH)).astype(np.float32))


def _flat(split: Split) -> list[np.ndarray]:
    return [v.reshape(len(v), -1) for v in split.inputs.columns.values()]


def _hashes(split: Split) -> np.ndarray:
    total = np.zeros(len(split), dtype=np.uint64)
    for seed, values in enumerate(_flat(split)):
        total += column_hashes(values, seed).sum(axis=1)
    return total


@dataclass(frozen=True)
class Matches:
    """What of a split is in the training set."""

    exact: ExactMatches
    """Rows identical to training rows."""
    near: NearDuplicates
    """Other rows far closer to a training row than the data's own spacing explains."""

    @property
    def rows(self) -> np.ndarray:
        """Rows of either kind."""
        return np.union1d(self.exact.rows, self.near.rows)


def matches(artifacts: Artifacts, split: str) -> Matches:
    """Return which rows of a split are copies or near-copies of training rows.

    Args:
        artifacts: with the fingerprints of `train` and of the split.
        split: `test` or `shifted/<name>`.
    """
    train, other = artifacts.read("fingerprints/train"), artifacts.read(f"fingerprints/{split}")
    exact = exact_matches(train["hash"], other["hash"])
    rest = np.setdiff1d(np.arange(len(other["hash"])), exact.rows)
    views = []
    for name in ("input", "embedding"):
        if f"{name}/ratio" in train and f"{name}/ratio" in other and len(rest):
            mine = Spacing(*(other[f"{name}/{k}"][rest] for k in ("ratio", "distance", "partner")))
            null = Spacing(*(train[f"{name}/{k}"] for k in ("ratio", "distance", "partner")))
            views.append((mine, null))
    if not views:
        none = np.zeros(0, dtype=np.int64)
        return Matches(exact, NearDuplicates(none, none, np.zeros(0), np.ones(len(rest))))
    near = near_duplicates(views)
    return Matches(exact, NearDuplicates(rest[near.rows], near.partners, near.ratio, near.p_value))
