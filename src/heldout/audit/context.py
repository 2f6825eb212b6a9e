"""What a collector is given, and what it says before it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.failure import FitError
from heldout.core.classifier import Classifier
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs
from heldout.core.task import Task


@dataclass(frozen=True)
class Settings:
    """Choices of one audit."""

    seed: int = 0
    """Seed of everything random in the audit."""
    budget_minutes: float = 10.0
    """Time for the whole audit; costly collectors do less, or are skipped, to keep to it."""
    max_examples: int = 20_000
    """Larger splits are sampled at random down to this many examples."""
    batch_size: int = 256
    """Examples per call of the model."""
    memory_gb: float = 4.0
    """Memory that collectors may plan with."""
    exclude_kinds: tuple[str, ...] = ()
    """Perturbation kinds kept out of the forecast's meta-set, to test it on unseen ones."""


@dataclass(frozen=True)
class Collector:
    """What a collector is; the constant `COLLECTOR` of its module."""

    id: str
    """Also the first part of the keys it stores."""
    title: str
    """What it does, for the plan: `Predictions and embeddings`."""
    order: int
    """Collectors run in increasing order: cheap ones first, those that retrain last."""
    share: float = 0.0
    """Share of the retraining budget, for collectors that call `refit`."""


@dataclass(frozen=True)
class Cost:
    """What a collector expects to take."""

    seconds: float
    megabytes: float = 0.0
    note: str = ""
    """What it will sample or do less of."""
    skip: str = ""
    """Why it will not run at all; empty when it will."""


@dataclass(frozen=True)
class Speed:
    """Measured before planning."""

    forward: float
    """Seconds per example of one forward pass in batches."""
    input_bytes: float
    """Bytes per example of the inputs."""


@dataclass
class Context:
    """A collector's world: the task, where to store, how long it may take."""

    task: Task
    artifacts: Artifacts
    settings: Settings
    speed: Speed
    deadline: float = float("inf")
    """`time.monotonic()` at which this collector should have ended."""
    tell: Callable[[str], None] = lambda text: None
    """Reports progress in words, such as `fold 3 of 5`."""
    fit_seconds: list[float] = field(default_factory=list)
    """Duration of every retraining so far."""
    _models: dict[tuple[int, int], Classifier] = field(default_factory=dict)

    def keep(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
        """See `Artifacts.keep`."""
        return self.artifacts.keep(key, compute)

    def seconds_left(self) -> float:
        """Seconds until this collector's deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def fits_left(self, share: float = 1.0) -> int:
        """How many retrainings of the full training set fit in a share of the time left."""
        if not self.fit_seconds:
            return 1
        seconds = min(share * self.seconds_left(), 1e6)
        return int(seconds / max(float(np.median(self.fit_seconds)), 1e-3))

    def refit(
        self,
        rows: np.ndarray | None = None,
        seed: int = 0,
        labels: np.ndarray | None = None,
        inputs: Inputs | None = None,
    ) -> Classifier:
        """Retrain with the user's `fit`, timed; full unchanged refits are reused by seed.

        Raises:
            InputError: no `fit`, or one that returned no model.
            FitError: it raised.
        """
        full = rows is None and labels is None and inputs is None
        if full and (0, seed) in self._models:
            return self._models[(0, seed)]
        start = time.monotonic()
        try:
            model = self.task.refit(rows, seed, labels, inputs)
        except InputError:
            raise
        except Exception as error:  # the user's own code: anything
            raise FitError(error) from error
        size = 1.0 if rows is None else len(rows) / max(1, len(self.task.splits["train"]))
        self.fit_seconds.append((time.monotonic() - start) / max(size, 0.05))
        if full:
            self._models[(0, seed)] = model
        return model
