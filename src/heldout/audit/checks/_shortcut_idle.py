"""Parts that the model hangs on alone, while the rest sits idle though it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from heldout.audit.checks._shortcut_parts import Part
from heldout.audit.result import Figure, Number, Table, number
from heldout.core.interval import Interval
from heldout.dynamics.feature_reliance import GroupReliance
from heldout.dynamics.idle_complement import ReportLimits, shortcut_report

LIMITS = ReportLimits(predicts=0.8)
"""Stricter than the method's own 0.6: a rest that is clearly worse is no fair choice."""

Asked = Mapping[int, GroupReliance]
"""What `reliance` collected, by number of the part."""


def hung_on(parts: list[Part], asked: Asked) -> list[Part]:
    """Return the parts of which every condition holds with its interval; smallest first.

    Of parts that overlap only the smallest stays: the others hold it.
    """
    said = {f.name: f.word for f in shortcut_report({str(k): r for k, r in asked.items()}, LIMITS)}
    found: list[Part] = []
    for p in sorted(parts, key=lambda p: (p.share, p.k)):
        if said.get(str(p.k)) == "shortcut" and all(p.apart(o) for o in found):
            found.append(p)
    return found


def idle_words(name: str, r: GroupReliance) -> str:
    """Say what was measured of such a part."""
    assert r.probe_complement is not None
    return (
        f"{r.standard.method} is {r.standard.value:.2f} as it is, {_said(r.randomized)} with "
        f"{name} from another example, {_said(r.complement_randomized)} with all else from "
        f"another example; but a probe that sees all else alone reaches "
        f"{_said(r.probe_complement)} (chance {r.chance:.2f}, n = {r.standard.n})"
    )


def idle_numbers(name: str, r: GroupReliance) -> dict[str, Number]:
    """Return the four scores of a part."""
    return {
        f"{name}: {of}": number(
            interval, f"{interval.method} (0-1)", worse, null=null, null_label=label,
            method="mean over permutations, interval over test examples", guide=guide,
        )
        for of, interval, worse, null, label, guide in _scores(r)
    }  # fmt: skip


def idle_table(parts: list[Part], asked: Asked) -> Table:
    """Return the scores of every part that was asked about."""
    words = {f.name: f.word for f in shortcut_report({str(k): r for k, r in asked.items()}, LIMITS)}
    rows = []
    for p in parts:
        if p.k in asked:
            scores = [
                f"{i.value:.3f} ({i.low:.3f} to {i.high:.3f})" for _, i, *_ in _scores(asked[p.k])
            ]
            rows.append([p.name, f"{p.share:.1%}", *scores, words[str(p.k)]])
    columns = ["part", "share of input", "as it is", "part randomized", "rest randomized",
               "probe on the rest", "verdict"]  # fmt: skip
    score = next(iter(asked.values())).standard.method
    note = (
        f"Scores are {score}. Only parts are asked about that the interventions show to matter "
        "alone. Shortcut: the model hangs on the part, and the rest would do."
    )
    return Table("Is the rest idle?", columns, rows, note)


def idle_figure(name: str, r: GroupReliance) -> Figure:
    """Return the four scores of a part beside chance."""
    rows = [
        {"label": of, "value": i.value, "low": i.low, "high": i.high, "n": i.n, "mark": None}
        for of, i, *_ in _scores(r)
    ]
    data = {"rows": rows, "x_label": r.standard.method, "reference": r.chance,
            "reference_label": "chance", "mark_label": ""}  # fmt: skip
    return Figure("intervals", f"Only {name} counts", data, idle_words(name, r) + ".")


_Worse = Literal["higher", "lower"]


def _scores(r: GroupReliance) -> list[tuple[str, Interval, _Worse, float, str, str]]:
    assert r.probe_complement is not None
    whole = r.standard.value
    return [
        ("as it is", r.standard, "lower", r.chance, "chance",
         "Score of the model on untouched test examples."),
        ("part randomized", r.randomized, "lower", whole, "as it is",
         "Score with the part from other examples; at chance the model hangs on it."),
        ("rest randomized", r.complement_randomized, "higher", r.chance, "chance",
         "Score with everything but the part from other examples; as it is, the rest is idle."),
        ("probe on the rest", r.probe_complement, "higher", r.chance, "chance",
         "Score of a small forest that sees the rest alone: what the model leaves unused."),
    ]  # fmt: skip


def _said(i: Interval) -> str:
    return f"{i.value:.2f} ({i.low:.2f} to {i.high:.2f})"
