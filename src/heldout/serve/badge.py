"""A paper's badge: an SVG of our own whose width follows its words."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from heldout.serve.items import STATUSES

_NARROW = "fijlrtI1,.:;|!'() "
_WIDE = "mwMWGOQ%"
_COLOURS = {
    "holds": "#1f6f43", "fails": "#a4342e", "mixed": "#7a5200", "none": "#57606a",
}  # fmt: skip  # white on each of them is read at 5:1 or better
_NAME = "Heldout"


def said(counts: Mapping[str, int]) -> str:
    """Return a paper's verdicts in a few words.

    >>> said({"fails": 2, "holds": 1}), said({"not built": 1})
    ('1 holds, 2 fail', 'not built')
    """
    if "not built" in counts or not counts:
        return "not built"
    names = [*STATUSES, *(name for name in counts if name not in STATUSES)]
    several = {"holds": "hold", "fails": "fail"}
    return ", ".join(
        f"{counts[n]} {several.get(n, n) if counts[n] != 1 else n}" for n in names if counts.get(n)
    )


def width(text: str) -> int:
    """Return about how wide a text is, in pixels, at 11 pixels of a plain sans serif.

    >>> width("will") < width("meow")
    True
    """
    return round(sum(4.0 if c in _NARROW else 9.5 if c in _WIDE else 6.6 for c in text))


def badge(counts: Mapping[str, int]) -> str:
    """Return the badge as SVG.

    Args:
        counts: how many claims have each verdict.
    """
    words = said(counts)
    judged = {name for name in ("holds", "fails", "inconclusive") if counts.get(name)}
    colour = _COLOURS.get("".join(judged) if len(judged) == 1 else "mixed" if judged else "none")
    colour = colour or _COLOURS["mixed"]
    left, right = width(_NAME) + 14, width(words) + 14
    total, label = left + right, escape(f"{_NAME}: {words}", quote=True)
    # `textLength` keeps the words within their half, whatever font there is.
    text = '<text x="{x}" y="14" textLength="{w}" lengthAdjust="spacingAndGlyphs">{t}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" '
        f'viewBox="0 0 {total} 20" role="img" aria-label="{label}"><title>{label}</title>'
        f'<rect width="{total}" height="20" rx="4" fill="{colour}"/>'
        f'<path d="M4 0H{left}V20H4a4 4 0 0 1-4-4V4a4 4 0 0 1 4-4z" fill="#343a40"/>'
        f'<rect x=".5" y=".5" width="{total - 1}" height="19" rx="3.5" fill="none" '
        'stroke="#fff" stroke-opacity=".25"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,Helvetica,Arial,sans-serif" '
        'font-size="11">'
        + text.format(x=7, w=left - 14, t=_NAME)
        + text.format(x=left + 7, w=right - 14, t=escape(words))
        + "</g></svg>\n"
    )


def markdown(image: str, page: str, counts: Mapping[str, int]) -> str:
    """Return what shows the badge in a README.

    >>> markdown("https://a.org/x.svg", "https://a.org/x", {"holds": 1})
    '[![Heldout: 1 holds](https://a.org/x.svg)](https://a.org/x)'
    """
    return f"[![{_NAME}: {said(counts)}]({image})]({page})"
