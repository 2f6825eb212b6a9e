"""What a paper's page says of each claim: the card beside the record's verdict and interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heldout.papers.card import Claim
from heldout.serve.interval_plot import IntervalPlot, interval_plot

RULE = (
    ("toy", "the run was smaller than the smallest scale that can judge the claim."),
    (
        "inconclusive",
        "a seed raised an error, there are fewer than three seeds, or a control was not met: "
        "a number from the same runs without which the claim's number would mean nothing.",
    ),
    ("holds", "the whole 95 % interval lies on the claimed side of the threshold."),
    ("fails", "the whole interval lies on the other side."),
    ("inconclusive", "the interval reaches both sides, or touches the threshold."),
)
"""The first that applies gives the word; see `heldout.papers.verdict.judge`."""


@dataclass(frozen=True)
class Control:
    """A number from the same runs without which a claim is not judged."""

    says: str
    """What it controls for."""
    wanted: str
    """Such as "above 0.9"."""
    found: str
    """Mean and interval."""
    met: bool
    """Whether the whole interval lies there."""


@dataclass(frozen=True)
class Measured:
    """A claim with what was measured of it."""

    claim: Claim
    """From the card."""
    word: str
    """The verdict; "not measured" without a record."""
    reason: str
    """Why it is that word, in a sentence."""
    number: str
    """Mean over seeds, or empty."""
    interval: str
    """Its ends, or empty."""
    n: int
    """Seeds."""
    level: str
    """Such as "95 %"."""
    scale: str
    """tiny, small or full; empty without a record."""
    plot: IntervalPlot | None
    """Interval and threshold; None where there is no finite interval."""
    controls: tuple[Control, ...]
    """With what was found of each; empty without a record."""
    moved: str
    """Said when the threshold is no longer the one that the record was judged by."""
    takes: str
    """How long one seed takes on one core, where that is known."""

    @property
    def met(self) -> int:
        """How many controls are met."""
        return sum(control.met for control in self.controls)

    @property
    def why(self) -> str:
        """Why it is that word, without the number, which stands beside it."""
        other = {"above": "below", "below": "above"}[self.claim.direction]
        side = {"holds": self.claim.direction, "fails": other}.get(self.word)
        if side is None or self.moved:
            return f"{self.word}: {self.reason[:1].lower()}{self.reason[1:]}"
        return f"{self.word}: the whole interval lies {side} {self.claim.threshold:g}."

    @property
    def css(self) -> str:
        """The verdict as the name of a style."""
        return self.word.replace(" ", "-")


def measured(claim: Claim, record: Mapping[str, Any] | None) -> Measured:
    """Return a claim with its record; the record's seeds are not needed.

    >>> claim = Claim("a", "", "m", "above", 0.5, "points", "", "small", "")
    >>> measured(claim, None).word
    'not measured'
    """
    takes = time_of((claim.minutes or {}).get("small"))
    if record is None:
        return Measured(claim, "not measured", "No record of it is shipped yet.", "", "", 0, "",
                        "", None, (), "", takes)  # fmt: skip
    effect = record.get("effect") or {}
    value, low, high = (effect.get(k) for k in ("value", "ci_low", "ci_high"))
    threshold, direction = record.get("threshold"), record.get("direction")
    moved = ""
    if (direction, threshold) != (claim.direction, claim.threshold):
        moved = (
            f"When it was recorded the threshold was {direction} {shown(threshold)}; "
            "to be judged anew."
        )
    return Measured(
        claim,
        str(record.get("verdict", "unreadable record")),
        str(record.get("reason", "")),
        "" if value is None else f"{value:.3g}",
        "" if value is None else f"[{shown(low)}, {shown(high)}]",
        int(effect.get("n") or 0),
        f"{100 * (effect.get('level') or 0.95):g} %",
        str(record.get("scale", "")),
        interval_plot(value, low, high, threshold, str(direction), claim.unit),
        tuple(map(_control, record.get("controls") or ())),
        moved,
        takes,
    )


def shown(number: float | None) -> str:
    """Return a number with three digits; "?" for one that is not finite.

    >>> shown(0.12345), shown(None)
    ('0.123', '?')
    """
    return "?" if number is None else f"{number:.3g}"


def time_of(minutes: float | None) -> str:
    """Return a time for a reader; empty when it is not known.

    >>> time_of(0.5), time_of(25), time_of(200), time_of(None)
    ('30 s', '25 min', '3.3 h', '')
    """
    if not minutes:
        return ""
    if minutes < 1.5:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _control(found: Mapping[str, Any]) -> Control:
    low, high = shown(found.get("ci_low")), shown(found.get("ci_high"))
    return Control(
        str(found.get("says", "")),
        f"{found.get('direction')} {shown(found.get('threshold'))}",
        f"{shown(found.get('value'))} [{low}, {high}]",
        bool(found.get("met")),
    )
