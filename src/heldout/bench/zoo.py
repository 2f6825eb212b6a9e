"""Worlds of the zoo: data, a planted defect, a model trained on them, and what is true of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from heldout.bench.corruptions import RESAMPLE_KINDS, corrupt, corruption_kinds, resample
from heldout.bench.defects import added_column, border_mark, leaked, wrong_labels
from heldout.bench.training import train_network
from heldout.bench.zoo_cases import PEAK_SIZES, PEAKS, Case
from heldout.bench.zoo_islands import DEFECTS as POOLED
from heldout.bench.zoo_islands import dealt, pooled, unequal
from heldout.bench.zoo_peaks import Path, path, readouts, stopped, wide
from heldout.bench.zoo_rare import DEFECT as RARE
from heldout.bench.zoo_rare import rare_classes
from heldout.bench.zoo_units import DEFECTS as IN_UNITS
from heldout.bench.zoo_units import Planted, planted
from heldout.core.seeds import derived_seed, stream
from heldout.nets.small import SmallCNN, mlp

_SIZES = {"digits": 600, "breast_cancer": 330, "wine": 110}  # training rows
_TEST = 500  # at most; the rest of the rows otherwise
_PEAK_TEST = 150  # at least
_PEAK_NOISE = 0.2  # share of wrong labels: without noise there is nothing to overfit
_TINY = 4  # training rows per class of a tiny case
_SHIFTS = 4  # shifted sets per case
_EPOCHS = {"mlp": 30, "cnn": 25}  # of a healthy network


@dataclass(frozen=True)
class World:
    """The data of a case, its training function, and the truth about it."""

    arguments: dict[str, Any]
    """For `heldout.core.preparing.prepare`: model, train, test, shifted, fit; groups of pooled
    data, and of healthy ones sites dealt at random."""
    kinds: tuple[str, ...]
    """Kinds of perturbation of the shifted sets."""
    wrong_rows: np.ndarray = field(default_factory=lambda: np.arange(0))
    """Training rows with a wrong label."""
    leaked_rows: np.ndarray = field(default_factory=lambda: np.arange(0))
    """Test rows that are copies of training rows."""
    without_cue: tuple[np.ndarray, np.ndarray] | None = None
    """The test set with the shortcut saying a random class; None where none was planted."""
    twice: tuple[Any, Any] | None = None
    """Training data of twice the size, from the same source; None when there are not enough."""
    path: Path | None = None
    """The same training at growing lengths, up to the model's own; None where it has none."""
    truth: dict[str, float] = field(default_factory=dict)
    """What was measured of a planted fault while it was made; `present` is 1 where it is there."""


def world(case: Case) -> World:
    """Make the data of a case, plant its defect, and train its model.

    Deterministic in the case. Cost: one training, under 5 s.

    >>> len(world(Case("wine", "logistic", "leakage", 0.2, 0)).leaked_rows)
    14
    """
    rng = stream(case.seed, case.id)
    x, y, xt, yt, spare = _data(case, rng)
    n_classes = int(y.max()) + 1
    seed = derived_seed(case.seed, case.id)
    made = _planted(case, (x, y), (xt, yt), seed)
    if made is not None:
        return World(made.arguments, (), made.wrong_rows, truth=made.truth)
    kinds = _kinds(case, x.ndim)
    shifted = {
        f"{kind}-{i}": _shift(kind, float(rng.uniform(0.15, 1.0)), x, xt, yt, rng)
        for i, kind in enumerate(kinds)
    }
    twice = (
        None if spare is None else (np.concatenate([x, spare[0]]), np.concatenate([y, spare[1]]))
    )
    wrong = gone = np.arange(0)
    cueless = None
    if case.defect == "shortcut":
        cueless = (_marked(case, x, xt, yt, 0.0, rng), yt)
        shifted = {k: (_marked(case, x, a, b, 0.0, rng), b) for k, (a, b) in shifted.items()}
        xt = _marked(case, x, xt, yt, case.level, rng)
        x = _marked(case, x, x, y, case.level, rng)
    if case.defect == "leakage":
        jitter = 0.02 if case.seed % 4 >= 2 or case.level > 0.1 else 0.0
        xt, gone, origin = leaked(x, xt, case.level, rng, jitter)
        yt = yt.copy()
        yt[gone] = y[origin]
    if case.defect in ("label_noise", "overtrained"):
        y, wrong = wrong_labels(y, case.level, n_classes, rng)
    if case.defect in PEAKS:
        y, wrong = wrong_labels(y, _PEAK_NOISE, n_classes, rng)
    fit = trainer(case, x.shape[1:], n_classes)
    arguments = {
        "model": fit((x, y), seed),
        "train": (x, y),
        "test": (xt, yt),
        "shifted": shifted,
        "fit": fit,
    }
    sites = stream(case.seed, case.id, "sites")
    if case.defect == "healthy":  # of the training set alone: other checks read those of test sets
        arguments["groups"] = {"train": {"site": dealt(len(y), sites)}}
    if case.defect == "rare_sites":
        arguments["groups"] = {k: {"site": unequal(len(a), sites)} for k, a in
                               (("train", y), ("test", yt))}  # fmt: skip
    return World(
        arguments, kinds, wrong, gone, cueless, twice, _path(case, arguments, n_classes, seed)
    )


def _planted(case: Case, train: Any, test: Any, seed: int) -> Planted | None:
    if case.defect in IN_UNITS:
        return planted(case.defect, train, test, case.model, seed)
    if case.defect in POOLED:
        return pooled(case.defect, train, test, case.model, seed)
    if case.defect == RARE:
        return rare_classes(train, test, case.model, seed, case.level)
    return None


def _path(case: Case, arguments: dict[str, Any], n_classes: int, seed: int) -> Path | None:
    x, y = arguments["train"]
    if case.defect in PEAKS:
        return path(case.model, x, y, n_classes, _width(case), seed)
    if case.defect == "healthy" and case.model in _EPOCHS:
        whole = _EPOCHS[case.model]
        fits = [trainer(case, x.shape[1:], n_classes, max(1, whole // k)) for k in (8, 4, 2, 1)]
        return lambda: [fit((x, y), seed) for fit in fits]
    return None


def _width(case: Case) -> int:
    return round(case.level * PEAK_SIZES[case.dataset])


def trainer(
    case: Case, shape: tuple[int, ...], n_classes: int, epochs: int | None = None
) -> Callable[[Any, int], Any]:
    """Return `fit(dataset, seed)` of a case, for a network of `epochs` where that is given.

    >>> trainer(Case("wine", "forest", "healthy", 0.0, 0), (13,), 3).__name__
    'fit'
    """
    long = case.defect == "overtrained"

    def fit(dataset: Any, seed: int) -> Any:
        x, y = dataset
        flat = np.asarray(x).reshape(len(x), -1)
        if case.model == "logistic":
            return LogisticRegression(max_iter=500, C=0.5).fit(flat, y)
        if case.model == "forest":
            return RandomForestClassifier(100, min_samples_leaf=2, random_state=seed).fit(flat, y)
        if case.model == "nearest":
            return KNeighborsClassifier(1).fit(flat, y)
        if case.model == "tree":
            return DecisionTreeClassifier(random_state=seed).fit(flat, y)
        if case.defect in PEAKS:
            return _peak(case, x, y, n_classes, seed)
        width = int(np.prod(shape))
        hidden = [256, 256] if long else [64, 32]
        if case.model == "cnn":
            make: Callable[[], Any] = lambda: SmallCNN(shape[0], shape[1], n_classes, 8)  # noqa: E731
        else:
            make = lambda: mlp([width, *hidden, n_classes])  # noqa: E731
        length = epochs or (120 if long else _EPOCHS[case.model])
        decay = 0.0 if long else 1e-2
        rate = case.level if case.defect == "unstable" else 3e-3
        return train_network(make, x, y, length, rate, weight_decay=decay, seed=seed)

    return fit


def _peak(case: Case, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int) -> Any:
    width = _width(case)
    if case.defect == "stopped":
        return stopped(x, y, n_classes, width, seed)
    if case.model == "wide":
        return wide(x, y, n_classes, width, seed=seed)
    return readouts(x, y, n_classes, width, seed=seed)[0]


def _data(
    case: Case, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    load = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}
    x, y = load[case.dataset](return_X_y=True)
    order = rng.permutation(len(y))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    n = _SIZES[case.dataset]
    if case.defect == "tiny":
        n = _TINY * (int(y.max()) + 1)
        x, y = _classes_first(x, y, 2 * _TINY)
    tested = _TEST
    if case.defect in PEAKS:
        n, tested = PEAK_SIZES[case.dataset], _PEAK_TEST
    spare = (x[n : 2 * n], y[n : 2 * n]) if 2 * n + tested <= len(y) else None
    start = 2 * n if spare is not None else n
    test = slice(start, start + _TEST)
    if case.dataset == "digits" and case.model in ("cnn", "mlp"):  # the others take rows
        shape = (-1, 1, 8, 8) if case.model == "cnn" or case.seed % 2 else (-1, 64)
        parts = [(a / 16.0).reshape(shape) for a in (x[:n], x[test])]
        more = None if spare is None else ((spare[0] / 16.0).reshape(shape), spare[1])
        return parts[0], y[:n], parts[1], y[test], more
    mean, std = x[:n].mean(axis=0), x[:n].std(axis=0) + 1e-6

    def scaled(a: np.ndarray) -> np.ndarray:
        return np.asarray((a - mean) / np.maximum(std, 1e-2), dtype=np.float32)

    more = None if spare is None else (scaled(spare[0]), spare[1])
    return scaled(x[:n]), y[:n], scaled(x[test]), y[test], more


def _classes_first(x: np.ndarray, y: np.ndarray, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Reorder rows so that the first ones hold every class equally, interleaved."""
    rank = np.array([np.sum(y[:i] == c) for i, c in enumerate(y)])
    order = np.lexsort((y, np.where(rank < per_class, rank, per_class)))
    return x[order], y[order]


def _kinds(case: Case, ndim: int) -> tuple[str, ...]:
    rng = stream(zlib.crc32(case.id.encode()), "kinds")
    known = [*corruption_kinds(ndim), "tilt", "region", "class_prior"]
    others = [k for k in known if k != "noise"]
    return ("noise", *rng.choice(others, _SHIFTS - 1, replace=False).tolist())


def _shift(
    kind: str,
    severity: float,
    x: np.ndarray,
    xt: np.ndarray,
    yt: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    if kind in RESAMPLE_KINDS:
        rows = resample(xt, yt, kind, severity, rng)
        return xt[rows], yt[rows]
    limits = (float(x.min()), float(x.max())) if xt.ndim == 4 else None
    if kind == "noise" and xt.ndim == 2:  # standard deviations 0.2, 0.5 and 1
        sd = float(rng.choice([0.2, 0.5, 1.0])) * (1.0 if x.min() < 0 else float(x.std()))
        return (xt + sd * rng.normal(size=xt.shape)).astype(np.float32), yt
    return corrupt(xt, kind, severity, rng, limits).astype(np.float32), yt


def _marked(
    case: Case,
    x: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Let a cue say the label for a share of the examples, and a random class for the rest."""
    n_classes = int(labels.max()) + 1
    random = rng.integers(0, n_classes, len(labels))
    codes = np.where(rng.random(len(labels)) < share, labels, random)
    if inputs.ndim == 4:
        return border_mark(inputs, codes, float(x.max()))
    return added_column(inputs, codes, 0.1, rng, scale=2.0)
