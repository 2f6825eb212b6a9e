"""Weakest classes and metadata groups, corrected for how many were looked at."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import Action, Check, Example, Figure, Finding, Number, Table, number
from heldout.core.interval import Interval
from heldout.core.statistics import cross_entropy
from heldout.measures.group_rates import SMALLEST, Cell, Judged, cells, judge

CHECK = Check(
    id="groups",
    part="how_well",
    title="Weak groups",
    question="Is the model clearly worse on some class or group than on the rest?",
    rule="Warns when a group's accuracy is below the rest's (one-sided Fisher exact test, "
    "Holm-corrected over every group looked at, 5 %) and at least 10 points below it after "
    "shrinkage; fails when even the corrected interval puts it more than 10 points below. "
    "Groups of fewer than 10 test examples are listed, not judged.",
    paper="Fisher 1935; Holm 1979; Newcombe 1998",
    cost="none beyond one forward pass",
    guide="The smallest of many noisy rates is low by chance alone, so the worst group's rate is "
    "also given after shrinkage towards the others, and only differences that survive the "
    "correction for the number of groups are reported as findings.",
)

_MATERIAL = 0.10
_SEVERE = 0.10
_SHOWN = 20


def run(artifacts: Artifacts) -> Finding:
    """Test every group against the rest, correct, and name those that are materially worse."""
    correct = artifacts.correct("test")
    labels = artifacts.labels("test")
    assert labels is not None
    every = cells(labels, artifacts.class_names, artifacts.groups("test"))
    large = [c for c in every if SMALLEST <= c.rows.sum() <= len(correct) - SMALLEST]
    small = len(every) - len(large)
    judged = sorted(judge(large, correct), key=lambda j: j.shrunk.value)
    weak = [j for j in judged if j.rejected and j.rest - j.shrunk.value >= _MATERIAL]
    # Broad groups first: a weak site explains its weak intersections with classes.
    weak.sort(key=lambda j: -_points(j).value)
    severe = [j for j in weak if j.gap.high <= -_SEVERE]
    looked = f"{len(judged)} groups looked at" + (f", {small} too small to judge" if small else "")
    if weak:
        first = "; ".join(_words(artifacts, j) for j in weak[:3])
        reason = f"Clearly worse than the rest: {first} ({looked})."
    elif judged:
        worst = judged[0]
        reason = (
            f"No group is clearly worse than the rest ({looked}); the lowest is {_label(worst)}, "
            f"{worst.shrunk.value:.1%} after shrinkage (n = {worst.accuracy.n})."
        )
    else:
        reason = f"No group has the {SMALLEST} test examples that a comparison needs ({looked})."
    return Finding(
        "failed" if severe else "warning" if weak else "passed",
        reason,
        _numbers(judged),
        _examples(artifacts, weak),
        [_action(artifacts, j) for j in weak[:3]],
        [_table(artifacts, judged)] if judged else [],
        [_figure(judged)] if judged else [],
        evidence=max((_points(j).value for j in weak), default=0.0),
    )


def _label(j: Judged) -> str:
    return f"{j.cell.family} {j.cell.name}"


def _words(artifacts: Artifacts, j: Judged) -> str:
    mistaken = _mistaken(artifacts, j.cell)
    return f"{_label(j)} {j.accuracy.value:.1%} (n = {j.accuracy.n}) against {j.rest:.1%}" + (
        f", mostly mistaken for {mistaken}" if mistaken else ""
    )


def _mistaken(artifacts: Artifacts, cell: Cell) -> str:
    """Return the class that at least half of the group's errors go to, else nothing."""
    wrong = cell.rows & ~artifacts.correct("test")
    counts = np.bincount(artifacts.logits("test")[wrong].argmax(axis=1), minlength=1)
    return (
        artifacts.class_names[int(counts.argmax())]
        if 2 * counts.max() >= max(1, wrong.sum())
        else ""
    )


def _points(j: Judged) -> Interval:
    """Test accuracy that would be gained, in points, if the group became as good as the rest."""
    share = 100 * float(j.cell.rows.mean())
    g = j.gap
    value, low, high = -share * g.value, max(0.0, -share * g.high), -share * g.low
    return Interval(value, low, high, g.n, g.level, "group size x Newcombe difference")


def _numbers(judged: list[Judged]) -> dict[str, Number]:
    if not judged:
        return {}
    worst = judged[0]
    found = {
        "worst": number(
            worst.shrunk, "accuracy (0-1)", "lower", null=worst.rest, null_label="the rest",
            guide=f"Accuracy of the weakest group ({_label(worst)}), shrunk towards its family, "
            f"since the lowest of {len(judged)} rates is low partly by chance.",
        )
    }  # fmt: skip
    for j in judged:
        if j.rejected or j.cell.family == "class" or len(found) <= _SHOWN:
            found[j.key] = number(
                j.accuracy, "accuracy (0-1)", "lower", null=j.rest, null_label="the rest",
                guide="Share of this group's examples predicted right.",
            )  # fmt: skip
    return found


def _examples(artifacts: Artifacts, weak: list[Judged]) -> list[Example]:
    labels, index = artifacts.labels("test"), artifacts.index("test")
    assert labels is not None
    loss = cross_entropy(artifacts.logits("test"), labels)
    predicted = artifacts.logits("test").argmax(axis=1)
    names, seen, found = artifacts.class_names, set[int](), []
    for j in weak:
        wrong = np.flatnonzero(j.cell.rows & (predicted != labels))
        for row in wrong[np.argsort(-loss[wrong])].tolist():
            if row not in seen:
                why = f"{_label(j)}: {names[labels[row]]} taken for {names[predicted[row]]}"
                found.append(Example(int(index[row]), "test", float(loss[row]), why, row))
                seen.add(row)
    return found


def _action(artifacts: Artifacts, j: Judged) -> Action:
    points = _points(j)
    trained = _trained(artifacts, j.cell)
    in_train = f"; {trained} training examples of it" if trained is not None else ""
    mask = (
        f"y_train == {artifacts.class_names.index(j.cell.name)}"
        if j.cell.family == "class"
        else f"group_train == {j.cell.name!r}"
    )
    return Action(
        f"groups.collect.{j.key}",
        f"Collect or weight up examples of {_label(j)}",
        f"{j.accuracy.value:.1%} right (n = {j.accuracy.n}) against {j.rest:.1%} for the rest"
        + in_train,
        f"rows = {mask}\nweight = np.where(rows, {_weight(j):.1f}, 1.0)  # pass as sample_weight, "
        "or to torch.utils.data.WeightedRandomSampler",
        "one retraining; collecting more takes as long as labelling it",
        gain=number(
            points, "points of test accuracy", "lower",
            guide="If this group became as good as the rest, and the rest stayed as it is.",
        ),
        gain_kind="estimated",
    )  # fmt: skip


def _weight(j: Judged) -> float:
    # Error ratio, bounded: large weights on few examples make training unstable.
    return float(np.clip((1 - j.shrunk.value) / max(1 - j.rest, 0.01), 1.5, 5.0))


def _trained(artifacts: Artifacts, cell: Cell) -> int | None:
    if cell.family == "class":
        labels = artifacts.labels("train")
        return (
            None
            if labels is None
            else int((labels == artifacts.class_names.index(cell.name)).sum())
        )
    values = artifacts.groups("train").get(cell.family)
    return None if values is None else int((values == cell.name).sum())


def _table(artifacts: Artifacts, judged: list[Judged]) -> Table:
    rows = [
        [_label(j), j.accuracy.n, f"{j.accuracy.value:.1%}", f"{j.shrunk.value:.1%}",
         f"{j.rest:.1%}", "worse" if j.rejected else "", _mistaken(artifacts, j.cell)]
        for j in judged[:_SHOWN]
    ]  # fmt: skip
    return Table(
        "Weakest groups",
        [
            "group",
            "n",
            "accuracy",
            "after shrinkage",
            "the rest",
            "survives correction",
            "mistaken for",
        ],
        rows,
        f"{min(_SHOWN, len(judged))} of {len(judged)} groups, weakest after shrinkage first.",
    )


def _figure(judged: list[Judged]) -> Figure:
    shown = judged[:_SHOWN]
    rows = [
        {"label": _label(j), "value": j.accuracy.value, "low": j.accuracy.low,
         "high": j.accuracy.high, "n": j.accuracy.n, "mark": j.shrunk.value}
        for j in shown
    ]  # fmt: skip
    data = {"rows": rows, "x_label": "accuracy", "reference": shown[0].rest,
            "reference_label": "the rest", "mark_label": "after shrinkage"}  # fmt: skip
    spoken = "; ".join(f"{r['label']} {r['value']:.1%}" for r in rows[:5])
    return Figure("intervals", "Accuracy of the weakest groups", data, f"Weakest groups: {spoken}.")
