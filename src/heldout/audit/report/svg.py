"""The five figures of a report as inline SVG: small, quiet, readable in print and in the dark.

Figures are drawn 360 units wide, so that their text keeps a readable size on a phone. Nothing
here sets a colour: shapes carry classes, and the style sheet colours them for paper and screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from heldout.audit.report import plots
from heldout.audit.report.canvas import WIDTH, axis, label, line, scale, shell
from heldout.audit.report.text import clean, decimals, figure, is_share


def draw(chart: Mapping[str, Any], key: str, limit: int = 400) -> Markup:
    """Draw a figure dict of the report.

    Args:
        chart: `kind`, `title`, `data`, `alt`; see `heldout.audit.result.Figure`.
        key: unique in the page; names the text alternatives.
        limit: at most this many rows or points are drawn.

    Returns:
        An `<svg>` element, safe to put into HTML, or an empty string when there is nothing to
        draw or the figure is of another kind (`thumbnails` are drawn by the page itself).

    >>> data = {"rows": [{"label": "a<b", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}]}
    >>> "a&lt;b" in draw({"kind": "intervals", "title": "t", "data": data, "alt": "x"}, "f1")
    True
    """
    drawers = {
        "intervals": intervals,
        "bars": bars,
        "lines": plots.lines,
        "grid": plots.grid,
    }
    drawer = drawers.get(chart.get("kind", ""))
    data = chart.get("data") or {}
    body = drawer(data, limit) if drawer else None
    if body is None:
        return Markup("")
    content, height = body
    return shell(content, height, key, chart.get("title", ""), chart.get("alt", ""))


def intervals(data: Mapping[str, Any], limit: int = 400) -> tuple[Markup, float] | None:
    """Dot and bar of each row, n at the right, an optional mark and a reference line."""
    rows = [r for r in data.get("rows") or [] if r.get("value") is not None][:limit]
    if not rows:
        return None
    reference = _number(data.get("reference"))
    values = [_number(r.get(k)) for r in rows for k in ("value", "low", "high", "mark")]
    known = [v for v in [*values, reference] if v is not None]
    percent = is_share(str(data.get("x_label") or ""), *known)
    frame = _Rows([clean(r.get("label", ""), 60) for r in rows], known, percent, right=46)
    out = [frame.axis(data.get("x_label"))]
    if reference is not None:
        out.append(frame.reference(reference, data.get("reference_label")))
    for place, row in enumerate(rows):
        out.append(frame.label(place))
        out.append(_interval(frame, place, row))
    if any(_number(r.get("mark")) is not None for r in rows):
        out.append(_mark_key(frame, data.get("mark_label")))
    if any(r.get("n") is not None for r in rows):
        out.append(label(WIDTH, frame.top - 8, "n", "end", "soft"))
    return Markup("").join(out), frame.height


def _interval(frame: _Rows, place: int, row: Mapping[str, Any]) -> Markup:
    y, out = frame.y(place), []
    low, high = _number(row.get("low")), _number(row.get("high"))
    if low is not None and high is not None:
        out.append(line(frame.x(low), y, frame.x(high), y, "bar"))
    x = frame.x(float(row["value"]))
    out.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.6"/>').format(x, y))
    mark = _number(row.get("mark"))
    if mark is not None:
        out.append(_diamond(frame.x(mark), y))
    if row.get("n") is not None:
        out.append(label(WIDTH, y + 4, f"{int(row['n']):,}", "end", "soft"))
    return Markup("").join(out)


def _mark_key(frame: _Rows, words: Any) -> Markup:
    y = frame.key_line()
    name = clean(words or "mark", 60)
    return _diamond(5, y - 4) + label(14, y, name, "start", "soft")


def _diamond(x: float, y: float) -> Markup:
    return Markup('<path class="mark" d="M{:.1f} {:.1f}l4.4 4.4l-4.4 4.4l-4.4 -4.4z"/>').format(
        x, y - 4.4
    )


def bars(data: Mapping[str, Any], limit: int = 400) -> tuple[Markup, float] | None:
    """A horizontal bar of each row from zero, its value at the right."""
    rows = [r for r in data.get("rows") or [] if _number(r.get("value")) is not None][:limit]
    if not rows:
        return None
    values = [float(r["value"]) for r in rows]
    percent = is_share(str(data.get("x_label") or ""), *values)
    frame = _Rows([clean(r.get("label", ""), 60) for r in rows], [0.0, *values], percent, right=52)
    places = 1 if percent else decimals(0.0, max(map(abs, values)) / 10 or None)
    zero = frame.x(0.0)
    out = [frame.axis(data.get("x_label")), line(zero, frame.top - 4, zero, frame.bottom, "axis")]
    for place, value in enumerate(values):
        y, end = frame.y(place), frame.x(value)
        box = '<rect class="fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="9"/>'
        out.append(frame.label(place))
        out.append(Markup(box).format(min(zero, end), y - 4.5, max(abs(end - zero), 0.6)))
        out.append(label(WIDTH, y + 4, figure(value, places, percent), "end", ""))
    return Markup("").join(out), frame.height


class _Rows:
    """Places of labelled rows over a common axis; long labels get a line of their own."""

    def __init__(
        self, names: Sequence[str], values: Sequence[float], percent: bool, right: float
    ) -> None:
        self.names, self.percent = names, percent
        longest = max(map(len, names))
        self.above = longest > 22
        self.left = 12.0 if self.above else min(150.0, 14 + 6.2 * longest)
        self.right = WIDTH - right
        self.step = 34.0 if self.above else 22.0
        self.top = 22.0
        self.bottom = self.top + self.step * len(names)
        self.height = self.bottom + 34
        self.marks = axis(list(values), percent)
        self._x = scale(self.marks[0], self.marks[-1], self.left, self.right)

    def x(self, value: float) -> float:
        return self._x(value)

    def y(self, place: int) -> float:
        return self.top + self.step * place + (24 if self.above else 11)

    def label(self, place: int) -> Markup:
        if self.above:
            return label(0, self.y(place) - 10, self.names[place], "start", "")
        return label(self.left - 10, self.y(place) + 4, self.names[place], "end", "")

    def axis(self, words: Any) -> Markup:
        out = []
        gap = self.marks[1] - self.marks[0] if len(self.marks) > 1 else 1.0
        places = max(0, -math.floor(math.log10(gap * (100 if self.percent else 1)) + 1e-9))
        for tick in self.marks:
            x = self.x(tick)
            out.append(line(x, self.top - 4, x, self.bottom, "rule"))
            shown = figure(tick, places, self.percent)
            out.append(label(x, self.bottom + 14, shown, "middle", "soft"))
        named = clean(words or "", 44)
        out.append(label((self.left + self.right) / 2, self.bottom + 29, named, "middle", "soft"))
        return Markup("").join(out)

    def reference(self, value: float, words: Any) -> Markup:
        x = self.x(value)
        anchor = "start" if x < (self.left + self.right) / 2 else "end"
        shift = 4 if anchor == "start" else -4
        drawn = line(x, self.top - 16, x, self.bottom, "reference")
        return drawn + label(x + shift, self.top - 8, clean(words or "", 40), anchor, "soft")

    def key_line(self) -> float:
        self.height += 17
        return self.height - 5


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
