"""Accuracy of classes and groups against how often each was seen in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import (
    Action,
    Check,
    Figure,
    Finding,
    NotApplicableError,
    Number,
    Status,
    Table,
    number,
)  # fmt: skip
from heldout.core.interval import Interval
from heldout.core.seeds import stream
from heldout.core.statistics import difference, proportion
from heldout.data.frequency.rates import Seen, raw_r, seen_rates, slope

CHECK = Check(
    id="coverage",
    part="why",
    title="Rare classes",
    question="Is the model worse on what it saw less often in training?",
    rule="Warns when accuracy credibly rises with the log of the training count (interval above 0) "
    "and the rarer half of that range is credibly, and by at least 10 points, below the rest; "
    "fails when even the interval puts it more than 10 points below. Not applicable where counts "
    "span less than half a decade (a factor 3.2).",
    paper="clip_concepts",
    cost="none beyond one forward pass",
    guide="Each constant gain in accuracy tends to cost a constant factor more examples. The slope "
    "is per factor of ten in training examples; r says how much of the differences between "
    "classes goes with frequency at all. With fewer than four classes, hard and rare cannot be "
    "told apart, and the interval covers the test examples only.",
)

_DECADES, _MATERIAL, _SHOWN, _DRAWS = 0.5, 0.10, 20, 1000


@dataclass(frozen=True)
class _Judged:
    family: str
    seen: Seen
    slope: Interval
    rare: np.ndarray
    gap: Interval
    points: Interval

    @property
    def found(self) -> bool:
        return self.slope.low > 0 and self.gap.high < 0 and self.gap.value <= -_MATERIAL


def run(artifacts: Artifacts) -> Finding:
    """Relate accuracy to training counts, in classes and every kind of group."""
    families = _families(artifacts)
    # One of several families is the worst by chance: the level is corrected for their number.
    level = 1 - 0.05 / len(families)
    judged = [_judge(artifacts, name, seen, level) for name, seen in families.items()]
    worst = min(judged, key=lambda j: (not j.found, j.gap.value))
    status: Status = "passed"
    if worst.found:
        status = "failed" if worst.gap.high < -_MATERIAL else "warning"
    names = [worst.seen.names[i] for i in np.flatnonzero(worst.rare)]
    reason = (
        f"Accuracy changes by {100 * worst.slope.value:+.1f} points for ten times the training "
        f"examples ({100 * worst.slope.low:+.1f} to {100 * worst.slope.high:+.1f}); the rarer "
        f"{worst.family} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) is "
        f"{100 * worst.gap.value:+.1f} points from the rest ({100 * worst.gap.low:+.1f} to "
        f"{100 * worst.gap.high:+.1f})."
    )
    return Finding(
        status,
        reason,
        _numbers(worst),
        actions=[_action(worst, names)] if worst.found else [],
        tables=[_table(worst)],
        figures=[_figure(worst)],
        evidence=max(0.0, worst.points.value) if worst.found else 0.0,
    )


def _families(artifacts: Artifacts) -> dict[str, Seen]:
    labels, known = artifacts.labels("test"), artifacts.labels("train")
    if labels is None or known is None:
        raise NotApplicableError("the training or the test set has no labels")
    names, correct = np.array(artifacts.class_names), artifacts.correct("test")
    values = {"class": (names[known], names[labels])}
    test_groups = artifacts.groups("test")
    for name, train in artifacts.groups("train").items():
        if name in test_groups:
            values[f"group {name}"] = (train, test_groups[name])
    found = {k: seen_rates(a, b, correct) for k, (a, b) in values.items()}
    wide = {k: s for k, s in found.items() if s.decades >= _DECADES}
    if not wide:
        most = max((s.decades for s in found.values()), default=0.0)
        raise NotApplicableError(
            f"all classes and groups with enough test examples to be judged were seen about as "
            f"often (training counts span {most:.2f} decades; {_DECADES} are needed)"
        )
    return wide


def _judge(artifacts: Artifacts, family: str, seen: Seen, level: float) -> _Judged:
    rng = stream(artifacts.seed, "coverage", family)
    x = np.log10(np.maximum(seen.counts, 1))
    rare = x <= (x.min() + x.max()) / 2
    parts = [
        proportion(int(seen.right[rows].sum()), int(seen.tested[rows].sum()), level)
        for rows in (rare, ~rare)
    ]
    gap = difference(*parts)
    share = 100 * float(seen.tested[rare].sum() / seen.tested.sum())
    points = Interval(
        -share * gap.value, max(0.0, -share * gap.high), -share * gap.low, gap.n, level,
        "share of rare test examples x Newcombe difference",
    )  # fmt: skip
    return _Judged(family, seen, slope(seen, rng, level, _DRAWS), rare, gap, points)


def _numbers(j: _Judged) -> dict[str, Number]:
    return {
        "slope_per_decade": number(
            j.slope, "accuracy (0-1) per decade", "higher", null=0.0, null_label="no law",
            guide=f"Accuracy gained for ten times the training examples of a {j.family}.",
        ),
        "rare_minus_rest": number(
            j.gap, "difference of accuracies (0-1)", "lower", null=0.0, null_label="as good",
            guide="Pooled accuracy of the rarer half of the counts' range minus that of the rest.",
        ),
        "raw_r": number(
            raw_r(j.seen), "Pearson r (-1 to 1)", "higher", null=0.0, null_label="no law",
            guide="Of log count and accuracy over single classes or groups, not over bins.",
        ),
    }  # fmt: skip


def _action(j: _Judged, names: list[str]) -> Action:
    goal = int(np.sort(j.seen.counts)[len(j.seen.counts) // 2 :].min())
    values = ", ".join(repr(str(n)) for n in names[:10])
    return Action(
        "coverage.collect",
        f"Collect more examples of the {len(names)} rarest of {len(j.seen.names)}: "
        f"{', '.join(names[:5])}",
        f"They are {100 * j.gap.value:+.1f} points from the rest ({100 * j.gap.low:+.1f} to "
        f"{100 * j.gap.high:+.1f}), and ten times the examples go with "
        f"{100 * j.slope.value:+.1f} points.",
        f"rare = [{values}]  # bring each to about {goal} training examples\n"
        "# until then, weight them up: torch.utils.data.WeightedRandomSampler",
        f"labelling about {int(np.maximum(goal - j.seen.counts[j.rare], 0).sum())} examples, and "
        "one training",
        "clip_concepts",
        gain=number(
            j.points, "points of test accuracy", "lower",
            guide="If these became as good as the rest, and the rest stayed as it is.",
        ),
        gain_kind="estimated",
    )  # fmt: skip


def _table(j: _Judged) -> Table:
    rates = j.seen.right / j.seen.tested
    order = np.lexsort((rates, ~j.rare))[:_SHOWN].tolist()
    rows = [
        [str(j.seen.names[i]), int(j.seen.counts[i]), f"{rates[i]:.1%}", int(j.seen.tested[i]),
         "rare" if j.rare[i] else ""]
        for i in order
    ]  # fmt: skip
    return Table(
        "Rarest first, then lowest accuracy",
        [j.family, "seen in training", "accuracy", "test examples", ""],
        rows,
        f"{len(rows)} of {len(j.seen.names)}, of those with enough test examples.",
    )


def _figure(j: _Judged) -> Figure:
    order = np.argsort(j.seen.counts, kind="stable")
    found = [proportion(int(j.seen.right[i]), int(j.seen.tested[i])) for i in order]
    line = {
        "name": f"each {j.family}", "x": np.maximum(j.seen.counts[order], 1).tolist(),
        "y": [f.value for f in found], "low": [f.low for f in found],
        "high": [f.high for f in found],
    }  # fmt: skip
    data = {
        "series": [line], "x_label": "training examples", "y_label": "accuracy", "log_x": True,
        "diagonal": False,
    }  # fmt: skip
    alt = (
        f"Accuracy from {found[0].value:.0%} at {int(j.seen.counts[order[0]])} training examples "
        f"to {found[-1].value:.0%} at {int(j.seen.counts[order[-1]])}."
    )
    return Figure("lines", "Accuracy by training examples", data, alt)
