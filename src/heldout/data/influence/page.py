"""One HTML file a person can read: queries, their sequences token by token, and what is null."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from heldout.core.files import write_text


def write_page(made: dict[str, Any], path: Path) -> None:
    """Write the page of `results`; it asks nothing of the network."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "template"
    env = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.globals.update(shade=shade, profile=profile, number=number)
    env.globals.update(strongest=strongest, times=times, line=line, band=band)
    write_text(path, env.get_template("page.html").render(**made))


def number(value: float | None) -> str:
    """Return a number with three digits.

    >>> number(0.012345), number(1234.5), number(None)
    ('0.0123', '1234', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def shade(value: float, most: float) -> str:
    """Return a token's CSS class: p or n for the sign, 0 to 9 for |value| / most.

    >>> shade(0.5, 1.0), shade(-1.0, 1.0), shade(0.01, 1.0)
    ('p4', 'n9', '')
    """
    step = min(9, int(9 * abs(value) / most)) if most > 0 else 0
    return f"{'p' if value > 0 else 'n'}{step}" if step else ""


def profile(values: list[float], width: int = 180, height: int = 32) -> list[dict[str, float]]:
    """Return bars of a layer profile: x, y, width and height, with the zero line inside.

    >>> profile([1.0, -1.0], 20, 10)[0]
    {'x': 0.0, 'y': 0.0, 'w': 10.0, 'h': 5.0}
    """
    top, bottom = max(0.0, *values), min(0.0, *values)
    scale = height / (top - bottom) if top > bottom else 0.0
    each = width / max(1, len(values))
    return [
        {
            "x": round(i * each, 2),
            "y": round((top - max(v, 0.0)) * scale, 2),
            "w": round(each, 2),
            "h": round(abs(v) * scale, 2),
        }
        for i, v in enumerate(values)
    ]


def strongest(pieces: list[str], tokens: list[float], count: int = 3) -> list[tuple[str, str]]:
    """Return the tokens of largest size with their values, for readers who see no colours.

    >>> strongest(["a", " b", "c"], [0.5, -2.0, 0.1], 2)
    [('b', '-2'), ('a', '+0.5')]
    """
    order = sorted(range(len(tokens)), key=lambda i: -abs(tokens[i]))[:count]
    return [
        (pieces[i].strip() or repr(pieces[i])[1:-1], f"{tokens[i]:+.3g}")
        for i in order
        if tokens[i]
    ]


def times(gap: float | None) -> str:
    """Return a gap in log rank as a factor of ranks.

    >>> times(0.0), times(3.0), times(None)
    ('1.0', '20', '–')
    """
    if gap is None:
        return "–"
    factor = math.exp(min(gap, 700.0))
    return f"{factor:.1f}" if factor < 10 else f"{factor:.0f}"


PLOT = (48.0, 8.0, 352.0, 168.0)
"""Left, top, right and bottom of the plot's axes, in the units of its drawing."""


def line(parts: list[float], shares: list[float]) -> str:
    """Return points of a line: parts on a logarithmic axis from the first to 1, shares 0 to 1.

    >>> line([0.01, 1.0], [0.0, 1.0])
    '48.0,168.0 352.0,8.0'
    """
    left, top, right, bottom = PLOT
    first = math.log(parts[0])
    return " ".join(
        f"{left + (right - left) * (1 - math.log(p) / first):.1f},{bottom - (bottom - top) * s:.1f}"
        for p, s in zip(parts, shares, strict=True)
    )


def band(parts: list[float], low: list[float], high: list[float]) -> str:
    """Return points of the area between two lines.

    >>> band([0.01, 1.0], [0.0, 0.5], [0.0, 1.0]).split()[-1]
    '48.0,168.0'
    """
    return f"{line(parts, high)} {' '.join(reversed(line(parts, low).split()))}"
