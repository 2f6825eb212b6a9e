"""How `shortcuts` says what it found: words, numbers, examples, actions, table, figures."""

from __future__ import annotations

import numpy as np

from heldout.audit.artifacts import Artifacts
from heldout.audit.checks._shortcut_parts import Part, by_part
from heldout.audit.result import Action, Example, Figure, Number, Table, number


def words(p: Part) -> str:
    """Say what was measured of a part."""
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


def number_of(p: Part) -> Number:
    """Return what swapping a part between classes costs."""
    return number(
        p.seen.swap, "accuracy lost (0-1)", "higher", null=0.0, null_label="not used",
        method="paired over examples, Student t",
        guide="Share of right answers lost when this part comes from an example of another class.",
    )  # fmt: skip


def examples(artifacts: Artifacts, cues: list[Part]) -> list[Example]:
    """Return the test examples that are right only with their own part, worst first."""
    rows = artifacts.read("interventions/sample")["rows"]
    labels, index = artifacts.labels("test"), artifacts.index("test")
    assert labels is not None
    right = artifacts.correct("test")[rows]
    answers = by_part(artifacts, "asked")
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


def actions(p: Part, idle: str = "") -> list[Action]:
    """Return what can be done about a part: train without it, test where it does not hold."""
    told = f"{words(p)}; {100 * p.seen.kept.value:.0f} % right when only this part is kept{idle}"
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


def table(shown: list[Part]) -> Table:
    """Return all that is known of the parts."""
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


def figures(parts: list[Part], shown: list[Part]) -> list[Figure]:
    """Return what swapping costs by part, for images also over their positions."""
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
