"""Training labels that are probably wrong."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import (
    Action,
    Check,
    Example,
    Finding,
    Number,
    Status,
    Table,
    number,
)
from heldout.audit.suspects import held_out_sources, likely_wrong
from heldout.core.interval import Interval
from heldout.core.statistics import proportion
from heldout.data.el2n import el2n
from heldout.data.label_noise import NoiseRanking, rank_label_noise

CHECK = Check(
    id="label_noise",
    part="why",
    title="Label noise",
    question="How many training labels are wrong, and which?",
    rule="Fails when the 95 % interval of the share of wrong labels lies above 5 %, warns when it "
    "lies above 3 %.",
    needs=("predictions", "probes"),
    uses=("crossfit",),
    paper="data_diet",
    cost="seven small models on the training set; with fit up to 15 trainings",
    guide="Models that did not see a label are asked about it: kernel machines, forests, small "
    "networks stopped early, and with fit your own model on folds. Pooled, they rank every "
    "label. The share of wrong labels is read from the most confident predictions: hard classes "
    "cause disagreement where models hesitate, wrong labels cause it everywhere.",
)

_FAIL = 0.05
_WARN = 0.03
_FOLDS = 5


def run(artifacts: Artifacts) -> Finding:
    """Pool the held-out predictions, rank the labels, estimate the share of wrong ones."""
    labels = artifacts.labels("train")
    assert labels is not None
    sources, contaminated = held_out_sources(artifacts, len(labels))
    ranking = rank_label_noise(sources, labels)
    rate = ranking.rate
    status: Status = "failed" if rate.low > _FAIL else "warning" if rate.low > _WARN else "passed"
    numbers = {"rate": _rate(rate), "disagreement": _disagreement(ranking, labels)}
    likely = likely_wrong(ranking, labels)
    reason = (
        f"About {rate.value:.1%} of the {rate.n} training labels look wrong "
        f"({rate.low:.1%} to {rate.high:.1%})."
    )
    if contaminated:
        reason += " Only the model's own embedding could be used, so memorised errors are missed."
    return Finding(
        status,
        reason,
        numbers,
        examples=_examples(artifacts, ranking, labels),
        actions=_actions(artifacts, ranking, labels, likely) if status != "passed" else [],
        tables=[_by_source(sources, ranking, labels)],
        evidence=100 * rate.value if status != "passed" else 0.0,
    )


def _rate(rate: Interval) -> Number:
    return number(
        rate,
        "share of examples (0-1)",
        "higher",
        null=0.0,
        null_label="no wrong labels",
        guide="Share of training labels that are wrong, beyond what overlapping classes explain.",
    )


def _disagreement(ranking: NoiseRanking, labels: np.ndarray) -> Number:
    differs = int((ranking.suggested != labels).sum())
    return number(
        proportion(differs, len(labels)),
        "share of examples (0-1)",
        "higher",
        guide="Share of labels that the pooled models would not have given; hard classes and "
        "wrong labels both count.",
    )


def _examples(artifacts: Artifacts, ranking: NoiseRanking, labels: np.ndarray) -> list[Example]:
    names, index = artifacts.class_names, artifacts.index("train")
    out = []
    for r in ranking.order.tolist():
        given, best = int(labels[r]), int(ranking.suggested[r])
        if given == best:
            why = f"labelled {names[given]}: {1 - ranking.score[r]:.0%} likely"
        else:
            why = (
                f"labelled {names[given]} ({1 - ranking.score[r]:.0%} likely), "
                f"looks like {names[best]} ({ranking.clean[r, best]:.0%})"
            )
        out.append(Example(int(index[r]), "train", float(ranking.score[r]), why, r))
    return out


def _actions(
    artifacts: Artifacts, ranking: NoiseRanking, labels: np.ndarray, likely: np.ndarray
) -> list[Action]:
    if not len(likely):
        return []
    k = len(likely)
    evidence = (
        f"Estimated share of wrong labels {ranking.rate.value:.1%} "
        f"({ranking.rate.low:.1%} to {ranking.rate.high:.1%}); these {k} are the likeliest."
    )
    pick = f"worst = [e.index for e in report.checks['label_noise'].examples[:{k}]]"
    rows, names = likely.tolist(), ranking.suggested[likely].tolist()
    return [
        Action(
            "label_noise.relabel",
            f"Look at {k} training labels and correct them",
            evidence,
            pick,
            f"about {max(1, round(k / 6))} minutes of looking, then one training",
            "data_diet",
            change={"relabel": {"rows": rows, "labels": names}},
        ),
        Action(
            "label_noise.drop",
            f"Drop {k} training examples whose labels look wrong",
            evidence,
            pick + "\nkept = [i for i in range(len(train)) if i not in set(worst)]",
            "one training",
            "data_diet",
            change={"drop": rows},
        ),
    ]


def _by_source(sources: dict[str, np.ndarray], ranking: NoiseRanking, labels: np.ndarray) -> Table:
    rows = [
        [
            name,
            f"{(probs.argmax(axis=1) == labels).mean():.3f}",
            f"{el2n(probs, labels).mean():.3f}",
            f"{ranking.weights[name]:.2f}",
        ]
        for name, probs in sources.items()
    ]
    return Table(
        "Held-out models",
        ["model", "agreement with labels", "mean EL2N", "weight"],
        rows,
        "EL2N is the norm of the held-out error vector (Paul et al. 2021); weights are fitted.",
    )
