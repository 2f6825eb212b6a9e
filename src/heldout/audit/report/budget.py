"""How much of a report its page shows, so that it stays small enough to send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How much of a report the page shows; the JSON holds the rest."""

    examples: int = 12
    """Examples of each check."""
    side: int = 32
    """Pixels of a thumbnail's longer side; 0 for none."""
    rows: int = 40
    """Rows of a table, numbers of a check, thumbnails of a figure."""
    points: int = 400
    """Points of a curve, rows of a figure; 0 for no figures."""
    text: int = 2000
    """Characters of a string."""


BUDGETS = (
    Budget(),
    Budget(examples=8, side=24, rows=30, points=200, text=800),
    Budget(examples=6, side=16, rows=20, points=60, text=400),
    Budget(examples=3, side=0, rows=10, points=0, text=160),
    Budget(examples=1, side=0, rows=5, points=0, text=60),
)
"""Tried in turn until the page is small enough."""
