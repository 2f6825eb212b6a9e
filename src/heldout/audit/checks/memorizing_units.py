"""Memorizing units: do units that right answers do without hold the labels that look wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.collectors.units import FEWEST, curve_of
from heldout.audit.result import (
    Action,
    Check,
    Example,
    Figure,
    Finding,
    Number,
    SkippedError,
    Table,
    number,
)
from heldout.audit.suspects import evidence_id
from heldout.core.interval import Interval
from heldout.core.statistics import mean, proportion
from heldout.dynamics.memorizing_units import PruningCurve, PruningFinding, pruning_finding

CHECK = Check(
    id="memorizing_units",
    part="why",
    title="Memorizing units",
    question="Do some units hold the training labels that look wrong, and can they go?",
    rule="Units of the last hidden layer are ranked by what they do for the labels of one half of "
    "the suspects (training rows that look mislabelled and that the model fits) beyond clean rows "
    "(fitted, and held-out answers agree with the label), and the first 5 to 50 % are silenced: "
    "the largest share that costs other clean training rows at most 2 points, else the smallest. "
    "Warns when the other half of the suspects then loses more (95 % interval) than 10 points and "
    "than in each of 10 random choices of as many units, and held-out accuracy loses at most 2 "
    "points (95 % interval). Passes otherwise, also when fewer than 20 suspects are fitted and "
    "the 95 % interval of their share lies below one half. Could not run with fewer than 20 "
    "suspects, or otherwise with fewer than 20 fitted ones.",
    needs=("predictions", "probes", "units"),
    uses=("crossfit",),
    paper="grokking_corrupted",
    cost="no pass over the data beyond the embeddings; one ranking of the labels",
    guide="A wrong label that a network fits is stored somewhere. Where it is stored in units "
    "that the right answers do without, these units can be silenced without training; the "
    "change of held-out accuracy says what that brings. Suspects that are hard but right count as "
    "wrong here; a random choice of units says what silencing as such does.",
)

_LEAST = 0.10  # of the suspects held back, unlearned: below it, pruning is no remedy
_TOLERANCE = 0.02  # of accuracy, on clean training rows and on the held-out set
_FITS = 0.5  # share of suspects below which the model memorized none to speak of
_LISTED = 256  # units written out in the action
_RIGHT = "share of examples (0-1)"


def run(artifacts: Artifacts) -> Finding:
    """Judge what silencing the units does to suspects and to the held-out set."""
    key = f"units/{evidence_id(artifacts)}"
    if not artifacts.has(key):
        raise SkippedError("the suspects have changed since units were silenced; audit again")
    stored = artifacts.read(key)
    suspects, fitted = len(stored["suspects"]), len(stored["fitted"])
    if suspects < FEWEST:
        raise SkippedError(
            f"{suspects} training labels look wrong; at least {FEWEST} are needed to tell the "
            "units that serve them"
        )
    held = proportion(fitted, suspects)
    if fitted < FEWEST:
        return _not_memorized(held, fitted, suspects)
    curve = curve_of(stored)
    found = pruning_finding(curve, tolerance=_TOLERANCE)
    # All suspects here were fitted, so that what they lose is a plain share.
    lost = round(found.suspect_drop.value * found.suspect_drop.n)
    found = replace(found, suspect_drop=proportion(lost, found.suspect_drop.n))
    enough = found.suspect_drop.low > max(_LEAST, float(found.random_drops.max()))
    bad = enough and found.heldout_change.low >= -_TOLERANCE
    return Finding(
        "warning" if bad else "passed",
        _reason(found, held, bad),
        _numbers(found, held),
        examples=_examples(artifacts, stored) if bad else [],
        actions=[_action(stored, found)] if bad else [],
        tables=[_table(curve)],
        figures=[_drops(found), _lines(curve)],
        evidence=max(100 * found.heldout_change.value, 0.5) if bad else 0.0,
    )


def _not_memorized(held: Interval, fitted: int, suspects: int) -> Finding:
    if held.high >= _FITS:
        raise SkippedError(
            f"the model fits {fitted} of {suspects} labels that look wrong; at least {FEWEST} "
            "fitted ones are needed to tell the units that serve them"
        )
    reason = (
        f"The model fits {fitted} of the {suspects} training labels that look wrong "
        f"({held.low:.0%} to {held.high:.0%}): it has not memorized them."
    )
    return Finding("passed", reason, {"fitted": _fitted(held)})


def _reason(found: PruningFinding, held: Interval, bad: bool) -> str:
    drop, change = found.suspect_drop, found.heldout_change
    measured = (
        f"without {found.fraction:.0%} of the units the model unlearns {drop.value:.0%} "
        f"({drop.low:.0%} to {drop.high:.0%}) of suspect labels that played no part in choosing "
        f"them, at most {found.random_drops.max():.0%} without as many random units, and held-out "
        f"accuracy changes by {100 * change.value:+.1f} points ({100 * change.low:+.1f} to "
        f"{100 * change.high:+.1f}, n = {change.n})"
    )
    fits = f"the model fits {held.value:.0%} of the {held.n} training labels that look wrong"
    if bad:
        return (
            f"Wrong labels sit in units that right answers do without: {measured}. Before, {fits}."
        )
    return f"No units hold them that right answers do without: {fits}; {measured}."


def _numbers(found: PruningFinding, held: Interval) -> dict[str, Number]:
    chance = mean(found.random_drops)
    return {
        "fitted": _fitted(held),
        "unlearned": number(
            found.suspect_drop, _RIGHT, "higher", null=float(found.random_drops.max()),
            null_label="most of 10 random choices",
            guide="Fitted suspect labels, not used to choose units, that are no longer answered "
            f"with {found.fraction:.0%} of the units silenced.",
        ),
        "unlearned_at_random": number(
            chance, _RIGHT, "higher", null=0.0, null_label="nothing lost",
            method="mean over random choices of units, Student t",
            guide="The same with as many units drawn at random; n counts the choices.",
        ),
        "heldout_change": number(
            found.heldout_change, "accuracy (0-1)", "lower", null=found.random_heldout_change,
            null_label="random units", method="paired over examples, Student t",
            guide="Held-out accuracy with the units silenced minus accuracy as it is.",
        ),
    }  # fmt: skip


def _fitted(held: Interval) -> Number:
    return number(
        held, _RIGHT, "higher", null=0.0, null_label="none memorized",
        guide="Training rows that look mislabelled, to which the model answers their label.",
    )  # fmt: skip


def _examples(artifacts: Artifacts, stored: Arrays) -> list[Example]:
    """The fitted suspects, in the order of their suspicion."""
    labels, index = artifacts.labels("train"), artifacts.index("train")
    assert labels is not None
    names, rows = artifacts.class_names, stored["fitted"].tolist()
    return [
        Example(
            int(index[r]), "train", 1 - i / len(rows),
            f"labelled {names[labels[r]]}, which looks wrong, and the model answers it", r,
        )
        for i, r in enumerate(rows)
    ]  # fmt: skip


def _action(stored: Arrays, found: PruningFinding) -> Action:
    order, head = stored["order"], str(stored["head"])
    units = np.sort(order[: round(found.fraction * len(order))]).tolist()
    pick = f"units = {units}"
    if len(units) > _LISTED:
        pick = (
            "import numpy as np\nfrom pathlib import Path\n"
            'stored = next(Path("<the audit\'s folder>/artifacts/units").glob("*.npz"))\n'
            f'units = np.load(stored)["order"][:{len(units)}]'
        )
    drop, change = found.suspect_drop, found.heldout_change
    points = Interval(
        100 * change.value, 100 * change.low, 100 * change.high, change.n, change.level
    )
    return Action(
        "memorizing_units.prune",
        f"Silence {len(units)} of {len(order)} units of the last hidden layer",
        f"{drop.value:.0%} of suspect labels unlearned, {found.random_drops.max():.0%} at most at "
        f"random; held-out accuracy {100 * change.value:+.1f} points ({100 * change.low:+.1f} to "
        f"{100 * change.high:+.1f}), {100 * found.random_heldout_change:+.1f} at random.",
        f"import torch\n{pick}\nwith torch.no_grad():\n"
        f"    model.get_submodule({head!r}).weight[:, units] = 0",
        "none: no training",
        "grokking_corrupted",
        gain=number(
            points, "points of accuracy on test data", "lower", null=0.0, null_label="no change",
            method="paired over examples, Student t",
            guide="Accuracy on test data after minus before; the units were chosen without it.",
        ),
        gain_kind="measured",
    )  # fmt: skip


def _table(curve: PruningCurve) -> Table:
    rows = []
    for i, k in enumerate(curve.units.tolist()):
        row = [f"{k / curve.width:.0%}"]
        for s in ("suspect", "clean", "held-out"):
            row += [f"{curve.highest[s][i].mean():.3f}", f"{curve.random[s][:, i].mean():.3f}"]
        rows.append([*row, f"{curve.lowest['suspect'][i].mean():.3f}"])
    names = ["suspects", "clean", "held-out"]
    columns = ["units silenced", *(f"{n}{of}" for n in names for of in ("", ", random")),
               "suspects, last units first"]  # fmt: skip
    whole = ", ".join(f"{k} {v.mean():.3f}" for k, v in curve.whole.items())
    note = f"Accuracy on the labels as given; suspects are wrong labels. Before: {whole}."
    return Table("Accuracy with units silenced", columns, rows, note)


def _drops(found: PruningFinding) -> Figure:
    drop, change = found.suspect_drop, found.heldout_change
    rows = [
        {"label": "suspect labels", "value": drop.value, "low": drop.low, "high": drop.high,
         "n": drop.n, "mark": float(found.random_drops.max())},
        {"label": "held-out labels", "value": -change.value, "low": -change.high,
         "high": -change.low, "n": change.n, "mark": -found.random_heldout_change},
    ]  # fmt: skip
    data = {"rows": rows, "x_label": "accuracy lost with the units silenced", "reference": 0.0,
            "reference_label": "nothing lost",
            "mark_label": "random units (suspects: most, held-out: mean)"}  # fmt: skip
    alt = f"Suspect labels lose {drop.value:.2f}, held-out labels {-change.value:.2f}."
    return Figure("intervals", "What the units do", data, alt)


def _lines(curve: PruningCurve) -> Figure:
    x = [0.0, *(curve.units / curve.width).tolist()]
    series = []
    for s, name in (("suspect", "suspects"), ("held-out", "held-out")):
        start = float(curve.whole[s].mean())
        for y, of in (
            (curve.highest[s].mean(axis=1), ""),
            (curve.random[s].mean(axis=0), "random"),
        ):
            label = f"{name}, {of}" if of else name
            series.append({"name": label, "x": x, "y": [start, *y.tolist()],
                           "low": None, "high": None})  # fmt: skip
    data = {"series": series, "x_label": "share of units silenced", "y_label": "accuracy",
            "log_x": False, "diagonal": False}  # fmt: skip
    ends = ", ".join(f"{s['name']} {s['y'][-1]:.2f}" for s in series)  # type: ignore[index]
    alt = f"Accuracy with {x[-1]:.0%} of the units silenced: {ends}."
    return Figure("lines", "Accuracy with units silenced", data, alt)
