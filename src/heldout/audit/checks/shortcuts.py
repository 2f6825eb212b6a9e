"""Parts of the input that the decision leans on, and which of them are likely to fail elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.result import Action, Check, Example, Figure, Finding, Number, Table, number
from heldout.dynamics.reliance import Reliance
from heldout.dynamics.shortcut_evidence import Evidence, Thresholds, evidence, is_cue

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
    "are related or it leads them all by far. Fails when swapping costs 20 points or more.",
    needs=("predictions", "interventions"),
    paper="simplicity_bias",
    cost="9 passes over at most 1,000 test examples per part, and small forests",
    guide="Leaning on an informative part is no fault. A shortcut is a part that the model could "
    "do without, that tells the label by itself, and that has nothing else to do with the object. "
    "A legitimate part that is sufficient, replaceable and unrelated to the rest looks the same "
    "unless a shifted set tells them apart; one that cannot be replaced is never reported.",
)

_LIMITS = Thresholds()
_SEVERE = 0.20
_SHOWN = 12


@dataclass(frozen=True)
class _Part:
    k: int
    name: str
    kind: str
    space: str
    share: float
    cells: frozenset[int]
    seen: Evidence

    def apart(self, other: _Part) -> bool:
        return self.space == other.space and not (self.cells & other.cells)


def run(artifacts: Artifacts) -> Finding:
    """Judge every part, and name those that look like cues."""
    parts = sorted(_parts(artifacts), key=lambda p: -p.seen.swap.value)
    cues = [
        p
        for p in parts
        if is_cue(p.seen, [o.seen for o in parts if o.apart(p)], p.kind, p.share, _LIMITS)
    ]
    cues = _distinct(cues)
    most = parts[0]
    if cues:
        worst = cues[0]
        reason = f"The decision leans on {worst.name}: {_words(worst)}."
        if len(cues) > 1:
            reason += f" Also on {', '.join(p.name for p in cues[1:])}."
    else:
        reason = (
            f"No part looks like a shortcut ({len(parts)} looked at). The model leans most on "
            f"{most.name}: {100 * most.seen.swap.value:.1f} points when swapped between classes."
        )
    severe = any(p.seen.swap.value >= _SEVERE for p in cues)
    shown = cues + [p for p in parts if p not in cues][: _SHOWN - len(cues)]
    return Finding(
        "failed" if severe else "warning" if cues else "passed",
        reason,
        {p.name: _number(p) for p in shown},
        _examples(artifacts, cues),
        [a for p in cues[:2] for a in _actions(p)],
        [_table(shown)],
        _figures(parts, shown),
        evidence=max((100 * p.seen.drop.value for p in cues), default=0.0),
    )


def _parts(artifacts: Artifacts) -> list[_Part]:
    about = artifacts.read("interventions/regions")
    rows = artifacts.read("interventions/sample")["rows"]
    whole = artifacts.read("interventions/whole")
    right = artifacts.correct("test")[rows]
    names = [s for s in artifacts.splits if s != "train"]
    truth = {s: whole.get(f"labels/{s}") for s in names}
    probes = _by_part(artifacts, "probed")
    answers = _by_part(artifacts, "asked")
    seen_by = [whole["whole/test"], *(p[a] for p in probes for a in p if a.endswith("/test"))]
    best = max(float(right.mean()), *(float(np.mean(a == truth["test"])) for a in seen_by))
    found = []
    for k, (name, probe) in enumerate(zip(about["name"].tolist(), probes, strict=True)):
        asked = answers[k]
        cells = about["cells"][about["start"][k] : about["start"][k + 1]]
        seen = evidence(
            right,
            _reliance(asked),
            truth,
            {s: probe[f"alone/{s}"] for s in names},
            {s: probe[f"rest/{s}"] for s in names} if "bound" in probe else None,
            best,
            float(probe.get("bound", np.nan)),
        )
        kind, space = str(about["kind"][k]), str(about["space"][k])
        share = float(about["share"][k])
        found.append(_Part(k, name, kind, space, share, frozenset(cells.tolist()), seen))
    return found


def _by_part(artifacts: Artifacts, what: str) -> list[Arrays]:
    """Arrays of each part, in order."""
    found: dict[int, Arrays] = {}
    for key in artifacts.keys("interventions"):
        if key.startswith(f"interventions/{what}-"):
            for name, array in artifacts.read(key).items():
                k, rest = name.split("/", 1)
                found.setdefault(int(k), {})[rest] = array
    return [found[k] for k in sorted(found)]


def _reliance(asked: Arrays) -> Reliance:
    return Reliance(
        asked["randomized"].astype(bool),
        asked["alone"].astype(bool),
        asked["swapped"],
        asked["donors"],
    )


def _distinct(cues: list[_Part]) -> list[_Part]:
    """Keep the strongest of parts that overlap, or that name one cue in two spaces."""
    kept: list[_Part] = []
    for part in cues:
        if all(part.apart(other) for other in kept):
            kept.append(part)
    return kept


def _words(p: _Part) -> str:
    e = p.seen
    said = (
        f"swapped between classes it costs {100 * e.swap.value:.1f} points "
        f"({100 * e.swap.low:.1f} to {100 * e.swap.high:.1f}, n = {e.swap.n}), shuffled "
        f"{100 * e.drop.value:.1f}; alone it tells the class with skill {e.alone:.2f}, the rest "
        f"without it with {e.rest:.2f}, and given the class it is unrelated to the rest "
        f"(R^2 {e.bound:.2f})"
    )
    if e.broken:
        names = ", ".join(s.removeprefix("shifted/") for s in e.broken)
        said += f"; it no longer tells the class in {names}"
    return said


def _number(p: _Part) -> Number:
    return number(
        p.seen.swap, "accuracy lost (0-1)", "higher", null=0.0, null_label="not used",
        method="paired over examples, Student t",
        guide="Share of right answers lost when this part comes from an example of another class.",
    )  # fmt: skip


def _examples(artifacts: Artifacts, cues: list[_Part]) -> list[Example]:
    rows = artifacts.read("interventions/sample")["rows"]
    labels, index = artifacts.labels("test"), artifacts.index("test")
    assert labels is not None
    right = artifacts.correct("test")[rows]
    answers = _by_part(artifacts, "asked")
    found: dict[int, Example] = {}
    for p in cues:
        asked = answers[p.k]
        wrong = 1 - np.concatenate([asked["randomized"], asked["swapped"] == labels[rows]])
        score = np.where(right, wrong.mean(axis=0), 0.0)
        for i in np.flatnonzero(score > 0).tolist():
            row = int(rows[i])
            why = f"right only with its own {p.name}: wrong in {score[i]:.0%} of exchanges"
            if row not in found or found[row].score < score[i]:
                found[row] = Example(int(index[row]), "test", float(score[i]), why, row)
    return sorted(found.values(), key=lambda e: -e.score)


def _actions(p: _Part) -> list[Action]:
    told = f"{_words(p)}; {100 * p.seen.kept.value:.0f} % right when only this part is kept"
    if p.space == "input" and p.kind in ("column", "columns"):
        cells = sorted(p.cells)
        code = (
            f"columns = {cells}  # {p.name}\nX_train = np.delete(X_train, columns, axis=1)"
            "  # or X_train[:, columns] = X_train[rng.permutation(len(X_train))][:, columns]"
        )
    else:
        code = (
            "from heldout.core.inputs import from_native\n"
            "from heldout.dynamics.regions import regions, transplant\n"
            "x = from_native(X_train)\n"
            f"part = next(r for r in regions(x, y_train) if r.name == {p.name!r})\n"
            "X_train = transplant(x, x.take(rng.permutation(len(x))), part).native()"
        )
    return [
        Action(
            f"shortcuts.randomize.{p.name}",
            f"Leave out or shuffle {p.name} in training",
            told,
            code,
            "one retraining; test accuracy falls here if the cue holds here, and rises where not",
            "simplicity_bias",
            change={
                "shuffle": {
                    "cells": sorted(p.cells),
                    "space": p.space,
                    "where": list(p.seen.broken),
                }
            },
        ),
        Action(
            f"shortcuts.collect.{p.name}",
            f"Test on examples whose {p.name} does not follow the class",
            told,
            'heldout.audit(model, train=..., test=..., shifted={"without cue": (X, y)})',
            "collecting or editing some hundred examples",
            "simplicity_bias",
        ),
    ]


def _table(shown: list[_Part]) -> Table:
    columns = ["part", "share of input", "lost when swapped", "lost when shuffled",
               "follows the donor",
               "right with this part only", "skill alone", "skill of the rest", "R^2 with the rest",
               "shifted sets that break it"]  # fmt: skip
    rows = [
        [p.name, f"{p.share:.1%}", f"{100 * e.swap.value:.1f} points",
         f"{100 * e.drop.value:.1f} points", f"{e.follows.value:.0%}", f"{e.kept.value:.0%}",
         f"{e.alone:.2f}", _known(e.rest), _known(e.bound),
         len(e.broken)]
        for p in shown for e in [p.seen]
    ]  # fmt: skip
    note = (
        "Skill: 0 is the largest class, 1 the whole input. R^2 is within classes; 0 is unrelated."
    )
    return Table("What the decision leans on", columns, rows, note)


def _known(x: float) -> str:
    return f"{x:.2f}" if np.isfinite(x) else ""


def _figures(parts: list[_Part], shown: list[_Part]) -> list[Figure]:
    rows = [
        {"label": p.name, "value": p.seen.swap.value, "low": p.seen.swap.low,
         "high": p.seen.swap.high, "n": p.seen.swap.n, "mark": p.seen.drop.value}
        for p in shown
    ]  # fmt: skip
    spoken = "; ".join(f"{r['label']} {100 * float(str(r['value'])):.1f} points" for r in rows[:5])
    data = {"rows": rows, "x_label": "accuracy lost when swapped between classes", "reference": 0.0,
            "reference_label": "not used", "mark_label": "shuffled"}  # fmt: skip
    found = [Figure("intervals", "What the decision leans on", data, f"Accuracy lost: {spoken}.")]
    patches = [p for p in parts if p.kind == "patch" and p.name.startswith("patch row")]
    if patches:
        at = {
            tuple(int(w) for w in p.name.replace(",", "").split() if w.isdigit()): p
            for p in patches
        }
        height, width = (max(t[i] for t in at) for i in (0, 1))
        values = [
            [at[r, c].seen.swap.value for c in range(1, width + 1)] for r in range(1, height + 1)
        ]
        top = max(patches, key=lambda p: p.seen.swap.value)
        alt = f"Accuracy lost by patch; most in {top.name}, {100 * top.seen.swap.value:.1f} points."
        grid = {"values": values, "label": "accuracy lost when swapped"}
        found.insert(0, Figure("grid", "Where the decision looks", grid, alt))
    return found
