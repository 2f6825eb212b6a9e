"""Cases of the zoo of small models with known defects."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

DATASETS = ("digits", "breast_cancer", "wine")
PEAKS = ("peak", "stopped")
"""Defects, or their absence, of networks that are about as wide as they have examples."""
PEAK_SIZES = {"digits": 400, "breast_cancer": 190}
"""Training rows of these; as many are left spare."""
_RETRAINED = ("interpolating", "unstable")
_FIRST = 20  # worlds of smaller seeds were looked at while the checks were made


@dataclass(frozen=True)
class Case:
    """One model with one known defect, or with none."""

    dataset: str
    model: str
    """`mlp`, `cnn`, `logistic`, `forest`, `random` (features), `wide`, `nearest` or `tree`."""
    defect: str
    """`healthy`, `label_noise`, `leakage`, `shortcut`, `tiny`, `overtrained`, `peak` (as many
    features as examples, trained to the end), `stopped` (the same, stopped early),
    `interpolating` (single labels decide), `idle_complement` or `memorized_units` (see
    `heldout.bench.zoo_units`), `islands`, `bridged_islands` or `balanced_islands` (see
    `heldout.bench.zoo_islands`), `rare_classes` (see `heldout.bench.zoo_rare`), `rare_sites` (a
    healthy model whose examples are dealt to a large and a small site), or `unstable` (a learning
    rate at which some trainings fail)."""
    level: float
    """Share of wrong labels or of leaked test rows, strength of the shortcut, features per
    example of a peak, share of a rare class that stays, a learning rate; else 0."""
    seed: int

    @property
    def id(self) -> str:
        """Name of the case, unique in the zoo."""
        return f"{self.defect}-{self.level:g}-{self.dataset}-{self.model}-{self.seed}"

    @property
    def with_fit(self) -> bool:
        """Whether the case is audited a second time, with its training function."""
        if self.defect == "healthy":
            return self.seed < _FIRST + 4
        return self.defect in ("label_noise", "tiny", "overtrained", *_RETRAINED)

    @property
    def modes(self) -> tuple[bool, ...]:
        """Whether it is audited without its training function (False), with it (True), or both."""
        if self.defect in _RETRAINED:  # what is asked of it needs retraining
            return (True,)
        return (False, True) if self.with_fit else (False,)

    @property
    def half(self) -> str:
        """`tune`: thresholds may be set on it; `report`: only read at the end."""
        return "tune" if self.seed % 2 == 0 else "report"


def cases() -> list[Case]:
    """Return every case of the zoo, in a fixed order.

    >>> len(cases()) >= 120, len({c.id for c in cases()}) == len(cases())
    (True, True)
    """
    models = {"digits": ("cnn", "mlp", "logistic"), "breast_cancer": ("mlp", "forest", "logistic"),
              "wine": ("mlp", "forest", "logistic")}  # fmt: skip
    pairs = [(d, m) for d in DATASETS for m in models[d]]
    neural = [(d, m) for d, m in pairs if m in ("cnn", "mlp")]
    found = [Case(d, m, "healthy", 0.0, s) for (d, m), s in itertools.product(pairs, _seeds(6))]
    for level in (0.1, 0.2, 0.4):
        found += [Case(d, m, "label_noise", level, s) for (d, m), s in _twice(pairs[:8])]
    for level in (0.05, 0.2):
        found += [Case(d, m, "leakage", level, s) for (d, m), s in _twice(pairs[:6])]
    for level in (0.95, 1.0):
        found += [Case(d, m, "shortcut", level, s) for (d, m), s in _twice(pairs[:8])]
    found += [Case(d, m, "tiny", 0.0, s) for (d, m), s in _twice(pairs[:6])]
    found += [Case(d, m, "overtrained", 0.2, s) for (d, m), s in _twice(neural, 4)]
    random = [(d, "random") for d in PEAK_SIZES]
    for level in (1.0, 1.25):
        found += [Case(d, m, "peak", level, s) for (d, m), s in _twice(random, 4)]
    found += [Case(d, "wide", "peak", 1.0, s) for d, s in itertools.product(PEAK_SIZES, _seeds(4))]
    found += [Case(d, m, "stopped", 1.0, s) for (d, m), s in _twice(random, 4)]
    alone = list(itertools.product(("digits", "breast_cancer"), ("nearest", "tree")))
    found += [Case(d, m, "interpolating", 0.0, s) for (d, m), s in _twice(alone, 4)]
    for fault in ("idle_complement", "memorized_units"):
        found += [Case(d, m, fault, 0.0, s) for (d, m), s in _twice(neural, 4)]
    pooled = neural[:3]  # the two sites of wine would have fewer rows than can be judged
    for fault, seeds in (("islands", 4), ("bridged_islands", 2), ("balanced_islands", 2)):
        found += [Case(d, m, fault, 0.0, s) for (d, m), s in _twice(pooled, seeds)]
    for kept in (0.05, 0.2):
        found += [Case(d, m, "rare_classes", kept, s) for (d, m), s in _twice(neural)]
    found += [Case(d, m, "rare_sites", 0.0, s) for (d, m), s in _twice(pairs[:8])]
    for m, rate in (("cnn", 0.05), ("mlp", 0.16)):
        found += [Case("digits", m, "unstable", rate, s) for s in _seeds(4)]
    return found


def _seeds(count: int) -> range:
    return range(_FIRST, _FIRST + count)


def _twice(pairs: list[tuple[str, str]], seeds: int = 2) -> list[tuple[tuple[str, str], int]]:
    return list(itertools.product(pairs, _seeds(seeds)))
