"""Parts of the input that the decision leans on, and which of them are likely to fail elsewhere."""

from __future__ import annotations

from heldout.audit.artifacts import Artifacts
from heldout.audit.checks._shortcut_idle import (
    Asked,
    hung_on,
    idle_figure,
    idle_numbers,
    idle_table,
    idle_words,
)
from heldout.audit.checks._shortcut_parts import Part, distinct, parts_of
from heldout.audit.checks._shortcut_view import (
    actions,
    examples,
    figures,
    number_of,
    table,
    words,
)
from heldout.audit.collectors.reliance import found_of
from heldout.audit.result import Check, Finding
from heldout.dynamics.shortcut_evidence import Thresholds, is_cue

CHECK = Check(
    id="shortcuts",
    part="why",
    title="Shortcuts",
    question="Does the decision lean on a part of the input that only carries the label here?",
    rule="Warns when swapping a part (at most 45 % of the input) between classes costs at least 2 "
    "points, although the rest of the input alone would predict well (skill at least 0.6), the "
    "part alone tells the class (skill at least 0.55, or 0.35 where a shifted set shows it "
    "broken), and given the class it is unrelated to the rest (R^2 at most 0.1, or 0.25 where two "
    "shifted sets show it broken) while other parts "
    "are related or it leads them all by far. Fails when swapping such a part costs 20 points or "
    "more. Warns also when the model hangs on a part while the rest sits idle: with the part "
    "(at most 45 %) from other examples at most 0.1 of the skill is left, with all else from "
    "other examples at least 0.94 is, and a probe on the rest alone reaches at least 0.8, each "
    "with its whole 95 % interval; skill is accuracy above the largest class, or AUC above 1/2 "
    "where that class exceeds 70 %, divided by the model's own, which must be at least 0.2 above.",
    needs=("predictions", "interventions"),
    uses=("reliance",),
    paper="simplicity_bias",
    cost="9 passes over at most 1,000 test examples per part, and small forests; 21 more for "
    "each of at most 4 parts that the model may hang on alone",
    guide="Leaning on an informative part is no fault. A shortcut is a part that the model could "
    "do without, that tells the label by itself, and that has nothing else to do with the object. "
    "A legitimate part that is sufficient, replaceable and unrelated to the rest looks the same "
    "unless a shifted set tells them apart; one that cannot be replaced is never reported. A part "
    "that the model hangs on alone may be the object itself: whether the idle rest ought to have "
    "been used is for a person to say.",
)

_LIMITS = Thresholds()
_SEVERE = 0.20
_SHOWN = 12


def run(artifacts: Artifacts) -> Finding:
    """Judge every part, and name those that look like cues or that the model hangs on alone."""
    parts = sorted(parts_of(artifacts), key=lambda p: -p.seen.swap.value)
    cues = distinct([p for p in parts if _is_cue(p, parts)])
    asked = found_of(artifacts)
    alone = hung_on(parts, asked)
    more = [p for p in alone if all(p.apart(c) for c in cues if c.space == p.space)]
    named = cues + more
    severe = any(p.seen.swap.value >= _SEVERE for p in cues)
    shown = named + [p for p in parts if p not in named][: _SHOWN - len(named)]
    numbers = {p.name: number_of(p) for p in shown}
    for p in alone[:2]:
        numbers |= idle_numbers(p.name, asked[p.k])
    told = {p.k: f"; {idle_words(p.name, asked[p.k])}" for p in alone}
    return Finding(
        "failed" if severe else "warning" if named else "passed",
        _reason(parts, cues, alone, asked),
        numbers,
        examples(artifacts, named),
        [a for p in named[:2] for a in actions(p, told.get(p.k, ""))],
        [table(shown), *([idle_table(parts, asked)] if asked else [])],
        figures(parts, shown) + [idle_figure(p.name, asked[p.k]) for p in alone[:2]],
        evidence=max((100 * p.seen.drop.value for p in named), default=0.0),
    )


def _is_cue(p: Part, parts: list[Part]) -> bool:
    return is_cue(p.seen, [o.seen for o in parts if o.apart(p)], p.kind, p.share, _LIMITS)


def _reason(parts: list[Part], cues: list[Part], alone: list[Part], asked: Asked) -> str:
    said = []
    if cues:
        said.append(f"The decision leans on {cues[0].name}: {words(cues[0])}.")
        if len(cues) > 1:
            said.append(f"Also on {', '.join(p.name for p in cues[1:])}.")
    if alone:
        p = alone[0]
        said.append(
            f"The decision hangs on {p.name} alone, while the rest sits idle though it predicts: "
            f"{idle_words(p.name, asked[p.k])}."
        )
    if not said:
        most = parts[0]
        said.append(
            f"No part looks like a shortcut ({len(parts)} looked at). The model leans most on "
            f"{most.name}: {100 * most.seen.swap.value:.1f} points when swapped between classes."
        )
    return " ".join(said)
