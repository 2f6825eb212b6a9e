"""What a finished run has found: scores, and what they are of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heldout.lm.installed_texts import Sequences

from .setup import Constructed


@dataclass(frozen=True)
class Found:
    """Scores of queries against rows, and what they are of."""

    scores: dict[str, np.ndarray]
    """As `blocks.read_scores` returns."""
    size: np.ndarray
    """(q,) each query's natural unit."""
    kept: np.ndarray
    """(q,) share of the squared preconditioned gradient that the rank keeps."""
    measure: np.ndarray
    """(q,) log p(completion | prompt)."""
    queries: list[tuple[list[int], list[int]]]
    """q prompts and completions, in tokens."""
    kinds: list[str]
    """(q,) "query", "fact" or "null"."""
    facts: Constructed
    """n training sequences; the facts' are the last."""
    shuffled: Constructed | None = None
    """The facts' sequences with their words shuffled."""
    shuffled_scores: dict[str, np.ndarray] | None = None
    """Scores of these, as `scores`."""

    @property
    def rows(self) -> Sequences:
        """The n training sequences."""
        return self.facts.rows

    @cached_property
    def scaled(self) -> np.ndarray:
        """(q, n) scores of rows, divided by each query's unit."""
        return self.scores["tokens"].sum(2) / self.size[:, None]

    @property
    def corpus(self) -> slice:
        """Rows that are not made of facts."""
        made = sum(len(part) for part in (*self.facts.same, *self.facts.flipped))
        return slice(0, len(self.rows) - made)
