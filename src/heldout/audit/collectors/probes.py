"""Small models of our own, cross-fitted on the training set: what its labels look like to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from heldout.audit.collectors.fingerprints import matches
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.seeds import derived_seed
from heldout.core.task import Task
from heldout.data.crossfit import ProbeOptions, crossfit_probes
from heldout.data.design import numeric_matrix

COLLECTOR = Collector("probes", "Probes of the training labels", order=20)

_FEWEST = 30  # training examples below which held-out predictions say nothing
_NEED_EMBEDDING = 0.25  # probes this much worse than the model get its embedding as well;
# wrong labels lower the probes' agreement too, so a small gap says nothing of the probes


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """Seven small models; measured at 4 s for 1,000 rows x 60 columns on one core."""
    n = len(task.splits["train"])
    if n < _FEWEST:
        return Cost(0, skip=f"{n} training examples are fewer than {_FEWEST}")
    width = min(
        400, sum(int(np.prod(v.shape[1:])) for v in task.splits["train"].inputs.columns.values())
    )
    seconds = 1.5 + n / 1000 * (2.0 + width / 60) * (1 + task.n_classes / 30)
    return Cost(seconds, n * task.n_classes * 4 * 7 / 1e6)


def collect(context: Context) -> None:
    """Store `probes/<name>`: `probs` (n, classes), each row predicted without its own label.

    The labelled test examples are learned from as well, except copies of training examples.
    Where inputs are not numbers, or the probes are far behind the model, the model's embedding
    is used too; `clean` says whether it is free of the labels that the model memorised.
    """
    train, test = context.task.splits["train"], context.task.splits["test"]
    if len(train) < _FEWEST:
        raise SkippedError(f"{len(train)} training examples are fewer than {_FEWEST}")
    labels = context.task.labels("train")
    matrix = numeric_matrix(train.inputs)
    extra_rows = _extra(context)
    best = 0.0
    if matrix is not None and np.ptp(matrix, axis=0).max() > 0:
        other = numeric_matrix(test.inputs)
        extra = None
        if other is not None and test.labels is not None and other.shape[1] == matrix.shape[1]:
            extra = (other[extra_rows], test.labels[extra_rows])
        for name in ProbeOptions().probes:
            best = max(best, _keep(context, name, name, matrix, labels, extra))
    _embedding(context, labels, extra_rows, best)


def _keep(
    context: Context,
    key: str,
    probe: str,
    x: np.ndarray,
    labels: np.ndarray,
    extra: tuple[np.ndarray, np.ndarray] | None,
    clean: bool = True,
) -> float:
    context.tell(key)
    options = replace(ProbeOptions(), probes=(probe,))
    compute = partial(
        _probe, x, labels, context.task.n_classes, context.settings.seed, extra, options, clean
    )
    if probe in ("extra", "forest", "logistic") and len(x) > options.max_rows:
        return 0.0
    stored = context.keep(f"probes/{key}", compute)
    return float((stored["probs"].argmax(axis=1) == labels).mean())


def _probe(
    x: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    extra: tuple[np.ndarray, np.ndarray] | None,
    options: ProbeOptions,
    clean: bool,
) -> dict[str, np.ndarray]:
    found = crossfit_probes(x, labels, classes, derived_seed(seed, "probes"), extra, options)
    (probs,) = found.values()
    return {"probs": probs.astype(np.float32), "clean": np.array(clean)}


def _extra(context: Context) -> np.ndarray:
    test = context.task.splits["test"]
    if context.artifacts.has("fingerprints/test"):
        return np.setdiff1d(np.arange(len(test)), matches(context.artifacts, "test").rows)
    return np.zeros(0, dtype=np.int64)


def _embedding(context: Context, labels: np.ndarray, rows: np.ndarray, best: float) -> None:
    features = context.artifacts.features("train")
    test_labels = context.artifacts.labels("test")
    accuracy = 0.0 if test_labels is None else float(context.artifacts.correct("test").mean())
    if features is None or np.ptp(features, axis=0).max() <= 0:
        if best == 0.0:
            raise NotApplicableError("inputs are not numbers, and the model has no embedding")
        return
    if best > accuracy - _NEED_EMBEDDING and best > 0:
        return
    # A model that memorised a wrong label moved that example's embedding to the wrong class: the
    # embedding then vouches for the label. One that memorised nothing agrees with its training
    # labels no more than with those of the test set, and less where training labels are wrong.
    agreement = float(context.artifacts.correct("train").mean())
    clean = test_labels is not None and agreement <= accuracy
    if best > 0 and not clean:
        return
    _keep(context, "embedding", "gaussian", features, labels, None, clean)
