"""Evidence about perturbed copies of the test set, on which accuracy forecasts are learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.core.classifier import Classifier
from heldout.core.inputs import Inputs
from heldout.core.seeds import derived_seed, stream
from heldout.core.statistics import softmax
from heldout.core.task import Split, Task
from heldout.shift.collection import MetaPlan, describe, fit_evidence, meta_sets
from heldout.shift.evidence import EXAMPLE_EVIDENCE, SET_EVIDENCE, Evidence
from heldout.shift.space import InputSpace

COLLECTOR = Collector(
    "perturbations", "Perturbed copies for the shift forecast", order=60, share=0.1
)

FOLDS = 3
_TRAIN, _TEST, _SHIFTED = 2000, 1000, 2000  # most examples looked at of each split
_FORWARD_SHARE = 0.1  # of the whole budget, for the model's passes over perturbed copies
_PROBE_SECONDS = 6.0
_FEATURES = 128  # wider embeddings are projected for the distances


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """About 80 copies of at most 250 test examples through the model, and small probes."""
    if not task.shifted:
        return Cost(0, skip="no shifted set to forecast")
    if not _perturbable(task.splits["train"].inputs):
        return Cost(0, skip=f"{task.splits['train'].inputs.kind} inputs cannot be perturbed")
    meta = _meta_plan(task, speed, settings)
    forwards = meta.forwards(2, _TEST) + _TRAIN + _SHIFTED * len(task.shifted)
    note = f"{meta.rows} rows per copy" + (f", {FOLDS} more fits" if task.fit is not None else "")
    return Cost(
        forwards * speed.forward + _PROBE_SECONDS, 60 * _TEST * speed.input_bytes / 1e6, note
    )


def collect(context: Context) -> None:
    """Store `perturbations/meta`, `perturbations/shifted/<name>` and, with `fit`, folds.

    `meta` and `fold-<k>`: `rows` (examples, evidence), `sizes`, `whole`, `correct`, `kinds`,
    `labelled`. Shifted sets: `rows`, `whole`. Columns are named in `perturbations/names`.
    """
    task = context.task
    if not task.shifted:
        raise NotApplicableError("there is no shifted set to forecast")
    if not _perturbable(task.splits["train"].inputs):
        raise NotApplicableError("the inputs are neither tables nor images nor number sequences")
    context.keep(
        "perturbations/names",
        lambda: {"example": np.array(EXAMPLE_EVIDENCE), "set": np.array(SET_EVIDENCE)},
    )
    seed, meta = context.settings.seed, _meta_plan(task, context.speed, context.settings)
    train = _sample(task.splits["train"], _TRAIN, seed)
    desk = _Desk(task.classifier, train, _sample(task.splits["test"], _TEST, seed), seed, meta)
    context.tell("probes and perturbed copies")
    context.keep("perturbations/meta", desk.meta)
    for name in task.shifted:
        part = _sample(task.splits[name], _SHIFTED, seed).inputs
        context.keep(f"perturbations/{name}", partial(desk.shifted, part))
    if task.fit is not None:
        _folds(context, meta)


def _folds(context: Context, meta: MetaPlan) -> None:
    """Models retrained without a third of the training rows give more labelled rows to learn on."""
    split = context.task.splits["train"]
    order = stream(context.settings.seed, "perturbations", "folds").permutation(len(split))
    for k in range(FOLDS):
        if not context.artifacts.has(f"perturbations/fold-{k}") and k and context.fits_left() < 1:
            break
        held = np.sort(order[k::FOLDS])
        rest = np.setdiff1d(order, held)
        if len(np.unique(context.task.labels("train")[rest])) < context.task.n_classes:
            continue
        context.tell(f"fold {k + 1} of {FOLDS}")

        context.keep(f"perturbations/fold-{k}", partial(_fold, context, meta, k, held, rest))


def _fold(
    context: Context, meta: MetaPlan, k: int, held: np.ndarray, rest: np.ndarray
) -> dict[str, np.ndarray]:
    split, seed = (
        context.task.splits["train"],
        derived_seed(context.settings.seed, "perturbations", k),
    )
    model = context.refit(rows=rest, seed=seed)
    train = _sample(split.take(rest), _TRAIN, seed)
    return _Desk(model, train, _sample(split.take(held), _TEST, seed), seed, meta).meta()


@dataclass
class _Desk:
    # One model with its own training and labelled rows; the probes are trained when first needed.
    model: Classifier
    train: Split
    test: Split
    seed: int
    plan: MetaPlan

    @cached_property
    def view(self) -> _View:
        return _View(self.train.inputs)

    @cached_property
    def space(self) -> InputSpace:
        return InputSpace().fit(self.view.numbers(self.train.inputs))

    @cached_property
    def evidence(self) -> Evidence:
        train, test = (
            (self.space.forward(self.view.numbers(s.inputs)), np.asarray(s.labels))
            for s in (self.train, self.test)
        )
        return fit_evidence(self.space, self.predict, train, test, self.seed, self.plan.exclude)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        out = self.model(self.view.inputs(x))
        features = out.features
        if features is not None and features.shape[1] > _FEATURES:
            # The same Gaussian matrix for every set, so that distances compare.
            rng = np.random.default_rng(features.shape[1])
            features = features @ rng.normal(size=(features.shape[1], _FEATURES)) / _FEATURES**0.5
        return softmax(out.logits), features

    def meta(self) -> dict[str, np.ndarray]:
        labelled = self.space.forward(self.view.numbers(self.test.inputs))
        labels = np.asarray(self.test.labels)
        sets, kinds = meta_sets(
            self.space, self.predict, self.evidence, (labelled, labels), self.seed, self.plan
        )
        assert sets.correct is not None
        return {
            "rows": sets.rows.astype(np.float32),
            "sizes": sets.sizes,
            "whole": sets.whole,
            "correct": sets.correct.astype(np.uint8),
            "kinds": np.array(kinds),
            "labelled": np.array(len(labels)),
        }

    def shifted(self, inputs: Inputs) -> dict[str, np.ndarray]:
        z = self.space.forward(self.view.numbers(inputs))
        rows, whole, _ = describe(self.space, self.predict, self.evidence, z)
        return {"rows": rows.astype(np.float32), "whole": whole}


class _View:
    # Inputs as one array of numbers and back; categories of a frame become codes.
    def __init__(self, like: Inputs) -> None:
        self.like = like
        self.categories = {
            k: np.unique(v.astype(str))
            for k, v in like.columns.items()
            if v.dtype.kind not in "biuf"
        }

    def numbers(self, inputs: Inputs) -> np.ndarray:
        if inputs.kind == "image":
            return np.asarray(inputs.images(), dtype=np.float64)
        parts = [self._coded(k, v) for k, v in inputs.columns.items()]
        return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1).astype(np.float64)

    def inputs(self, x: np.ndarray) -> Inputs:
        if self.like.kind == "image":
            return self.like.with_images(x)
        if "" in self.like.columns:
            return self.like.with_array(x.reshape(len(x), *self.like.array.shape[1:]))
        found = {
            k: self._decoded(k, v, x[:, j]) for j, (k, v) in enumerate(self.like.columns.items())
        }
        return replace(self.like, columns=found)

    def _coded(self, name: str, column: np.ndarray) -> np.ndarray:
        if name not in self.categories:
            return column
        known = self.categories[name]
        return np.searchsorted(known, column.astype(str)).clip(0, len(known) - 1)

    def _decoded(self, name: str, like: np.ndarray, x: np.ndarray) -> np.ndarray:
        if name in self.categories:
            known = self.categories[name]
            return np.asarray(
                known[np.rint(x).astype(int).clip(0, len(known) - 1)].astype(like.dtype)
            )
        if like.dtype.kind in "biu":
            return np.asarray(np.rint(x).clip(like.min(), like.max()).astype(like.dtype))
        return np.asarray(x.astype(like.dtype))


def _perturbable(inputs: Inputs) -> bool:
    if inputs.kind in ("tokens", "mixed"):
        return False
    return all(v.dtype.kind in "biufOUST" for v in inputs.columns.values())


def _meta_plan(task: Task, speed: Speed, settings: Settings) -> MetaPlan:
    """Fewer rows per copy, then fewer copies, for a model that is slow to ask."""
    whole = MetaPlan(exclude=settings.exclude_kinds)
    seconds = _FORWARD_SHARE * 60 * settings.budget_minutes
    affordable = int(seconds / max(speed.forward, 1e-9))
    for plan in (whole, replace(whole, levels=1, pairs=4)):
        copies = plan.forwards(2, 1)
        if affordable >= 60 * copies:
            return replace(plan, rows=min(plan.rows, affordable // copies))
    return replace(whole, levels=1, pairs=0, rows=40)


def _sample(split: Split, most: int, seed: int) -> Split:
    if len(split) <= most:
        return split
    rows = stream(seed, "perturbations", split.name).permutation(len(split))[:most]
    return split.take(np.sort(rows))
