"""Difficulty: bits that the training data leave open, whatever the model."""

from __future__ import annotations

import math

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.result import Check, Finding, Number, Table, number
from heldout.core.interval import Interval
from heldout.measures.difficulty import Estimate, from_parts

CHECK = Check(
    id="difficulty",
    part="how_well",
    title="Difficulty of the task",
    question="How much must any model bring along, beyond these training data?",
    rule="Informs only: it passes wherever the numbers could be computed. No number of bits is "
    "known that separates tasks that are learned from those that are not, so there is no "
    "threshold to warn or fail by.",
    needs=("predictions", "difficulty"),
    paper="generalization_difficulty",
    cost="distances among at most 1,000 training examples, under 2 s",
    guide="A bound on the bits that single out a good function among those that fit the data, "
    "from intrinsic dimension and the distance between classes. Read its order of magnitude and "
    "what changes it, not its digits: it moves by powers of ten with noise, scaling and the "
    "number of examples, and cannot be compared between data in different units.",
)

_EPS = 0.01  # error aimed at: fixed, so that audits of one data set can be compared


def run(artifacts: Artifacts) -> Finding:
    """Report dimension, resolution, bits and what would change them; never a warning."""
    stored = artifacts.read("difficulty/train")
    found = _estimate(stored)
    source = str(stored["source"])
    if found.note:
        reason = f"No bound from {source}: {found.note}."
        return Finding("passed", reason, _numbers(found, source))
    low, high = max(found.log10_range.low, 0.0), found.log10_range.high
    reason = (
        f"About 10^{found.log10_bits:.1f} bits (10^{low:.1f} to 10^{high:.1f} over resamples) for "
        f"an error of {_EPS:g}, from {source}: intrinsic dimension {found.m.value:.1f}, classes as "
        f"close as {found.delta.value:.3g}. An order of magnitude only; the estimate is unstable."
    )
    return Finding("passed", reason, _numbers(found, source), tables=[_table(found)])


def _estimate(stored: Arrays) -> Estimate:
    points = stored["points"].tolist()
    return from_parts(
        m=float(stored["m"]),
        delta=float(stored["delta"]),
        radius=float(stored["radius"]),
        n_classes=int(stored["classes"]),
        n=int(stored["n"]),
        eps=_EPS,
        m_draws=stored["m_draws"],
        delta_draws=stored["delta_draws"],
        points=(points[0], points[1]),
    )


def _numbers(found: Estimate, source: str) -> dict[str, Number]:
    made = {
        "intrinsic_dimension": number(
            found.m, "dimensions", "higher",
            guide=f"From the five nearest neighbours, on {source}; too low above about six.",
        ),
        "resolution": number(
            found.delta, "distance in units of the inputs", "lower",
            guide="Extreme-value estimate of the smallest distance between classes; the range "
            "is that of resamples, which miss the closest pair about every second time.",
        ),
    }  # fmt: skip
    if not found.note:
        made["log10_bits"] = number(
            _clipped(found.log10_range), "log10 of bits", "higher",
            guide=f"Bound at an error of {_EPS:g} from {found.n} examples; order of magnitude "
            "only, and the range covers resampling, not the choice of units or of the formula.",
        )  # fmt: skip
    return made


def _clipped(interval: Interval) -> Interval:
    """Bits below one are none: a resample that determines the class has minus infinity."""
    low = max(interval.low, 0.0)
    return Interval(
        interval.value, low, max(interval.high, low), interval.n, method=interval.method
    )


def _table(found: Estimate) -> Table:
    slope = found.elasticities
    rows = [
        ["one more intrinsic dimension, resolution kept", _factor(found.per_dimension)],
        ["classes a fifth closer", _factor(slope["delta"] * math.log10(0.8))],
        ["twice the examples, resolution kept", _factor(slope["n"] * math.log10(2))],
        ["half the error aimed at", _factor(slope["eps"] * math.log10(0.5))],
    ]
    return Table(
        "What would change the bits",
        ["change", "bits change by a factor of"],
        rows,
        "From the formula's slopes at these numbers. More examples usually hold a closer pair of "
        "classes too, and noise raises the dimension but drives classes apart: the bits then go "
        "the other way than the task's real difficulty.",
    )


def _factor(log10: float) -> str:
    return f"{10**log10:.3g}" if abs(log10) < 6 else f"10^{log10:.0f}"
