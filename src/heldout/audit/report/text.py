"""Numbers and strings of a report, in the words that every rendering shares."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

STATUS_WORDS = {
    "failed": "failed",
    "warning": "warning",
    "passed": "passed",
    "not_applicable": "not applicable",
    "could_not_run": "could not run",
}
"""How a status is written for a reader."""

_SHARES = re.compile(
    r"\b(accuracy|share|rate|error|fraction|proportion|probability|confidence|recall|precision|"
    r"coverage)"
)
_AVERAGE = re.compile(r"average precision")
_CHANGES = re.compile(r"\b(difference|lost|loss|drop|gain|gap|minus)\b")
_MINUS = "\u2212"


def clean(value: Any, limit: int = 2000) -> str:
    r"""Return a string that is safe to show: no control or direction-changing characters.

    Control characters are not allowed in XML and can move a terminal's cursor; direction
    overrides can make a name read as another. Both become U+FFFD, and the string is cut to
    `limit` characters. Escaping is left to the place where the string is put.

    >>> clean("a\x1b[31mb\u202ec")
    'a\ufffd[31mb\ufffdc'
    >>> clean("night" * 3, 6)
    'night…'
    """
    text = str(value)
    if len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if _unsafe(c) else c for c in text)


def _unsafe(char: str) -> bool:
    if char in "\n\t":
        return False
    # Cc control, Cf format (direction overrides; joiners in emoji are harmless but also rare),
    # Cs lone surrogates, which cannot be written as UTF-8, Cn noncharacters.
    category = unicodedata.category(char)
    return category in ("Cc", "Cs", "Cn") or (category == "Cf" and char not in "\u200c\u200d\u00ad")


def quoted(value: Any) -> str:
    r"""Return a double-quoted literal that means the same in Python and in YAML 1.2.

    Lone surrogates stay what they are, which Python allows and YAML does not: `clean` first.

    >>> quoted('say "hi"\n')
    '"say \\"hi\\"\\n"'
    """
    return '"' + "".join(map(_escaped, str(value))) + '"'


def quoted_lines(value: Any, width: int) -> list[str]:
    r"""Return `quoted` in pieces of at most `width` characters; side by side they mean the whole.

    >>> quoted_lines("a\nb", 5)
    ['"a\\n"', '"b"']
    """
    lines, piece = [], ""
    for part in map(_escaped, str(value)):
        if piece and len(piece) + len(part) + 2 > width:
            lines.append(f'"{piece}"')
            piece = ""
        piece += part
    return [*lines, f'"{piece}"']


def _escaped(char: str) -> str:
    named = {"\n": r"\n", "\t": r"\t", '"': r"\"", "\\": r"\\"}
    if char in named:
        return named[char]
    code = ord(char)
    if 32 <= code < 127:
        return char
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def is_share(unit: str, *values: float | None) -> bool:
    """Whether a unit counts a share between 0 and 1, which reads best in per cent.

    >>> is_share("accuracy (0-1)"), is_share("nats"), is_share("average precision (0-1)")
    (True, False, False)
    """
    # Ends of an interval may lie a little outside of what a share can be.
    inside = all(v is None or -2 <= v <= 2 for v in values)
    found = _SHARES.search(unit.lower()) and not _AVERAGE.search(unit.lower())
    return bool(found) and inside and "%" not in unit and "points" not in unit


def decimals(low: float | None, high: float | None, value: float | None = None) -> int:
    """Digits after the point so that the width of an interval has two that count.

    >>> decimals(0.91, 0.95), decimals(120.0, 180.0), decimals(None, None)
    (3, 0, 3)
    """
    width = (high - low) / 2 if low is not None and high is not None else 0.0
    if width <= 0:
        width = abs(value) / 10 if value else 0.0
    if width <= 0 or not math.isfinite(width):
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(width))))


def figure(value: float | None, places: int, percent: bool = False, sign: bool = False) -> str:
    """Write one number.

    >>> figure(0.9312, 3), figure(0.9312, 1, percent=True), figure(None, 1), figure(2, 1, sign=True)
    ('0.931', '93.1%', 'not known', '+2.0')
    """
    if value is None or not math.isfinite(value):
        return "not known"
    scaled = 100 * value if percent else value
    if abs(scaled) >= 1e6 or 0 < abs(scaled) < 10**-6:
        shown = f"{scaled:.3g}"
    else:
        shown = f"{scaled:,.{places}f}"
    if float(shown.replace(",", "")) == 0:
        shown = shown.lstrip("-")
    if sign and scaled > 0:
        shown = "+" + shown
    return shown.replace("-", _MINUS) + ("%" if percent else "")


def number_words(number: Mapping[str, Any]) -> dict[str, str]:
    """Say every field of a number dict in words.

    Returns:
        `value`, `interval`, `n`, `unit`, `worse`, `null`, `guide`, `method`, each a string that
        is never empty except `null`, `guide` and `method`, which may have nothing to say.

    >>> words = number_words({"value": 0.93, "ci_low": 0.9, "ci_high": 0.95, "n": 300,
    ...     "unit": "accuracy (0-1)", "worse": "lower", "null": 0.1, "null_label": "chance"})
    >>> words["value"], words["interval"], words["unit"], words["worse"], words["null"]
    ('93.0%', '90.0% to 95.0%', 'accuracy', 'lower is worse', 'chance 10.0%')
    >>> number_words({"value": 0.31, "unit": "accuracy lost (0-1)"})["unit"]
    'points of accuracy lost'
    """
    unit = clean(number.get("unit") or "no unit", 120)
    value, low, high = (number.get(k) for k in ("value", "ci_low", "ci_high"))
    share = is_share(unit, value, low, high)
    # A difference of two shares is counted in points: 5 % of what would be the question.
    points = share and bool(_CHANGES.search(unit.lower()))
    places = 1 if share or unit.startswith("points") else decimals(low, high, value)
    if share:
        unit = ("points of " if points else "") + unit.replace(" (0-1)", "")

    def put(x: float | None) -> str:
        scaled = 100 * x if points and x is not None else x
        return figure(scaled, places, share and not points)

    known = low is not None and high is not None
    null = number.get("null")
    label = clean(number.get("null_label") or "if nothing were wrong", 120)
    return {
        "value": put(value),
        "interval": f"{put(low)} to {put(high)}" if known else "no interval",
        "level": f"{100 * float(number.get('level') or 0.95):g}%",
        "n": f"{number['n']:,}" if number.get("n") is not None else "not known",
        "unit": unit,
        "worse": f"{clean(number.get('worse', 'higher'), 20)} is worse",
        "null": "" if null is None else f"{label} {put(null)}",
        "guide": clean(number.get("guide") or "", 600),
        "method": clean(number.get("method") or "", 200),
    }


def short(number: Mapping[str, Any] | None) -> str:
    """One number on one line: value, interval, n.

    >>> short({"value": 1.5, "ci_low": 0.5, "ci_high": 2.5, "n": 5, "unit": "points",
    ...        "worse": "lower"})
    '1.5 points (0.5 to 2.5, n = 5)'
    """
    if not number:
        return "not known"
    words = number_words(number)
    unit = "" if words["value"].endswith("%") else f" {words['unit']}"
    return f"{words['value']}{unit} ({words['interval']}, n = {words['n']})"


def gain_words(action: Mapping[str, Any]) -> str:
    """What an action gains, with sign, interval and how it is known.

    >>> gain_words({"gain": None, "gain_kind": "unknown"})
    'gain unknown'
    >>> gain_words({"gain": {"value": 1.8, "ci_low": 0.4, "ci_high": 3.1, "n": 5,
    ...     "unit": "points"}, "gain_kind": "measured"})
    '+1.8 points (0.4 to 3.1, n = 5), measured'
    """
    gain, kind = action.get("gain"), clean(action.get("gain_kind") or "unknown", 20)
    if not gain or gain.get("value") is None:
        return "gain unknown"
    plus = "+" if gain["value"] > 0 else ""
    return f"{plus}{short(gain)}, {kind}"


def seconds_words(seconds: float | None) -> str:
    """A duration for a reader.

    >>> seconds_words(0.02), seconds_words(12.34), seconds_words(600)
    ('under 0.1 s', '12.3 s', '10.0 min')
    """
    if seconds is None:
        return "not known"
    if seconds < 0.1:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
