"""Where the parts of a small plot of one interval lie: threshold, claimed side, interval, mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 56
"""Of the drawing, in its own units."""
_EDGE = 14
_NARROWEST = 3.0  # an interval that is thinner could not be seen


@dataclass(frozen=True)
class IntervalPlot:
    """Places along the plot, from 0 to WIDTH."""

    line: float
    """Of the threshold."""
    point: float
    """Of the mean."""
    low: float
    """Of the interval's lower end."""
    high: float
    """Of its upper end."""
    side: tuple[float, float]
    """Left edge and width of the claimed side."""
    words: str
    """The same for those who cannot see it."""
    label: float
    """Middle of the threshold's number, kept within the plot."""
    number: float
    """Middle of the mean's number."""


def interval_plot(
    value: float | None,
    low: float | None,
    high: float | None,
    threshold: float | None,
    direction: str,
    unit: str = "",
) -> IntervalPlot | None:
    """Return where everything lies; None when a number is missing or not finite.

    The scale reaches a third beyond the interval and the threshold, so that the two sides of the
    threshold can both be seen; it is linear.

    Args:
        value: mean over seeds.
        low: lower end of its interval.
        high: upper end.
        threshold: what the interval is compared with.
        direction: "above" or "below": the claimed side.
        unit: of the metric, for the words.

    >>> plot = interval_plot(0.9, 0.8, 1.0, 0.5, "above")
    >>> plot.line < plot.low < plot.point < plot.high
    True
    """
    if value is None or low is None or high is None or threshold is None:
        return None
    numbers = (value, low, high, threshold)
    if not all(map(math.isfinite, numbers)):
        return None
    least, most = min(numbers), max(numbers)
    spread = (most - least) or abs(threshold) or 1.0
    if not math.isfinite(spread * 2):
        return None
    start, length = least - spread / 3, spread * 5 / 3

    def at(number: float) -> float:
        return round(_EDGE + (number - start) / length * (WIDTH - 2 * _EDGE), 1)

    line, left, right = at(threshold), at(low), at(high)
    if right - left < _NARROWEST:
        left, right = at(value) - _NARROWEST / 2, at(value) + _NARROWEST / 2
    side = (line, WIDTH - line) if direction == "above" else (0.0, line)
    words = (
        f"Mean {value:.3g}, 95 % interval {low:.3g} to {high:.3g} {unit}".rstrip()
        + f"; claimed to lie {direction} {threshold:g}."
    )
    return IntervalPlot(
        line, at(value), round(left, 1), round(right, 1), (side[0], round(side[1], 1)), words,
        _within(line), _within(at(value)),
    )  # fmt: skip


def _within(place: float) -> float:
    return min(max(place, 22.0), WIDTH - 22.0)
