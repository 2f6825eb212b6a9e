"""Influence: which training examples raised the loss of the worst held-out errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.result import (
    Action,
    Check,
    Example,
    Finding,
    Number,
    SkippedError,
    Table,
    number,
)
from heldout.audit.suspects import held_out_sources, likely_wrong
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import difference, proportion
from heldout.data.label_noise import NoiseRanking, rank_label_noise

CHECK = Check(
    id="influence",
    part="why",
    title="Influence on the worst errors",
    question="Which training examples are responsible for the worst held-out errors?",
    rule="The worst wrong predictions of the test set and of up to four shifted sets are traced to "
    "training examples. Among the 5 % of rows (10 to 100) that raised their loss most, counted are "
    "those whose label looks wrong to models that did not see it. Warns when their share is higher "
    "than among all rows (95 % interval of the difference above 0), by 10 points or more, and "
    "higher than in 97.5 % of sets of as many held-out examples with random labels, among the rows "
    "that rank first for those; passes otherwise.",
    needs=("predictions", "probes", "influence"),
    uses=("crossfit",),
    paper="influence_llm",
    cost="about three training passes over at most 2,000 training examples, 8 s at most",
    guide="Influence is how the loss of an error would change if a training example counted more: "
    "positive where training on it raised that loss. It is a local estimate at the trained weights "
    "(EK-FAC), good for ranking rows, not for their exact effect. In a healthy model, too, some "
    "rows rank first: rare and ambiguous ones. To blame are those whose label is wrong as well.",
)

_SHARE, _FEWEST, _MOST = 0.05, 10, 100  # of the rows that are looked at
_EFFECT = 0.1  # more suspects than among all rows
_LARGEST_DROP = 0.3  # share of the training examples beyond which dropping is no remedy
_MOSTLY = 0.9  # share of the weights below which it is said how many were read
_SHOWN = 3  # rows on either side for each error in the table
_SETS = 400  # of errors without a cause
_UNIT = "share of training rows (0-1)"


@dataclass(frozen=True)
class _Reading:
    stored: Arrays
    labels: np.ndarray  # of the rows that were scored
    ranking: NoiseRanking  # of all training rows
    suspects: np.ndarray  # whether each scored row's label looks wrong
    harm: np.ndarray  # mean over errors of the influence on their loss, by scored row
    k: int  # rows that are looked at

    @property
    def order(self) -> np.ndarray:
        return np.argsort(-self.harm, kind="stable")

    @property
    def first(self) -> np.ndarray:
        return self.order[: self.k]


def run(artifacts: Artifacts) -> Finding:
    """Count labels that look wrong among the rows that raised the errors' loss most."""
    read = _read(artifacts)
    first = proportion(int(read.suspects[read.first].sum()), read.k)
    every = proportion(int(read.suspects.sum()), len(read.suspects))
    null = _null(read, stream(artifacts.seed, "influence", "null sets"))
    beyond = difference(first, every)
    found = beyond.low > 0 and first.value > null.high and beyond.value >= _EFFECT
    errors = len(read.stored["errors"])
    reason = (
        f"Of the {read.k} training rows that raised the loss of the {errors} worst held-out errors "
        f"most, {first.value:.0%} have a label that looks wrong, of all rows {every.value:.1%}, "
        f"of those that rank first for random labels {null.value:.0%}."
    )
    return Finding(
        "warning" if found else "passed",
        reason + _read_part(read),
        _numbers(read, first, every, null, beyond),
        examples=_examples(artifacts, read),
        actions=_actions(read, first, every) if found else [],
        tables=[_table(artifacts, read)],
        evidence=100 * beyond.value * every.value if found else 0.0,
    )


def _read(artifacts: Artifacts) -> _Reading:
    stored = artifacts.read("influence/scores")
    labels = artifacts.labels("train")
    assert labels is not None
    if len(stored["rows"]) < 2 * _FEWEST:
        raise SkippedError(f"{len(stored['rows'])} training rows are fewer than {2 * _FEWEST}")
    sources, _ = held_out_sources(artifacts, len(labels))
    ranking = rank_label_noise(sources, labels)
    suspects = np.isin(stored["rows"], likely_wrong(ranking, labels))
    n = len(stored["rows"])
    k = int(np.clip(round(_SHARE * n), _FEWEST, _MOST))
    return _Reading(stored, labels[stored["rows"]], ranking, suspects, _scaled(stored).mean(0), k)


def _scaled(stored: Arrays) -> np.ndarray:
    # by each error's own size, so that one of large gradients does not speak for all
    return np.asarray(stored["scores"] / stored["sizes"][:, None], dtype=float)


def _null(read: _Reading, rng: np.random.Generator) -> Interval:
    # As many causeless errors at a time as there are real ones. The rows are the same ones, so
    # that only which errors were asked is left to chance: the interval is that of resampling them.
    null, size = read.stored["null"].astype(float), len(read.stored["errors"])
    shares = []
    for _ in range(_SETS):
        harm = null[rng.integers(0, len(null), size)].mean(axis=0)
        shares.append(float(read.suspects[np.argpartition(-harm, read.k - 1)[: read.k]].mean()))
    low, high = np.quantile(shares, [0.025, 0.975])
    value = float(np.mean(shares))
    return Interval(value, float(low), float(high), len(null), method="resampled sets of errors")


def _read_part(read: _Reading) -> str:
    layers, of = len(read.stored["layers"]), int(read.stored["of"])
    share = float(read.stored["read"])
    n, total = len(read.stored["rows"]), int(read.stored["total"])
    said = f" {n} of {total} training rows were read." if n < total else ""
    said += f" {layers} of {of} layers were read." if layers < of else ""
    seen = f" {100 * share:.2g} % of the weights are in layers that were read."
    return said + (seen if share < _MOSTLY else "")


def _numbers(
    read: _Reading, first: Interval, every: Interval, null: Interval, beyond: Interval
) -> dict[str, Number]:
    limit = np.quantile(np.abs(read.stored["null"]), 0.999)
    scaled = _scaled(read.stored)
    rows = int((scaled > limit).any(0).sum())
    expected = 1 - 0.9995 ** len(scaled)  # half of the null's extremes are harmful ones
    return {
        "suspects_among_first": number(
            first, _UNIT, "higher", null=null.value, null_label="held-out rows with random labels",
            guide="Rows whose label looks wrong, among those that raised the errors' loss most.",
        ),
        "suspects_among_all": number(
            every, _UNIT, "higher", null=0.0, null_label="no wrong labels",
            guide="Rows whose label looks wrong, among all that were scored.",
        ),
        "excess": number(
            beyond, "difference of shares (-1 to 1)", "higher", null=0.0,
            null_label="suspects are no more to blame than others",
            guide="Share among the first rows minus the share among all.",
        ),
        "beyond_null": number(
            proportion(rows, len(read.harm)), _UNIT, "higher", null=float(expected),
            null_label="independent rows at the null's 99.9 % quantile",
            guide="Rows that raised the loss of at least one error more than all but one in a "
            "thousand scores of held-out examples with random labels.",
        ),
    }  # fmt: skip


def _examples(artifacts: Artifacts, read: _Reading) -> list[Example]:
    index, names = artifacts.index("train"), artifacts.class_names
    scaled = _scaled(read.stored)
    raised = (scaled > 0).sum(0)
    out = []
    for i in read.order.tolist():
        row, label = int(read.stored["rows"][i]), names[read.labels[i]]
        best = int(read.ranking.suggested[row])
        why = f"labelled {label}: raised the loss of {raised[i]} of {len(scaled)} worst errors"
        if read.suspects[i]:
            why += f"; looks like {names[best]} ({read.ranking.clean[row, best]:.0%})"
        out.append(Example(int(index[row]), "train", float(read.harm[i]), why, row))
    return out


def _actions(read: _Reading, first: Interval, every: Interval) -> list[Action]:
    blamed = read.first[read.suspects[read.first]]
    rows = read.stored["rows"][blamed].astype(int).tolist()
    suggested = read.ranking.suggested[rows].tolist()
    evidence = (
        f"{first.value:.0%} of the rows that raised the worst errors' loss most look wrongly "
        f"labelled, of all rows {every.value:.1%}."
    )
    pick = (
        "first = report.checks['influence'].examples\n"
        f"rows = [e.index for e in first[:{read.k}] if 'looks like' in e.why]"
    )
    actions = [
        Action(
            "influence.relabel",
            f"Look at {len(rows)} training labels behind the worst errors and correct them",
            evidence,
            pick,
            f"about {max(1, round(len(rows) / 6))} minutes of looking, then one training",
            "influence_llm",
            change={"relabel": {"rows": rows, "labels": suggested}},
        )
    ]
    if len(rows) <= _LARGEST_DROP * len(read.ranking.score):
        actions.append(
            Action(
                "influence.drop",
                f"Drop {len(rows)} training examples behind the worst errors",
                evidence,
                pick + "\nkept = [i for i in range(len(train)) if i not in set(rows)]",
                "one training",
                "influence_llm",
                change={"drop": rows},
            )
        )
    return actions


def _table(artifacts: Artifacts, read: _Reading) -> Table:
    scaled, names = _scaled(read.stored), artifacts.class_names
    index = artifacts.index("train")[read.stored["rows"]]

    def said(order: np.ndarray) -> str:
        return ", ".join(f"{index[i]} ({names[read.labels[i]]})" for i in order[:_SHOWN])

    rows = []
    for e, (split, at) in enumerate(
        zip(read.stored["splits"].tolist(), read.stored["errors"].tolist(), strict=True)
    ):
        labels = artifacts.labels(split)
        assert labels is not None
        order = np.argsort(-scaled[e], kind="stable")
        predicted = int(artifacts.logits(split)[at].argmax())
        rows.append(
            [
                f"{split} {artifacts.index(split)[at]}",
                names[labels[at]],
                names[predicted],
                f"{float(read.stored['losses'][e]):.2f}",
                said(order),
                said(order[::-1]),
            ]
        )
    columns = ["error", "label", "predicted", "loss (nats)", "raised it", "lowered it"]
    return Table("Worst errors, and the training rows that moved their loss most", columns, rows)
