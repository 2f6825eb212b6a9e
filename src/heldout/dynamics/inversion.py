"""What a training run made of labels that are suspected to be wrong: four words, with a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.statistics import proportion

Word = Literal[
    "coexistence", "memorization", "partial inversion", "full inversion", "forgetting", "undecided"
]

GOOD = 0.9
"""Share of the attainable held-out accuracy from which on a network counts as generalizing."""
STORED = 0.9
"""Share of the suspect labels given back from which on they count as learned by heart."""
DROPPED = 0.1
"""Share of them up to which they count as given up."""


@dataclass(frozen=True)
class InversionReport:
    """Which phase a run is in."""

    word: Word
    """See `inversion_check`."""
    reason: str
    """One sentence for a reader."""
    train: Interval
    """Accuracy on the training labels as given; Wilson."""
    heldout: Interval
    """Accuracy on held-out examples with right labels; Wilson."""
    stored: Interval
    """Share of the suspect labels given back, from 0 to 1. Wilson where it was counted; where it
    follows from the training accuracy, from the least to the most that agrees with it."""


def inversion_check(
    train_accuracy: float,
    suspect_share: float,
    heldout_accuracy: float,
    *,
    n_train: int,
    n_heldout: int,
    suspect_accuracy: float | None = None,
    chance: float = 0.0,
    attainable: float = 1.0,
) -> InversionReport:
    """Name the phase of a run on partly wrong labels.

    With xi the suspect share, A the training accuracy, S the share of suspect labels that are
    given back (`suspect_accuracy`), G the held-out accuracy, a the attainable one and c chance:

    - G >= 0.9 a and S >= 0.9: "coexistence", the rule and the wrong labels side by side;
    - G >= 0.9 a and S <= 0.1: "full inversion", training accuracy falls to 1 - xi;
    - G >= 0.9 a between them: "partial inversion";
    - G <= c + (0.9 a - c) / 2 and S >= 0.9: "memorization", by heart and no rule;
    - G there, S <= 0.1, and A <= c + (1 - xi - c) / 2: "forgetting", neither is left (or was ever
      learned: look at earlier steps);
    - otherwise "undecided".

    Each comparison is of the whole 95 % interval; one that reaches across a limit is "undecided".
    Without `suspect_accuracy`, S follows from A = (1 - xi) R + xi S, where R, the share of the
    other labels that are given back, is taken to lie between G / a (they were trained on, so they
    are right at least as often as held-out ones) and 1. S is then known only within bounds, and a
    network that generalizes imperfectly may be "undecided" until suspect labels are counted.

    After the phases of Doshi, Das, He and Gromov 2023, "To grok or not to grok",
    arXiv:2310.13061, section 3. DIFFERS: "memorization" and "undecided" are ours, and so are the
    limits.

    Args:
        train_accuracy: A, on the labels as given.
        suspect_share: xi, of the training labels, in (0, 1).
        heldout_accuracy: G, on labels that can be trusted.
        n_train: training examples.
        n_heldout: held-out examples.
        suspect_accuracy: S, where it is known which labels are suspect: better than without.
        chance: c, of the best constant answer.
        attainable: a, best accuracy that the task allows.

    Raises:
        InputError: a share outside its range, counts below 1, no suspect example, or accuracies
            that contradict each other.

    >>> inversion_check(0.65, 0.35, 1.0, n_train=4704, n_heldout=4705).word
    'full inversion'
    >>> inversion_check(0.98, 0.35, 0.98, n_train=4704, n_heldout=4705).word
    'coexistence'
    >>> report = inversion_check(0.01, 0.35, 0.01, n_train=4704, n_heldout=4705, chance=1 / 97)
    >>> report.word
    'forgetting'
    """
    _check(train_accuracy, suspect_share, heldout_accuracy, suspect_accuracy, chance, attainable)
    suspects = round(suspect_share * n_train) if n_train >= 1 else 0
    if suspects < 1 or n_heldout < 1:
        raise InputError(
            f"{suspects} suspect of {n_train} training examples, {n_heldout} held out",
            "at least one of each", "more examples: an interval needs a count",
        )  # fmt: skip
    train = _counted(train_accuracy, n_train)
    held = _counted(heldout_accuracy, n_heldout)
    if suspect_accuracy is None:
        stored = _implied(train, held, suspect_share, attainable)
    else:
        _agree(train_accuracy, suspect_share, suspect_accuracy, n_train)
        stored = _counted(suspect_accuracy, suspects)
    word = _word(train, held, stored, suspect_share, chance, attainable)
    return InversionReport(word, _reason(word, held, stored), train, held, stored)


def _counted(share: float, n: int) -> Interval:
    return proportion(round(share * n), n)


def _implied(train: Interval, held: Interval, xi: float, attainable: float) -> Interval:
    """Bounds on S from A; the other labels are at least as often right as held-out ones."""

    right = min(1.0, held.low / attainable)
    low, middle, high = (
        float(np.clip((a - (1 - xi) * r) / xi, 0, 1))
        for a, r in ((train.low, 1.0), (train.value, (1 + right) / 2), (train.high, right))
    )
    return Interval(middle, low, high, train.n, train.level, "bounds from training accuracy")


def _word(
    train: Interval, held: Interval, stored: Interval, xi: float, chance: float, attainable: float
) -> Word:
    good = GOOD * attainable
    if held.low >= good:
        if stored.low >= STORED:
            return "coexistence"
        if stored.high <= DROPPED:
            return "full inversion"
        between = stored.low > DROPPED and stored.high < STORED
        return "partial inversion" if between else "undecided"
    if held.high <= chance + (good - chance) / 2:
        if stored.low >= STORED:
            return "memorization"
        if stored.high <= DROPPED and train.high <= chance + (1 - xi - chance) / 2:
            return "forgetting"
    return "undecided"


def _reason(word: Word, held: Interval, stored: Interval) -> str:
    told = (
        f"{stored.value:.0%} [{stored.low:.0%}, {stored.high:.0%}] of the suspect labels are "
        f"given back, and {held.value:.1%} [{held.low:.1%}, {held.high:.1%}] of held-out "
        "examples are right"
    )
    meaning = {
        "coexistence": "learned by heart beside the rule",
        "memorization": "learned by heart, and no rule",
        "partial inversion": "the rule, and some of the suspect labels",
        "full inversion": "the rule alone; the suspect labels were given up",
        "forgetting": "neither the labels nor the rule; if there was one earlier, stop earlier",
        "undecided": "an interval reaches across a limit, or lies between two phases",
    }
    return f"{told}: {meaning[word]}"


def _agree(train: float, xi: float, suspect: float, n: int) -> None:
    least, most = xi * suspect, xi * suspect + 1 - xi
    slack = 1e-3 + 1 / n  # accuracies may come rounded
    if not least - slack <= train <= most + slack:
        raise InputError(
            f"accuracy {train} on all training labels, {suspect} on {xi:.0%} of them",
            f"a training accuracy from {least:.3f} to {most:.3f}",
            "count both on the labels as given, in the same mode",
        )


def _check(
    train: float, xi: float, held: float, suspect: float | None, chance: float, attainable: float
) -> None:
    shares = [train, held, chance, attainable, 0.0 if suspect is None else suspect]
    if not all(0 <= s <= 1 for s in shares) or not 0 < xi < 1:
        raise InputError(
            f"accuracies {shares} and a suspect share of {xi}",
            "accuracies from 0 to 1, a suspect share between them",
            "divide percentages by 100",
        )
    if not chance < GOOD * attainable:
        raise InputError(
            f"chance {chance} and an attainable accuracy of {attainable}",
            f"chance below {GOOD} of what is attainable",
            "chance is the accuracy of the best constant answer",
        )
