"""Words and pixels that every rendering shares."""

import ast
import io
import unicodedata

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from heldout.audit.report.png import data_uri, png
from heldout.audit.report.text import (
    clean,
    decimals,
    figure,
    is_share,
    number_words,
    quoted,
    quoted_lines,
)

anything = st.text(st.characters(codec=None), max_size=80)  # surrogates and controls included
writable = st.text(max_size=80)


@given(anything)
def test_clean_text_can_be_written_and_moves_nothing(text):
    shown = clean(text)
    shown.encode("utf-8")
    assert len(shown) == len(text)
    for char in shown:
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
        assert unicodedata.bidirectional(char) not in ("RLO", "LRO", "RLE", "LRE", "RLI", "LRI")
    assert clean(shown) == shown


@given(anything, st.integers(1, 50))
def test_clean_keeps_to_its_limit(text, limit):
    assert len(clean(text, limit)) <= limit


@given(writable)
def test_quoted_means_the_same_in_python_and_yaml(text):
    assert ast.literal_eval(quoted(text)) == text
    assert yaml.safe_load(quoted(text)) == text
    assert quoted(text).isascii() and quoted(text).isprintable()


@given(writable, st.integers(14, 60))
def test_pieces_mean_the_whole_and_keep_to_the_width(text, width):
    pieces = quoted_lines(text, width)
    assert ast.literal_eval("(" + "\n".join(pieces) + ")") == text
    assert all(len(p) <= width for p in pieces)


@given(st.floats(-1e5, 1e5), st.floats(1e-4, 1e4))
def test_an_interval_keeps_two_digits_that_count(middle, half):
    places = decimals(middle - half, middle + half)
    assert 0 <= places <= 6
    if 1e-3 < half < 9:
        assert half * 10**places * 1.0001 >= 10 and half * 10**places < 101


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("accuracy (0-1)", True),
        ("share of examples (0-1)", True),
        ("points", False),
        ("points of accuracy", False),
        ("average precision (0-1)", False),
        ("nats", False),
    ],
)
def test_shares_are_known_by_their_unit(unit, expected):
    assert is_share(unit, 0.5) is expected
    assert not is_share(unit, 50.0)


def test_a_difference_of_shares_is_counted_in_points():
    lost = {"value": 0.31, "ci_low": 0.27, "ci_high": 0.35, "n": 9, "worse": "higher"}
    words = number_words({**lost, "unit": "accuracy lost (0-1)", "null": 0.02, "null_label": "x"})
    assert words["value"] == "31.0" and words["unit"] == "points of accuracy lost"
    assert words["interval"] == "27.0 to 35.0" and words["null"] == "x 2.0"
    assert number_words({**lost, "unit": "accuracy (0-1)"})["value"] == "31.0%"


def test_numbers_that_are_not_known():
    words = number_words({"value": None, "ci_low": None, "ci_high": None, "n": 0, "unit": ""})
    assert (words["value"], words["interval"], words["n"]) == ("not known", "no interval", "0")
    assert figure(float("nan"), 2) == "not known"
    assert figure(-0.0001, 1) == "0.0"
    assert figure(-2.5, 1) == "\u22122.5"


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 32), st.integers(1, 32)))
    | arrays(np.uint8, st.tuples(st.integers(1, 32), st.integers(1, 32), st.just(3)))
)
def test_png_decodes_to_the_same_pixels(pixels):
    decoded = np.asarray(Image.open(io.BytesIO(png(pixels.tolist()))))
    assert np.array_equal(decoded, pixels)


def test_png_thins_clips_and_refuses():
    large = np.arange(64 * 48).reshape(64, 48) % 256
    decoded = np.asarray(Image.open(io.BytesIO(png(large, side=16))))
    assert np.array_equal(decoded, large[::4, ::4])
    one = np.asarray(Image.open(io.BytesIO(png([[[300.0], [-5.0]]]))))
    assert one.tolist() == [[255, 0]]
    for wrong in (None, [], [[]], "image", [[["a"]]], np.zeros((2, 2, 4)), 3, [[None, "x"]]):
        assert png(wrong) is None and data_uri(wrong) == ""
