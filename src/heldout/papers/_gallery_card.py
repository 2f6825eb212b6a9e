"""What the gallery is made of: chapters, parts, figures, and sentences that join papers.

Typed words hold no number and no verdict: a number is `{slug/claim}`, the claim's own, or
`{slug/claim:metric}`, another of the same runs, and is filled in from the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Plot = Callable[[dict[str, dict[str, Any]], Any], Any]


@dataclass(frozen=True)
class Name:
    """A claim of a paper."""

    slug: str
    """The paper."""
    claim: str
    """The claim's id."""

    def __str__(self) -> str:
        return f"{self.slug}/{self.claim}"


def names(slug: str, *claims: str) -> tuple[Name, ...]:
    """Return the names of several claims of one paper.

    >>> [str(n) for n in names("wide_cnn", "order_of_scales")]
    ['wide_cnn/order_of_scales']
    """
    return tuple(Name(slug, c) for c in claims)


@dataclass(frozen=True)
class Figure:
    """A plot of one paper's records."""

    name: str
    """Name of the SVG file."""
    caption: str
    """What is seen, in words without numbers."""
    claims: tuple[Name, ...]
    """Claims that it shows, of one paper; it is drawn once all of them are measured."""
    use: str
    """Public name on the paper's card that does this on a user's model."""
    draw: Plot | None = None
    """Another plot than the recipe's own."""


@dataclass(frozen=True)
class Bridge:
    """How the findings of several claims bear on each other.

    It is said only while every claim has the verdict that it rests on.
    """

    says: str
    """The sentences, with numbers as `{slug/claim}` or `{slug/claim:metric}`."""
    rests_on: tuple[tuple[str, str], ...]
    """Pairs of "slug/claim" and a verdict."""


@dataclass(frozen=True)
class Part:
    """One step of the story, on one paper or several."""

    title: str
    """Heading."""
    says: str
    """The setting and the question, not the answer: that is in the records."""
    claims: tuple[Name, ...]
    """Claims that are told with their numbers."""
    figures: tuple[Figure, ...] = ()
    """Plots below them."""
    also: tuple[Name, ...] = ()
    """Claims that are told by their verdict, with their numbers in the table at the end.

    One that fails or is inconclusive is told like the others, with its numbers.
    """
    rest_of: tuple[str, ...] = ()
    """Papers whose claims that no part names are told here, like `also`."""
    bridges: tuple[Bridge, ...] = ()
    """What joins this part to others."""


@dataclass(frozen=True)
class Chapter:
    """A question, and the parts that answer it."""

    title: str
    """Heading."""
    question: str
    """What is asked."""
    short: Bridge
    """The answer in a few sentences."""
    parts: tuple[Part, ...]
    """In order."""
