"""The word-order test as a reader sees it: this model, an untrained one, and the difference."""

from __future__ import annotations

from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.data.influence_stats import order_effect

from .found import Found
from .texts import text_hash
from .word_order import FactScores, against, fact_contrasts, shared_pairs, summary


def word_order(
    found: Found, tokenizer: Any, rng: np.random.Generator, control: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return ranks in order and flipped, the contrasts, and what a control shows; None: no facts.

    Raises:
        InputError: a control of other texts or facts, or without facts to compare.
    """
    same, flipped = found.facts.same, found.facts.flipped
    if len(same) < 2:
        if control is not None:
            raise InputError("--control without facts to compare", "two or more", "--facts default")
        return None
    queries = np.flatnonzero(np.array(found.kinds) == "fact")
    made = order_effect(found.scaled[queries], same, flipped, rng)
    each = []
    for f, i in enumerate(queries):
        completion = tokenizer.decode(found.queries[i][1])
        each.append({"completion": completion, **fact_contrasts(_fact(found, f, int(i)))})
    texts = text_hash(found.rows.tokens, found.rows.lengths, [found.queries[i] for i in queries])
    order = {
        "same": made.same,
        "flipped": made.flipped,
        "chance": made.chance,
        "wins": made.wins.value,
        "wins_low": made.wins.low,
        "wins_high": made.wins.high,
        "facts": made.wins.n,
        "p": made.p,
        "n": made.n,
        "texts": texts,
        "each": each,
        **summary(each, rng),
    }
    return order | {"control": None if control is None else _compared(order, control, rng)}


def _fact(found: Found, f: int, i: int) -> FactScores:
    own, corpus = found.scaled[i], found.corpus
    same, flipped = found.facts.same[f], found.facts.flipped[f]
    tokens = found.scores["tokens"][i] / found.size[i]
    kept = np.where(shared_pairs(found.rows.tokens, found.queries[i]), 0.0, tokens).sum(1)
    pairs = (kept[corpus], kept[same], kept[flipped])
    if found.shuffled is None or found.shuffled_scores is None:
        return FactScores(own[corpus], own[same], own[flipped], pairs)
    other = found.shuffled_scores["tokens"][i].sum(1) / found.size[i]
    return FactScores(
        own[corpus], own[same], own[flipped], pairs,
        other[found.shuffled.same[f]], other[found.shuffled.flipped[f]],
    )  # fmt: skip


def _compared(
    order: dict[str, Any], control: dict[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    theirs, settings = control["word_order"], control["settings"]
    if theirs["texts"] != order["texts"]:
        raise InputError(
            "a control of other sequences or facts",
            "the same texts, facts, --length and --sequences, and the same tokenizer",
            "give the control's command the options of this one",
        )
    return {
        "model": settings["model"],
        "untrained": bool(settings.get("untrained")),
        "order": {k: v for k, v in theirs.items() if k not in ("each", "control", "texts")},
        "difference": against(order["each"], theirs["each"], rng),
    }
