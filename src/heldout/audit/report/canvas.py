"""Strokes, words and scales that the figures of a report are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from heldout.audit.report.text import clean

WIDTH = 360
"""Units across every figure; also about its pixels on a phone."""

_TINY = 1e-100  # below it, dividing overflows; no figure needs such values


def shell(content: Markup, height: float, key: str, title: Any, alt: Any) -> Markup:
    """Wrap strokes in an `<svg>` with a title and a description for readers who do not see it.

    >>> "<title" in shell(Markup(""), 10, "f1", "Accuracy", "It is 0.9.")
    True
    """
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h:.0f}" role="img" '
        'aria-labelledby="{k}-title {k}-text">'
        '<title id="{k}-title">{t}</title><desc id="{k}-text">{d}</desc>{c}</svg>'
    ).format(w=WIDTH, h=height, k=key, t=clean(title, 200), d=clean(alt, 1000), c=content)


def label(x: float, y: float, words: Any, anchor: str, kind: str) -> Markup:
    """Return a line of text; an empty string draws nothing.

    >>> label(1, 2, "a<b", "end", "soft")
    Markup('<text class="soft" x="1.0" y="2.0" text-anchor="end">a&lt;b</text>')
    """
    if not str(words):
        return Markup("")
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, words
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight stroke.

    >>> line(0, 0, 1, 1, "axis")
    Markup('<line class="axis" x1="0.0" y1="0.0" x2="1.0" y2="1.0"/>')
    """
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map values linearly to places; a range of no width maps to the middle.

    >>> scale(0, 10, 100, 200)(5)
    150.0
    """
    span = high - low
    if not span:
        return lambda value: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / span


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside a range: steps of 1, 2 or 5 times a power of 10, about `count` of them.

    >>> ticks(0.62, 0.98), ticks(0.1, 0.99), ticks(3, 3)
    ([0.7, 0.8, 0.9], [0.2, 0.4, 0.6, 0.8], [3])
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _TINY):
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / max(1, count)))
    steps = [power * m for m in (1, 2, 5, 10)]
    found = [_multiples(step, low, high) for step in steps]
    return min(found, key=lambda marks: (abs(len(marks) - count), len(marks)))


def axis(values: list[float], percent: bool = False, count: int = 4) -> list[float]:
    """Round values from below the smallest to above the largest; the ends of an axis.

    A share has no round value beyond 0 and 1, so its axis ends there.

    >>> axis([0.34, 0.94], percent=True), axis([2.0, 2.0])
    ([0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 2.0, 3.0])
    """
    low, high = min(values), max(values)
    if max(abs(low), abs(high)) < _TINY:
        low = high = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 2 or 1.0), high + (abs(high) / 2 or 1.0)
    marks = ticks(low, high, count)
    step = marks[1] - marks[0] if len(marks) > 1 else (high - low)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if percent and low >= 0 and high <= 1:
        first, last = max(0, first), min(last, math.ceil(1 / step - 1e-9))
    return [_round(i * step) for i in range(first, last + 1)]


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [_round(i * step) for i in range(first, last + 1)]


def _round(value: float) -> float:
    # 0.1 * 3 is not 0.3; twelve digits are more than any label shows.
    return float(f"{value:.12g}")
