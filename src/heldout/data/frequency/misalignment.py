"""Pairs whose caption and image have no concept in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.statistics import proportion


@dataclass(frozen=True)
class Misalignment:
    """What `misalignment` found."""

    share: Interval
    """Share of all pairs without a common concept, 0 to 1."""
    share_where_both: Interval
    """The same among pairs in which both sides name a concept at all."""
    in_both: dict[Any, int]
    """For each concept, in how many pairs caption and image both have it: the paper's count."""


def misalignment(
    captions: Sequence[Collection[Any]], images: Sequence[Collection[Any]]
) -> Misalignment:
    """Return how often captions and images of pairs have no concept in common.

    Args:
        captions: for each pair the concepts that its caption names, as of `caption_concepts`.
        images: for each pair the concepts seen in its image, as of an image tagger.

    Cost: one pass.

    Raises:
        InputError: no pairs, lists of different lengths, or a string in place of concepts.

    Udandarao et al. 2024, arXiv:2404.04125, section 5. Their files call the value a percentage;
    it is a fraction.

    >>> found = misalignment([{"dog"}, {"cat"}, set()], [{"dog", "cat"}, {"dog"}, {"dog"}])
    >>> round(found.share.value, 3), found.share_where_both.value, found.in_both
    (0.667, 0.5, {'dog': 1})
    """
    if len(captions) != len(images) or not len(captions):
        raise InputError(
            f"{len(captions)} captions, {len(images)} images", "as many of each, at least one",
            "concepts of each pair in one order",
        )  # fmt: skip
    apart = both = apart_of_both = 0
    common: dict[Any, int] = {}
    for said, seen in zip(captions, images, strict=True):
        if isinstance(said, str) or isinstance(seen, str):
            raise InputError("a string for a pair's concepts", "a set of concepts", '{"dog"}')
        shared = set(said) & set(seen)
        named = bool(said) and bool(seen)
        apart, both = apart + (not shared), both + named
        apart_of_both += named and not shared
        for concept in shared:
            common[concept] = common.get(concept, 0) + 1
    return Misalignment(proportion(apart, len(captions)), proportion(apart_of_both, both), common)
