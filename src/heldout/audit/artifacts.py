"""What `collect` stores and checks read: small arrays by key, on disk, whole or absent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from heldout.core.errors import ArtifactError
from heldout.core.files import read_arrays, read_json, write_arrays, write_json
from heldout.core.interval import Interval
from heldout.core.statistics import softmax

VERSION = 2
"""Version of the layout on disk; raised whenever an older reader would misread it."""

Arrays = dict[str, np.ndarray]


def packed(interval: Interval) -> np.ndarray:
    """Return an interval as it is stored: value, low, high, n.

    >>> packed(Interval(0.5, 0.25, 0.75, 8)).tolist()
    [0.5, 0.25, 0.75, 8.0]
    """
    return np.array([interval.value, interval.low, interval.high, interval.n])


def unpacked(stored: np.ndarray, method: str) -> Interval:
    """Return the interval that was stored by `packed`.

    >>> unpacked(packed(Interval(0.5, 0.25, 0.75, 8)), "wilson").n
    8
    """
    value, low, high, n = stored.tolist()
    return Interval(value, low, high, int(n), method=method)


@dataclass
class Artifacts:
    """Arrays by key in a folder, and a manifest that describes the task.

    Keys are paths such as `predictions/train` or `crossfit/fold-3`; each is one npz file.
    Checks use the readers; only collectors `keep`.
    """

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    _held: dict[str, Arrays] = field(default_factory=dict, init=False, repr=False)

    # -- writing ---------------------------------------------------------------------------

    def keep(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
        """Return what is stored under a key, computing and storing it first when absent.

        This is what makes a collector resumable: call it once per unit of work that is worth
        not repeating (one split, one fold, one retrained model). A damaged file is replaced.
        """
        path = self._path(key)
        if path.exists():
            try:
                return read_arrays(path)
            except ArtifactError:
                path.unlink()
        arrays = {k: np.asarray(v) for k, v in compute().items()}
        write_arrays(path, arrays)
        return arrays

    def save_manifest(self) -> None:
        """Write the manifest."""
        write_json(self.folder / "manifest.json", self.manifest)

    def mark(self, collector: str, state: str, reason: str, seconds: float) -> None:
        """Record how a collector ended: `done`, `not_applicable`, `skipped` or `failed`."""
        self.manifest.setdefault("collectors", {})[collector] = {
            "state": state,
            "reason": reason,
            "seconds": round(seconds, 3),
        }
        self.save_manifest()

    # -- reading ---------------------------------------------------------------------------

    @classmethod
    def open(cls, folder: Path) -> Artifacts:
        """Open a folder written earlier.

        Raises:
            ArtifactError: it holds no manifest, or one of another version.
        """
        manifest = read_json(folder / "manifest.json")
        found = manifest.get("version") if isinstance(manifest, dict) else None
        if found != VERSION:
            raise ArtifactError(
                f"{folder} was written by layout version {found}, this is version {VERSION}; "
                "run the audit again on the model, or use the Heldout release that wrote it"
            )
        return cls(folder, manifest)

    def has(self, key: str) -> bool:
        """Whether a key is stored."""
        return self._path(key).exists()

    def read(self, key: str) -> Arrays:
        """Return the arrays of a key.

        Raises:
            ArtifactError: the key is not stored, or its file is damaged.
        """
        return read_arrays(self._path(key))

    def keys(self, prefix: str) -> list[str]:
        """Return the stored names directly under a prefix, sorted, unquoted order of writing.

        `keys("refits")` gives `["refits/0", "refits/1"]`.
        """
        folder = self.folder / "/".join(quote(p, safe="") for p in prefix.split("/"))
        return sorted(f"{prefix}/{unquote(p.stem)}" for p in folder.glob("*.npz"))

    def state(self, collector: str) -> dict[str, Any]:
        """Return how a collector ended: `state`, `reason`, `seconds`."""
        missing = {"state": "skipped", "reason": "it was not collected", "seconds": 0.0}
        return dict(self.manifest.get("collectors", {}).get(collector, missing))

    # -- what nearly every check reads ------------------------------------------------------

    @property
    def splits(self) -> list[str]:
        """Names of all splits: `train`, `test`, `shifted/<name>`."""
        return list(self.manifest["splits"])

    @property
    def shifted(self) -> list[str]:
        """Names of the shifted splits."""
        return [s for s in self.splits if s.startswith("shifted/")]

    @property
    def class_names(self) -> list[str]:
        """Name of each class id."""
        return list(self.manifest["class_names"])

    @property
    def seed(self) -> int:
        """Seed of the audit."""
        return int(self.manifest["settings"]["seed"])

    @property
    def has_fit(self) -> bool:
        """Whether the user passed `fit`."""
        return bool(self.manifest["has_fit"])

    def logits(self, split: str) -> np.ndarray:
        """Logits (n, classes) of a split, float32."""
        return self._predictions(split)["logits"]

    def probabilities(self, split: str) -> np.ndarray:
        """Probabilities (n, classes) of a split, float64."""
        return softmax(self.logits(split))

    def features(self, split: str) -> np.ndarray | None:
        """Embedding (n, d) of a split, or None when the model has no last linear layer."""
        return self._predictions(split).get("features")

    def labels(self, split: str) -> np.ndarray | None:
        """Class ids (n,) of a split, or None."""
        return self._predictions(split).get("labels")

    def index(self, split: str) -> np.ndarray:
        """Position in the user's data of each example held."""
        return self._predictions(split)["index"]

    def groups(self, split: str) -> dict[str, np.ndarray]:
        """Metadata of a split by name, as strings."""
        stored = self._predictions(split)
        return {k.removeprefix("group/"): v for k, v in stored.items() if k.startswith("group/")}

    def correct(self, split: str) -> np.ndarray:
        """Whether each example is predicted right; the split must have labels."""
        labels = self.labels(split)
        assert labels is not None
        return np.asarray(self.logits(split).argmax(axis=1) == labels)

    def _predictions(self, split: str) -> Arrays:
        # Held by this object alone: the same folder may hold another task's answers later.
        if split not in self._held:
            self._held[split] = self.read(f"predictions/{split}")
        return self._held[split]

    def _path(self, key: str) -> Path:
        parts = [quote(part, safe="").replace(".", "%2E") for part in key.split("/")]
        # A shifted set's name is the user's: everything after `shifted/` is one file name.
        if "shifted" in parts[:-2]:
            at = parts.index("shifted")
            parts = [*parts[: at + 1], "%2F".join(parts[at + 1 :])]
        return self.folder.joinpath(*parts[:-1], f"{parts[-1]}.npz")


def fresh(folder: Path, manifest: dict[str, Any]) -> Artifacts:
    """Open a folder to collect into, keeping what an interrupted run of the same task left.

    A folder of another task or version is emptied, since its numbers are about something else.
    """
    try:
        old = Artifacts.open(folder)
        if old.manifest.get("fingerprint") == manifest["fingerprint"]:
            return Artifacts(folder, {**manifest, "collectors": old.manifest.get("collectors", {})})
    except ArtifactError:
        pass
    if (folder / "manifest.json").exists():
        shutil.rmtree(folder)
    made = Artifacts(folder, manifest)
    made.save_manifest()
    return made
