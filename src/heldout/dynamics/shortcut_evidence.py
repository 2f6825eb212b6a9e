"""Whether a region that a model leans on looks like a cue: a part that only carries the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from heldout.core.interval import Interval
from heldout.core.statistics import mean
from heldout.dynamics.reliance import Reliance


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against a region being a shortcut."""

    drop: Interval
    """Accuracy lost when the region comes from a random example; paired over examples."""
    swap: Interval
    """Accuracy lost when it comes from an example of another class."""
    follows: Interval
    """Share of swapped examples that get the class of the region's donor."""
    kept: Interval
    """Accuracy when everything but the region comes from a random example."""
    alone: float
    """Skill of a probe that sees only the region: 0 = largest class, 1 = the whole input."""
    rest: float
    """Skill of the rest: of a probe on it, or of the model with the region shuffled."""
    bound: float
    """R^2 of what the region says from the rest, within classes; NaN when not probed."""
    broken: tuple[str, ...]
    """Shifted sets on which the region no longer tells the label while the rest still does."""


@dataclass(frozen=True)
class Thresholds:
    """When evidence is enough; set on one half of the worlds, reported on the other."""

    lean: float = 0.02
    """Least accuracy lost when the region is swapped."""
    lean_low: float = 0.005
    """Least lower end of its interval."""
    share: float = 0.45
    """Largest share of the input that is still a part."""
    alone: float = 0.55
    """Least skill of the region alone."""
    alone_broken: float = 0.35
    """The same where a shifted set shows the cue broken."""
    rest: float = 0.60
    """Least skill of the complement: without it, leaning on the region is no choice."""
    bound: float = 0.10
    """Largest R^2 within classes."""
    bound_broken: float = 0.25
    """The same where two or more shifted sets show the cue broken: then they are the evidence,
    and a part may hold a little of the object beside the cue."""
    typical: float = 0.15
    """Least median R^2 of other regions: only where inputs hang together is it telling that
    one part does not."""
    margin: float = 0.20
    """Otherwise: least lead in skill over the next region that shares nothing with this one."""
    patch_margin: float = 0.30
    """The same for a patch of an image that the rest does not replace."""
    frequencies: float = 0.06
    """Largest share of the spectrum that can be a cue."""


def evidence(
    right: np.ndarray,
    found: Reliance,
    truth: Mapping[str, Int[np.ndarray, " m"] | None],
    alone: Mapping[str, Int[np.ndarray, " m"]],
    rest: Mapping[str, Int[np.ndarray, " m"]] | None,
    whole: float,
    bound: float,
) -> Evidence:
    """Summarize the interventions and probes of one region.

    Skill = (accuracy - largest class) / (whole - largest class), over test labels. A shifted
    set breaks the region when the region's skill there is below 0.3 of its skill on test while
    the complement keeps at least 0.6 of its own; without labels, when the probe on the region
    gives one answer for nearly everything there (the cue is gone) and the complement's does not.

    Args:
        right: whether each test example is predicted right, undisturbed.
        found: interventions on the same examples.
        truth: labels by split; `test`, and shifted sets with or without (None).
        alone: answers of the probe on the region, by split.
        rest: the same on the complement; None when not probed.
        whole: best accuracy known on the test set, of the model or of a probe on everything.
        bound: see `heldout.dynamics.reliance.bound_within_classes`.

    Cost: no pass over the data.
    """
    y = truth["test"]
    assert y is not None
    base = right.astype(float)
    lost = base - found.randomized.mean(axis=0)
    conflict = base - (found.swapped == y).mean(axis=0)
    guess = float(np.bincount(y).max() / len(y))

    def skill(answers: np.ndarray, labels: np.ndarray) -> float:
        return float((np.mean(answers == labels) - guess) / max(whole - guess, 0.02))

    said = skill(alone["test"], y)
    others = float("nan") if rest is None else skill(rest["test"], y)
    # A forest on pixels may be weak where the model, with this region shuffled, is not.
    without = (float(found.randomized.mean()) - guess) / max(whole - guess, 0.02)
    enough = float(np.nanmax([others, without]))
    broken = []
    for name, labels in truth.items():
        if name in ("test", "train") or rest is None:
            continue
        if labels is None:
            gone = _one_answer(alone[name]) and not _one_answer(rest[name])
        else:
            kept = skill(rest[name], labels) >= 0.6 * others
            gone = kept and skill(alone[name], labels) < 0.3 * said
        if gone:
            broken.append(name)
    return Evidence(
        mean(lost), mean(conflict), mean((found.swapped == found.donors).mean(axis=0)),
        mean(found.alone.astype(float).mean(axis=0)), said, enough, bound, tuple(broken),
    )  # fmt: skip


def is_cue(
    one: Evidence, others: list[Evidence], kind: str, share: float, limits: Thresholds
) -> bool:
    """Whether the model leans on a part that carries the label and nothing else.

    All of: the model leans on it (swapped, accuracy falls); it is a part; its complement alone
    would predict well; alone it tells the class well; and given the class it is unrelated to
    the rest although other parts are related (or it leads every other part by far).

    What cannot be told apart without a shifted set: a cue, and a legitimate part that is
    sufficient, replaceable, and independent of the rest given the class. A legitimate column
    that the rest cannot replace is never flagged. A patch of an image may be irreplaceable (a
    forest on pixels reads shapes badly) if it leads every other patch by 0.3 in skill: objects
    do not sit in one corner. In the spectrum every band of a natural image tells the class, so
    only a few single frequencies (6 % at most) can be a cue.

    Args:
        one: the region in question.
        others: regions that share no coordinate with it.
        kind: of the region; see `heldout.dynamics.regions.Region`.
        share: of the coordinates that it covers.
        limits: thresholds.
    """
    leans = one.swap.value >= limits.lean and one.swap.low >= limits.lean_low
    enough = limits.alone_broken if one.broken else limits.alone
    bound = limits.bound_broken if len(one.broken) >= 2 else limits.bound
    if not (leans and share <= limits.share and one.alone >= enough and one.bound <= bound):
        return False
    if kind in ("band", "channel", "frequencies"):
        return kind == "frequencies" and share <= limits.frequencies and one.rest >= limits.rest
    tied = [o.bound for o in others if np.isfinite(o.bound) and o.alone >= 0.1]
    typical = float(np.median(tied)) if tied else 0.0
    lead = one.alone - max((o.alone for o in others), default=0.0)
    patch = kind in ("patch", "strip") and lead >= limits.patch_margin
    if one.rest < limits.rest and not patch:
        return False
    return typical >= limits.typical or lead >= limits.margin


def _one_answer(answers: np.ndarray) -> bool:
    return bool(np.bincount(answers).max() >= 0.95 * len(answers))
