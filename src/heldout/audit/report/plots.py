"""Curves and heat maps as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from heldout.audit.report.canvas import WIDTH, axis, label, line, scale
from heldout.audit.report.text import clean, decimals, figure, is_share

_LEFT, _TOP, _RIGHT, _BOTTOM = 44.0, 28.0, WIDTH - 14.0, 212.0
_STYLES = 4  # strokes that can be told apart without colour; see the style sheet

Point = tuple[float, float]


def lines(data: Mapping[str, Any], limit: int = 400) -> tuple[Markup, float] | None:
    """Curves over common axes, each with an optional band; told apart by dashes, not colour."""
    log_x = bool(data.get("log_x"))
    series = [_thin(s, limit, log_x) for s in data.get("series") or []]
    series = [s for s in series if any(p is not None for p in s["points"])]
    if not series:
        return None
    xs = [p[0] for s in series for p in s["points"] if p]
    ys = [p[1] for s in series for p in [*s["points"], *s["low"], *s["high"]] if p]
    if data.get("diagonal"):
        xs, ys = [*xs, *ys], [*xs, *ys]
    x_name, y_name = (clean(data.get(k) or "", 44) for k in ("x_label", "y_label"))
    x_marks = _log_axis(xs) if log_x else axis(xs, is_share(x_name, *xs))
    y_marks = axis(ys, is_share(y_name, *ys))
    x_of = scale(min(x_marks[0], *xs), max(x_marks[-1], *xs), _LEFT + 4, _RIGHT)
    y_of = scale(y_marks[0], y_marks[-1], _BOTTOM, _TOP)
    out = [_axes((x_name, x_marks, x_of), (y_name, y_marks, y_of), log_x)]
    if data.get("diagonal"):
        low, high = min(xs), max(xs)
        out.append(line(x_of(low), y_of(low), x_of(high), y_of(high), "reference"))
    for place, one in enumerate(series):
        out.append(_series(one, place % _STYLES, x_of, y_of))
    height = _BOTTOM + 36
    if len(series) > 1:
        for place, one in enumerate(series):
            y = height + 12 + 16 * place
            out.append(line(_LEFT, y - 4, _LEFT + 26, y - 4, f"curve s{place % _STYLES}"))
            out.append(label(_LEFT + 34, y, clean(one["name"], 44), "start", ""))
        height += 16 * len(series) + 4
    return Markup("").join(out), height


def _thin(one: Mapping[str, Any], limit: int, log_x: bool) -> dict[str, Any]:
    """Points of a series, None where it has a hole, at most `limit` of them."""
    xs = list(one.get("x") or [])
    step = max(1, -(-len(xs) // max(2, limit)))
    kept = sorted({*range(0, len(xs), step), len(xs) - 1} if xs else set())

    def points(name: str) -> list[Point | None]:
        ys = list(one.get(name) or [])
        return [_point(xs[i], ys[i] if i < len(ys) else None, log_x) for i in kept]

    return {
        "name": one.get("name", ""),
        "points": points("y"),
        "low": points("low"),
        "high": points("high"),
    }


def _point(x: Any, y: Any, log_x: bool) -> Point | None:
    good = all(isinstance(v, int | float) and math.isfinite(v) for v in (x, y))
    if not good or (log_x and x <= 0):
        return None
    return (math.log10(x) if log_x else float(x)), float(y)


def _axes(
    across: tuple[str, list[float], Callable[[float], float]],
    up: tuple[str, list[float], Callable[[float], float]],
    log_x: bool,
) -> Markup:
    """Name, marks and places of both axes."""
    (x_name, x_marks, x_of), (y_name, y_marks, y_of) = across, up
    out = []
    for tick, shown in zip(y_marks, _tick_words(y_marks, is_share(y_name, *y_marks)), strict=True):
        out.append(line(_LEFT, y_of(tick), _RIGHT, y_of(tick), "rule"))
        out.append(label(_LEFT - 7, y_of(tick) + 4, shown, "end", "soft"))
    real = [10**t for t in x_marks] if log_x else x_marks
    for tick, shown in zip(x_marks, _tick_words(real, is_share(x_name, *real)), strict=True):
        out.append(line(x_of(tick), _BOTTOM, x_of(tick), _BOTTOM + 4, "axis"))
        out.append(label(x_of(tick), _BOTTOM + 16, shown, "middle", "soft"))
    out.append(line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"))
    out.append(label((_LEFT + _RIGHT) / 2, _BOTTOM + 31, x_name, "middle", "soft"))
    out.append(label(0, 11, y_name, "start", "soft"))
    return Markup("").join(out)


def _log_axis(values: Sequence[float]) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten inside a range, thinned to few."""
    low, high = min(values), max(values)
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [p + math.log10(m) for p in powers for m in steps]
        inside = [t for t in found if low - 1e-9 <= t <= high + 1e-9]
        if len(inside) >= 2:
            return inside[:: max(1, -(-len(inside) // 6))]
    return [low, high] if high > low else [low]


def _tick_words(marks: Sequence[float], percent: bool) -> list[str]:
    if percent:
        return [
            figure(m, 0 if all(abs(100 * v % 1) < 1e-6 for v in marks) else 1, True) for m in marks
        ]
    return [f"{m:,.10g}" if abs(m) < 1e5 else f"{m:.3g}" for m in (round(m, 10) for m in marks)]


def _series(
    one: Mapping[str, Any],
    style: int,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
) -> Markup:
    out = []
    band = [(a, b) for a, b in zip(one["low"], one["high"], strict=True) if a and b]
    if len(band) > 1:
        round_trip = [a for a, _ in band] + [b for _, b in reversed(band)]
        spots = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in round_trip)
        out.append(Markup('<polygon class="band" points="{}"/>').format(spots))
    points: list[Point | None] = one["points"]
    for run in _runs(points):
        spots = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in run)
        out.append(Markup('<polyline class="curve s{}" points="{}"/>').format(style, spots))
    known = [p for p in points if p]
    if len(known) <= 16:
        for x, y in known:
            dot = '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.6"/>'
            out.append(Markup(dot).format(x_of(x), y_of(y)))
    return Markup("").join(out)


def _runs(points: Sequence[Point | None]) -> list[list[Point]]:
    """Stretches without a hole."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [r for r in runs if len(r) > 1]


def grid(data: Mapping[str, Any], limit: int = 400) -> tuple[Markup, float] | None:
    """A heat map: the more ink, the larger the value; cells without a value stay outlined."""
    rows = [list(r) for r in data.get("values") or []][:64]
    columns = max((len(r) for r in rows), default=0)
    known = [v for r in rows for v in r[:64] if _finite(v)]
    if not columns or not known:
        return None
    low, high = min(known), max(known)
    cell = min(44.0, 230 / max(len(rows), min(columns, 64)))
    out = []
    for i, row in enumerate(rows):
        for j, value in enumerate(row[:64]):
            x, y = 1 + j * cell, 1 + i * cell
            if _finite(value):
                ink = 0.04 + 0.86 * (value - low) / (high - low) if high > low else 0.3
                out.append(_cell(x, y, cell, ink))
            else:
                out.append(line(x, y + cell, x + cell, y, "hole"))
    edge = '<rect class="edge" x="1" y="1" width="{:.1f}" height="{:.1f}"/>'
    out.append(Markup(edge).format(min(columns, 64) * cell, len(rows) * cell))
    if len(known) < sum(len(r[:64]) for r in rows):
        at = 1 + min(columns, 64) * cell + 18
        out.append(line(at, 134, at + 14, 120, "hole"))
        out.append(label(at + 20, 132, "no value", "start", "soft"))
    out.append(
        _key(low, high, 1 + min(columns, 64) * cell + 18, clean(data.get("label") or "", 40))
    )
    return Markup("").join(out), max(len(rows) * cell + 4, 140.0)


def _key(low: float, high: float, x: float, name: str) -> Markup:
    """What the ink of a heat map stands for."""
    percent = is_share(name, low, high)
    places = 1 if percent else decimals(low, high)
    out = []
    for step in range(5):
        value = high - (high - low) * step / 4
        out.append(_cell(x, 2 + 14 * step, 14, 0.04 + 0.86 * (1 - step / 4)))
        if step in (0, 4):
            shown = figure(value, places, percent)
            out.append(label(x + 20, 13 + 14 * step, shown, "start", "soft"))
    edge = '<rect class="edge" x="{:.1f}" y="2" width="14" height="70"/>'
    out.append(Markup(edge).format(x))
    words = name.split()
    for place, start in enumerate(range(0, len(words), 3)):
        out.append(label(x, 90 + 14 * place, " ".join(words[start : start + 3]), "start", "soft"))
    return Markup("").join(out)


def _cell(x: float, y: float, side: float, ink: float) -> Markup:
    return Markup(
        '<rect class="cell" x="{:.1f}" y="{:.1f}" width="{s:.1f}" height="{s:.1f}" '
        'fill-opacity="{:.2f}"/>'
    ).format(x, y, ink, s=side)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
