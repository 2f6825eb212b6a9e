"""Fragmentation: sources of the training set that are islands, each with labels of its own."""

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
    SkippedError,
    Table,
    number,
)
from heldout.core.interval import Interval
from heldout.core.seeds import derived_seed
from heldout.core.statistics import holm
from heldout.data.diversity.dependence import Dependence, normalized_information
from heldout.data.diversity.islands import sampled
from heldout.data.diversity.report import FEWEST
from heldout.data.diversity.within_class import WithinClass, islands_within_class

CHECK = Check(
    id="fragmentation",
    part="why",
    title="Fragmentation",
    question="Is the training set made of islands whose source gives the label away?",
    rule="Warns when for one grouping of the training set both hold: within one label, examples of "
    "different sources lie farther apart than examples of one source (95 % interval of the island "
    "score above 0.05, and random deals of sources reach it in under 2.5 % of cases), and labels "
    "depend on the source (95 % interval of the normalized information above 0.02, and the same "
    "for shuffled sources; Holm-corrected over groupings). Sources of fewer than 50 examples are "
    "left out.",
    paper="shortcut_policies",
    cost="none beyond one forward pass; distances among at most 1,500 examples per grouping",
    guide="Data pooled from few places invite a shortcut: if a hospital, robot or camera can be "
    "seen in the example and has labels of its own, a model can answer by place. Both must hold: "
    "places that look different but have the same labels do no harm, nor do places with other "
    "labels that look the same. Distances are those of the model's embedding, among examples with "
    "one label, so that classes are not taken for sources. They see how far apart islands lie; "
    "information alone cannot.",
)

_SCORE, _NMI = 0.05, 0.02
_LEVEL = 0.025  # of each of the two tests
_ROWS, _DRAWS = 1500, 200
_MOST_SOURCES = 50
_UNIT = "island score (0-1)"


@dataclass(frozen=True)
class _Judged:
    """One grouping of the training set."""

    name: str
    sources: list[str]
    counts: np.ndarray
    islands: WithinClass
    dependence: Dependence
    left_out: int


def run(artifacts: Artifacts) -> Finding:
    """Judge every grouping of the training set that has at least two large sources."""
    groups, labels = artifacts.groups("train"), artifacts.labels("train")
    if not groups:
        raise NotApplicableError(
            "the training set has no groups; pass groups={'train': {'site': [...]}}"
        )
    assert labels is not None
    # With many groupings the corrected level is small, and so must be the least p-value.
    draws = min(1000, max(_DRAWS, 50 * len(groups)))
    found = {name: _judged(artifacts, name, labels, groups[name], draws) for name in groups}
    judged = [j for j in found.values() if isinstance(j, _Judged)]
    if not judged:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.items())
        raise SkippedError(f"no grouping can be judged: {reasons}")
    # Both tests must succeed, so the larger p-value is the grouping's own.
    rejected = holm(np.array([max(j.islands.p, j.dependence.p) for j in judged]), _LEVEL)
    credible = [
        j
        for j, sure in zip(judged, rejected, strict=True)
        if sure and j.islands.score.low > _SCORE and j.dependence.nmi.low > _NMI
    ]
    numbers = {k: v for j in judged for k, v in _numbers(j).items()}
    return Finding(
        "warning" if credible else "passed",
        _reason(judged, credible),
        numbers,
        actions=[_action(j) for j in credible],
        tables=[_table(judged, found)],
        figures=[_figure(judged)],
        # Up to this share of the label can be read from the source where islands are far apart.
        evidence=max(
            (100 * j.dependence.nmi.value * j.islands.score.value for j in credible), default=0.0
        ),
    )


def _judged(
    artifacts: Artifacts, name: str, labels: np.ndarray, values: np.ndarray, draws: int
) -> _Judged | str:
    kinds, counts = np.unique(values, return_counts=True)
    large = counts >= FEWEST
    if large.sum() < 2:
        return f"fewer than two sources of {FEWEST} examples"
    if large.sum() > _MOST_SOURCES:
        return f"{large.sum()} sources; merge them to at most {_MOST_SOURCES}"
    kept = np.isin(values, kinds[large])
    y, source = labels[kept], np.searchsorted(kinds[large], values[kept])
    if len(np.unique(y)) < 2:
        return "one label"
    features = artifacts.features("train")
    x = (artifacts.logits("train") if features is None else features)[kept].astype(np.float64)
    rows = sampled(source, _ROWS, artifacts.seed)
    seed = derived_seed(artifacts.seed, "fragmentation", name)
    islands = islands_within_class(x[rows], y[rows], source[rows], draws=draws, seed=seed)
    if islands is None:
        return "its sources share too few labels, so source and label cannot be told apart"
    dependence = normalized_information(y, source, correction="shuffled", shuffles=draws, seed=seed)
    return _Judged(
        name, kinds[large].tolist(), counts[large], islands, dependence, int((~large).sum())
    )


def _reason(judged: list[_Judged], credible: list[_Judged]) -> str:
    if credible:
        j = max(credible, key=lambda j: j.dependence.nmi.value * j.islands.score.value)
        return (
            f"The {len(j.sources)} sources of {j.name} are islands within a label (island score "
            f"{_shown(j.islands.score)}) and have labels of their own (normalized information "
            f"{_shown(j.dependence.nmi)}): the model can answer by source."
        )
    j = max(judged, key=lambda j: min(j.dependence.nmi.low, j.islands.score.low))
    apart, tied = j.islands.score.low > _SCORE, j.dependence.nmi.low > _NMI
    why = (
        "its sources look different, but labels do not depend on them" if apart and not tied
        else "labels depend on its sources, but they look alike" if tied and not apart
        else "its sources look alike and have the same labels" if not apart
        else "what is seen is within chance"
    )  # fmt: skip
    return (
        f"No grouping is made of islands that give the label away ({j.name}: {why}; island score "
        f"{_shown(j.islands.score)}, normalized information {_shown(j.dependence.nmi)})."
    )


def _shown(i: Interval) -> str:
    return f"{i.value:.2f} [{i.low:.2f}, {i.high:.2f}]"


def _numbers(j: _Judged) -> dict[str, Number]:
    return {
        f"island_score/{j.name}": number(
            j.islands.score, _UNIT, "higher", null=j.islands.chance, null_label="random sources",
            guide="How much farther apart examples with one label lie when they are of two "
            "sources; 0: no farther, towards 1: small islands far apart.",
        ),
        f"information/{j.name}": number(
            j.dependence.nmi, "normalized information (0-1)", "higher", null=0.0,
            null_label="labels that do not depend on the source",
            guide="Between source and label, above what shuffled sources "
            "show; 1: one says the other.",
        ),
    }  # fmt: skip


def _table(judged: list[_Judged], found: dict[str, _Judged | str]) -> Table:
    rows = []
    for j in judged:
        for k, source in enumerate(j.sources):
            far = j.islands.gaps[k].argmax()
            rows.append(
                [j.name, source, int(j.counts[k]), f"{j.islands.spread[k]:.3g}",
                 j.sources[far], f"{j.islands.gaps[k, far]:.3g}"]
            )  # fmt: skip
    notes = [f"{k}: not judged, {v}" for k, v in found.items() if isinstance(v, str)]
    notes += [f"{j.name}: {j.left_out} small sources left out" for j in judged if j.left_out]
    return Table(
        "Sources of the training set",
        ["grouping", "source", "n", "diversity within a label", "farthest source", "gap to it"],
        rows,
        "Diversity: mean distance of two examples with one label, in the embedding. Gap: how much "
        "farther apart they are on average across the two sources than within. " + ". ".join(notes),
    )


def _action(j: _Judged) -> Action:
    group = f"groups['train'][{j.name!r}]"
    return Action(
        f"fragmentation.bridge.{j.name}",
        f"Bridge the sources of {j.name}: collect labels missing at each, or fill the gap",
        f"Island score {_shown(j.islands.score)}, normalized information of source and label "
        f"{_shown(j.dependence.nmi)}.",
        "from heldout.data.diversity.filling import fill_gap\n\n"
        "# first choice: record at every source the labels it lacks; 10 % of such rows help\n"
        f"x, y, _ = fill_gap(x_train, y_train, {group}, factor, render=render)\n"
        "# factor: what differs between sources (angle, brightness, background), or its columns;\n"
        "# then train again, and see with heldout.data.diversity.swap.swap_test if it is followed",
        "one training on twice the rows, and a function that renders another source's look",
        "shortcut_policies",
    )


def _figure(judged: list[_Judged]) -> Figure:
    rows = [
        {"label": f"{j.name}: {what}", "value": i.value, "low": i.low, "high": i.high, "n": i.n,
         "mark": None}
        for j in judged
        for what, i in (("island score", j.islands.score), ("label information", j.dependence.nmi))
    ]  # fmt: skip
    data = {"rows": rows, "x_label": "0 none, 1 complete", "reference": 0.0,
            "reference_label": "sources without meaning", "mark_label": ""}  # fmt: skip
    alt = "; ".join(f"{r['label']} {r['value']:.2f}" for r in rows)
    return Figure("intervals", "Sources: how far apart, how telling", data, alt)
