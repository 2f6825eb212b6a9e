"""The gap: train accuracy minus test accuracy."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import Check, Finding, Table, number
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import cross_entropy, difference, proportion

CHECK = Check(
    id="gap",
    part="how_well",
    title="Generalization gap",
    question="How much better is the model on what it was trained on?",
    rule="Warns when the train accuracy exceeds the test accuracy by more than 5 points beyond "
    "chance, fails when by more than 20 points beyond chance.",
    cost="none beyond one forward pass",
    guide="Train minus held-out. A gap is not wrong in itself: what counts is the held-out "
    "accuracy. A large one says that part of the training score was memory.",
)

_WARN, _FAIL = 0.05, 0.20


def run(artifacts: Artifacts) -> Finding:
    """Newcombe interval of the accuracy gap, bootstrap interval of the loss gap."""
    hits = {s: artifacts.correct(s) for s in ("train", "test")}
    train, test = (proportion(int(h.sum()), len(h)) for h in hits.values())
    gap = difference(train, test)
    numbers = {
        "gap": number(
            gap,
            "accuracy difference",
            "higher",
            null=0.0,
            null_label="no gap",
            guide="Train accuracy minus test accuracy.",
        ),
        "loss_gap": number(
            _loss_gap(artifacts),
            "nats",
            "lower",
            null=0.0,
            null_label="no gap",
            guide="Train minus test cross-entropy; below 0 the model does worse on new data.",
        ),
    }
    status = "failed" if gap.low > _FAIL else "warning" if gap.low > _WARN else "passed"
    reason = (
        f"Train {train.value:.1%}, test {test.value:.1%}: a gap of {100 * gap.value:.1f} points "
        f"({100 * gap.low:.1f} to {100 * gap.high:.1f})."
    )
    table = Table(
        "Train and test",
        ["split", "accuracy", "n"],
        [["train", round(train.value, 4), train.n], ["test", round(test.value, 4), test.n]],
    )
    return Finding(status, reason, numbers, tables=[table], evidence=100 * max(0.0, gap.value))  # type: ignore[arg-type]


def _loss_gap(artifacts: Artifacts) -> Interval:
    """Difference of two means, each resampled on its own."""
    rng = stream(artifacts.seed, "gap")
    losses = {}
    for split in ("train", "test"):
        labels = artifacts.labels(split)
        assert labels is not None
        losses[split] = cross_entropy(artifacts.logits(split), labels)
    draws = [
        [x[rng.integers(len(x), size=len(x))].mean() for x in losses.values()] for _ in range(500)
    ]
    found = -np.diff(np.array(draws), axis=1)
    low, high = np.quantile(found, [0.025, 0.975])
    value = float(losses["train"].mean() - losses["test"].mean())
    n = min(len(x) for x in losses.values())
    return Interval(value, float(low), float(high), n, method="percentile bootstrap")
