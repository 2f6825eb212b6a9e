"""Numerics: examples that rounding has silenced, and predictions that it would change."""

from __future__ import annotations

import math

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts, unpacked
from heldout.audit.result import Check, Finding, Number, Status, Table, number
from heldout.core.interval import Interval
from heldout.dynamics.numerics import FORMATS, Collapse, logit_range, softmax_collapse

CHECK = Check(
    id="numerics",
    part="why",
    title="Numerics",
    question="Does rounding stop the model from learning, or change what it says?",
    rule="Fails when weights hold non-finite values. Warns when most training examples have a loss "
    "of exactly zero in float32, or when bfloat16 would change more than 2 % of the test "
    "predictions (95 % intervals).",
    needs=("predictions", "numerics"),
    paper="grokking_stability",
    cost="one training pass and two more forward passes over at most 2,000 examples",
    guide="Once logits are far apart, softmax rounds to certainty and the example stops training "
    "the model (softmax collapse); before that, steps mostly scale the logits, which lowers the "
    "loss and changes no prediction. Every classifier that fits its data goes that way: cosines "
    "of 0.3 to 0.9 are usual in good models too, so the cosine is shown and not judged.",
)

_COLLAPSE, _CHANGED = 0.5, 0.02


def run(artifacts: Artifacts) -> Finding:
    """Collapse from stored logits; alignment and agreement from the collector."""
    labels, logits = artifacts.labels("train"), artifacts.logits("train")
    assert labels is not None
    weights = artifacts.read("numerics/weights")
    collapse = {name: softmax_collapse(logits, labels, name) for name in FORMATS}
    single = collapse["float32"].zero_loss
    aligned = float(weights["last"] if np.isfinite(weights["last"]) else weights["every"])
    coarse = {name: artifacts.read(f"numerics/{name}") for name in ("bfloat16", "float16")}
    brain = _share(coarse["bfloat16"])
    broken = int(weights["nonfinite"])
    said = _said(broken, single, brain)
    status: Status = "failed" if broken else "warning" if said else "passed"
    reason = " ".join(said) or (
        f"{single.value:.1%} of the training losses are exactly zero in float32; the step's "
        f"cosine with logit scaling is {aligned:.2f}."
    )
    numbers = {
        "nonfinite": Number(
            broken, broken, broken, 1, "values", "higher", 0.0, "none",
            guide="NaN and infinite values in weights and buffers.",
        ),
        "softmax_collapse": number(
            single, "share of examples (0-1)", "higher", null=0.0, null_label="none",
            guide="Training examples whose loss is exactly 0 in float32: they no longer teach.",
        ),
        "logit_scaling": _alignment(aligned, weights),
    }  # fmt: skip
    for name, stored in coarse.items():
        share = _share(stored)
        if share is not None:
            numbers[f"agreement_{name}"] = number(
                share, "share of examples (0-1)", "lower", null=1.0,
                null_label="no rounding",
                guide=f"Test predictions that stay the same when the model runs in {name}.",
            )  # fmt: skip
    table = _table(collapse, logits)
    return Finding(status, reason, numbers, tables=[table], evidence=_evidence(broken, brain))


def _share(stored: Arrays) -> Interval | None:
    return None if math.isnan(stored["share"][0]) else unpacked(stored["share"], "wilson")


def _said(broken: int, single: Interval, brain: Interval | None) -> list[str]:
    said = []
    if broken:
        said.append(f"{broken} values in the weights are not finite.")
    if single.low > _COLLAPSE:
        said.append(
            f"{single.value:.1%} of the training losses are exactly zero in float32 "
            f"({single.low:.1%} to {single.high:.1%}): those examples no longer teach the model."
        )
    if brain is not None and brain.high < 1 - _CHANGED:
        said.append(f"bfloat16 would change {1 - brain.value:.1%} of the test predictions.")
    return said


def _alignment(value: float, weights: Arrays) -> Number:
    last = bool(np.isfinite(weights["last"]))
    return Number(
        value, math.nan, math.nan, int(weights["n"]), "cosine (-1 to 1)", "higher", 0.0,
        "a random direction",
        method="gradient of the mean loss against the "
        + ("last linear layer's weights" if last else "all weights"),
        guide="Cosine between a gradient step and scaling the logits up; near 1, training longer "
        "changes little else. A property of this model on these examples: no interval.",
    )  # fmt: skip


def _evidence(broken: int, brain: Interval | None) -> float:
    # Only what changes predictions costs accuracy.
    if broken:
        return 50.0
    return 100 * (1 - brain.value) if brain is not None and brain.high < 1 - _CHANGED else 0.0


def _table(collapse: dict[str, Collapse], logits: np.ndarray) -> Table:
    extent = logit_range(logits)
    rows = [
        [
            name,
            f"{found.zero_loss.value:.3f}",
            f"{found.zero_gradient.value:.3f}",
            f"{found.overflow.value:.3f}",
            f"{extent.spacing[name]:.2g}",
        ]
        for name, found in collapse.items()
    ]
    return Table(
        "What each number format would do to the training losses",
        ["format", "zero loss", "zero gradient", "overflow", "step between logits"],
        rows,
        f"Shares of examples; the largest logit is {extent.largest:.3g}.",
    )
