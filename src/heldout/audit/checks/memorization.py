"""Memorization: training labels that the model holds one by one."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts, unpacked
from heldout.audit.result import Action, Check, Example, Figure, Finding, Number, Status, number
from heldout.core.interval import Interval

CHECK = Check(
    id="memorization",
    part="why",
    title="Memorization",
    question="How much of the training score is memory of single examples?",
    rule="Warns when the 95 % interval of the held-out excess lies above 0.04, fails when it lies "
    "above 0.08.",
    needs=("predictions", "gradients"),
    paper="generalization_mystery",
    cost="about 20 training passes over at most 2,000 training and test examples",
    guide="The gradient of an example's loss says how foreign its label is to the model. It is "
    "divided by what random labels would give: 0 means taken for granted, 1 means knows nothing. "
    "A model that generalizes takes new labels for granted as it does old ones; one that "
    "memorises knows only the old. Where gradients of examples with one label point the same way, "
    "the label was learned from a pattern that they share.",
)

_WARN, _FAIL = 0.04, 0.08
_LARGEST_DROP = 0.3  # share of the training examples beyond which dropping is no remedy
_RATIO = "share of the random-label gradient"


def run(artifacts: Artifacts) -> Finding:
    """Judge the held-out excess; rank the examples that no other one supports."""
    stored = artifacts.read("gradients/memorization")
    excess = _interval(stored, "excess")
    status: Status = (
        "failed" if excess.low > _FAIL else "warning" if excess.low > _WARN else "passed"
    )
    train, test = _interval(stored, "train_ratio"), _interval(stored, "test_ratio")
    reason = (
        f"Held-out labels are {test.value:.0%} as foreign to the model as random ones, training "
        f"labels {train.value:.0%}: an excess of {excess.value:.3f} "
        f"({excess.low:.3f} to {excess.high:.3f})."
    )
    found = status != "passed"
    return Finding(
        status,
        reason,
        _numbers(stored, excess, train, test),
        examples=_examples(artifacts, stored) if found else [],
        actions=_actions(stored, excess) if found else [],
        figures=[_figure(train, test)],
        evidence=100 * excess.value if found else 0.0,
    )


def _interval(stored: Arrays, name: str) -> Interval:
    method = "delete-one jackknife" if name.startswith("cosine") else "percentile bootstrap"
    return unpacked(stored[name], method)


def _numbers(
    stored: Arrays, excess: Interval, train: Interval, test: Interval
) -> dict[str, Number]:
    null = _interval(stored, "cosine_null").value
    return {
        "excess": number(
            excess, _RATIO, "higher", null=0.0, null_label="no memory",
            guide="Held-out minus training; 0 without memory, 1 for pure memory.",
        ),
        "train": number(
            train, _RATIO, "higher", null=1.0, null_label="random labels",
            guide="Mean gradient norm of the training labels over that of permuted ones.",
        ),
        "test": number(
            test, _RATIO, "higher", null=1.0, null_label="random labels",
            guide="Mean gradient norm of the held-out labels over that of permuted ones.",
        ),
        "same_label_cosine": number(
            _interval(stored, "cosine"), "cosine (-1 to 1)", "lower", null=null,
            null_label="random labels",
            guide="Mean cosine between gradients of two training examples with one label.",
        ),
    }  # fmt: skip


def _order(stored: Arrays) -> np.ndarray:
    known = np.flatnonzero(np.isfinite(stored["agreement"]))
    return np.asarray(known[np.argsort(stored["agreement"][known], kind="stable")])


def _examples(artifacts: Artifacts, stored: Arrays) -> list[Example]:
    index, labels = artifacts.index("train"), artifacts.labels("train")
    assert labels is not None
    names = artifacts.class_names
    out = []
    for k in _order(stored).tolist():
        row, cosine = int(stored["rows"][k]), float(stored["agreement"][k])
        why = f"labelled {names[labels[row]]}: cosine {cosine:.2f} with the others of that label"
        out.append(Example(int(index[row]), "train", -cosine, why, row))
    return out


def _actions(stored: Arrays, excess: Interval) -> list[Action]:
    evidence = f"Held-out excess {excess.value:.3f} ({excess.low:.3f} to {excess.high:.3f})."
    actions = [
        Action(
            "memorization.regularize",
            "Train shorter, or with stronger regularization",
            evidence + " Memory is learned last.",
            "optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)\n"
            "# and keep the weights of the epoch with the best validation accuracy",
            "one training",
            "generalization_mystery",
        )
    ]
    against = [k for k in _order(stored) if stored["agreement"][k] < 0]
    if 0 < len(against) <= _LARGEST_DROP * len(stored["rows"]):
        rows = stored["rows"][against].astype(int).tolist()
        pick = f"held = [e.index for e in report.checks['memorization'].examples[:{len(rows)}]]"
        actions.append(
            Action(
                "memorization.drop",
                f"Drop {len(rows)} training examples that pull against all others of their label",
                evidence + " Their gradients have a negative cosine with those of their label.",
                pick + "\nkept = [i for i in range(len(train)) if i not in set(held)]",
                "one training",
                "generalization_mystery",
                change={"drop": rows},
            )
        )
    return actions


def _figure(train: Interval, test: Interval) -> Figure:
    rows = [
        {"label": name, "value": i.value, "low": i.low, "high": i.high, "n": i.n, "mark": None}
        for name, i in (("training labels", train), ("held-out labels", test))
    ]
    data = {
        "rows": rows,
        "x_label": "gradient norm over that of random labels",
        "reference": 1.0,
        "reference_label": "random labels",
        "mark_label": "",
    }
    alt = f"Training labels {train.value:.2f}, held-out labels {test.value:.2f}, random labels 1."
    return Figure("intervals", "How foreign labels are to the model", data, alt)
