"""Figures: places follow values, text is escaped, odd data neither break nor vanish unseen."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.audit.report.canvas import WIDTH, axis, ticks
from heldout.audit.report.svg import draw

finite = st.floats(-1e6, 1e6, allow_subnormal=False)
maybe = st.one_of(st.none(), finite)
names = st.text(max_size=30)


def chart(kind, **data):
    return {"kind": kind, "title": "A <title> & more", "data": data, "alt": 'What "it" shows'}


def tree(drawn):
    return ET.fromstring(str(drawn))


def circles(root, kind="dot"):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in root if c.get("class") == kind]


def inside(root):
    height = float(root.get("viewBox").split()[3])
    for e in root.iter():
        for key in ("cx", "x1", "x2", "cy", "y1", "y2"):
            if e.get(key) is not None:
                limit = WIDTH if "x" in key else height
                assert -1 <= float(e.get(key)) <= limit + 1, (e.tag, key, e.get(key))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(names, finite, finite, finite, maybe), min_size=1, max_size=8),
       reference=maybe)  # fmt: skip
def test_intervals_are_well_formed_and_ordered(rows, reference):
    data = [
        {"label": n, "value": sorted((a, b, c))[1], "low": min(a, b, c), "high": max(a, b, c),
         "n": 3, "mark": m} for n, a, b, c, m in rows
    ]  # fmt: skip
    root = tree(draw(chart("intervals", rows=data, x_label="x", reference=reference), "f"))
    inside(root)
    dots = circles(root)
    assert len(dots) == len(data)
    for one, place in zip(data, dots, strict=True):
        for other, spot in zip(data, dots, strict=True):
            if one["value"] < other["value"]:
                assert place[0] <= spot[0] + 0.1
    bars = [e for e in root if e.get("class") == "bar"]
    assert all(float(b.get("x1")) <= float(b.get("x2")) for b in bars)


def test_interval_places_are_linear_in_the_value():
    rows = [{"label": "a", "value": v, "low": None, "high": None, "n": 1} for v in (0.0, 0.25, 1.0)]
    (x0, _), (x1, _), (x2, _) = circles(tree(draw(chart("intervals", rows=rows), "f")))
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=0.002)


def test_mark_and_reference_are_named():
    rows = [{"label": "a", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "mark": 0.7}]
    text = str(draw(chart("intervals", rows=rows, x_label="accuracy", reference=0.3,
                          reference_label="chance", mark_label="truth"), "f"))  # fmt: skip
    assert "chance" in text and "truth" in text and ">10<" in text and "%" in text
    without = [{**rows[0], "mark": None}]
    assert "truth" not in str(draw(chart("intervals", rows=without, mark_label="truth"), "f"))


@settings(max_examples=60, deadline=None)
@given(values=st.lists(finite, min_size=1, max_size=8))
def test_bars_start_at_zero_and_have_lengths_in_proportion(values):
    rows = [{"label": str(i), "value": v} for i, v in enumerate(values)]
    root = tree(draw(chart("bars", rows=rows, x_label="cost"), "f"))
    inside(root)
    boxes = [e for e in root if e.get("class") == "fill"]
    assert len(boxes) == len(values)
    widest = max(map(abs, values))
    longest = max(float(b.get("width")) for b in boxes)
    for value, box in zip(values, boxes, strict=True):
        if widest > 0 and longest > 5:
            assert float(box.get("width")) == pytest.approx(longest * abs(value) / widest, abs=0.8)


@settings(max_examples=60, deadline=None)
@given(points=st.lists(st.tuples(maybe, maybe, maybe, maybe), min_size=1, max_size=12),
       log_x=st.booleans(), diagonal=st.booleans())  # fmt: skip
def test_lines_survive_holes_and_logs(points, log_x, diagonal):
    xs, ys, lows, highs = (list(c) for c in zip(*points, strict=True))
    series = [{"name": "a", "x": xs, "y": ys, "low": lows, "high": highs},
              {"name": "b", "x": xs, "y": ys, "low": None, "high": None}]  # fmt: skip
    drawn = draw(chart("lines", series=series, log_x=log_x, diagonal=diagonal and not log_x), "f")
    shown = [(x, y) for x, y, *_ in points if x is not None and y is not None]
    if log_x:
        shown = [(x, y) for x, y in shown if x > 0]
    assert bool(drawn) == bool(shown)
    if drawn:
        root = tree(drawn)
        inside(root)
        assert len(circles(root)) == 2 * len(shown)


def test_lines_are_told_apart_without_colour():
    series = [{"name": n, "x": [1, 2], "y": [1, i], "low": None, "high": None}
              for i, n in enumerate("abcd")]  # fmt: skip
    text = str(draw(chart("lines", series=series), "f"))
    assert {f"curve s{i}" for i in range(4)} == set(re.findall(r"curve s\d", text))


def test_long_curves_are_thinned_and_keep_their_ends():
    xs = list(range(5000))
    one = {"name": "a", "x": xs, "y": xs, "low": None, "high": None}
    root = tree(draw(chart("lines", series=[one]), "f", limit=100))
    (curve,) = [e for e in root if e.get("class") == "curve s0"]
    spots = [tuple(map(float, p.split(","))) for p in curve.get("points").split()]
    assert 90 <= len(spots) <= 102
    full = tree(draw(chart("lines", series=[one]), "f", limit=10_000))
    (whole,) = [e for e in full if e.get("class") == "curve s0"]
    ends = [tuple(map(float, p.split(","))) for p in whole.get("points").split()]
    assert spots[0] == ends[0] and spots[-1] == ends[-1]


def test_grid_ink_follows_the_value_and_holes_stay_empty():
    values = [[0.0, 0.5], [1.0, None]]
    root = tree(draw(chart("grid", values=values, label="loss"), "f"))
    ink = [float(e.get("fill-opacity")) for e in root if e.get("class") == "cell"]
    assert ink[0] < ink[1] < ink[2] and len(ink) == 3 + 5
    assert ink[1] - ink[0] == pytest.approx(ink[2] - ink[1], abs=0.011)
    assert "no value" in "".join(root.itertext())
    full = tree(draw(chart("grid", values=[[1, 2]], label="loss"), "f"))
    assert "no value" not in "".join(full.itertext())


@pytest.mark.parametrize(
    "empty",
    [
        chart("intervals", rows=[]),
        chart("intervals", rows=[{"label": "a", "value": None}]),
        chart("bars", rows=[{"label": "a", "value": None}]),
        chart("lines", series=[]),
        chart("grid", values=[]),
        chart("grid", values=[[None]]),
        chart("thumbnails", items=[]),
        {"kind": "unheard of", "data": None},
    ],
)
def test_nothing_to_draw_is_nothing(empty):
    assert draw(empty, "f") == ""


def test_title_description_and_labels_are_escaped():
    rows = [{"label": "<g onload='x'>&\"\x00", "value": 1.0, "low": 0, "high": 2, "n": 1}]
    root = tree(draw(chart("intervals", rows=rows, x_label="</svg><script>"), "k"))
    plain = "{http://www.w3.org/2000/svg}" if root.tag.startswith("{") else ""
    assert root.find(f"{plain}title").text == "A <title> & more"
    assert root.find(f"{plain}desc").text == 'What "it" shows'
    assert {e.tag for e in root.iter()} <= {"svg", "title", "desc", "text", "line", "circle"}
    assert any("<g onload" in (e.text or "") for e in root)


@given(low=finite, span=st.floats(1e-3, 1e6), count=st.integers(2, 8))
def test_ticks_are_round_evenly_spaced_and_inside(low, span, count):
    high = low + span
    marks = ticks(low, high, count)
    tolerance = 1e-6 * max(1.0, abs(low), span)
    assert all(low - tolerance <= m <= high + tolerance for m in marks)
    steps = {round(b - a, 9) for a, b in zip(marks, marks[1:], strict=False)}
    assert max(steps, default=0) - min(steps, default=0) <= 1e-6 * span
    if len(marks) > 1:
        step = marks[1] - marks[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


@given(st.lists(finite, min_size=1, max_size=9))
def test_axis_holds_every_value(values):
    marks = axis(values)
    tolerance = 1e-6 * max(1.0, *map(abs, values))
    assert marks[0] - tolerance <= min(values) and max(values) <= marks[-1] + tolerance
    assert len(marks) <= 12


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_axis_of_shares_ends_at_zero_and_one(values):
    marks = axis(values, percent=True)
    if max(values) - min(values) > 1e-3:
        assert marks[0] >= 0 and marks[-1] <= 1 + 1e-9
