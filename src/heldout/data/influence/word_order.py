"""Is the effect of word order learned? What an untrained model shows, and what shuffling leaves.

Influence is larger where a sequence tells a fact in the query's order than where its phrases are
flipped (Grosse et al. 2023, arXiv:2308.03296, section 5.3.4). By itself that is no evidence of
learning: in a causal model with random weights, too, gradients agree where the same token follows
the same token, and where much the same tokens stand before. So three contrasts stand beside the
plain one, each as a gap in mean log rank, one number per fact (positive: the first is weaker):

    order              flipped against in order
    order_pairs        the same, positions left out at which a row has a pair of neighbouring
                       tokens that the query's completion has too, in all rows
    same_shuffled      the words of the sequences in order, shuffled, against these sequences
    flipped_shuffled   the flipped ones against their own words shuffled

and each is compared with that of an untrained model, fact by fact. Ranks are among the sequences
of the corpus: one more than how many of them score higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.core.interval import Interval
from heldout.core.statistics import bootstrap, mean

from .texts import Fact

CONTRASTS = ("order", "order_pairs", "same_shuffled", "flipped_shuffled")


def shuffled_facts(facts: Sequence[Fact], seed: int, each: int = 2) -> list[Fact]:
    """Return the facts with the words of every sequence in random order, `each` times.

    The words of the completion stay together, so that what is shuffled is where it stands and
    what stands around it.

    >>> from heldout.data.influence.texts import Query
    >>> fact = Fact(Query("a b", " c d"), ("a b c d.",), ("c d a",))
    >>> shuffled_facts([fact], 0, 1)[0].same
    ('b c d. a',)
    """
    rng = np.random.default_rng([seed, 17])

    def shuffled(text: str, completion: str) -> str:
        kept = completion.strip()
        words = text.replace(kept, kept.replace(" ", "\0")).split(" ")
        order = rng.permutation(len(words))
        return " ".join(words[i] for i in order).replace("\0", " ")

    def every(texts: tuple[str, ...], completion: str) -> tuple[str, ...]:
        return tuple(shuffled(text, completion) for text in texts for _ in range(each))

    def whole(fact: Fact) -> Fact:
        completion = fact.query.completion
        return replace(
            fact, same=every(fact.same, completion), flipped=every(fact.flipped, completion)
        )

    return [whole(fact) for fact in facts]


def shared_pairs(tokens: np.ndarray, query: tuple[list[int], list[int]]) -> np.ndarray:
    """Return where rows have a pair of tokens that ends in the query's completion, (n, T).

    True at the first token of the pair: where the score of predicting the second stands.

    >>> shared_pairs(np.array([[1, 2, 3, 2]]), ([1], [2, 9]))
    array([[ True, False, False, False]])
    """
    prompt, completion = query
    ids = [*prompt, *completion]
    pairs = {(ids[i], ids[i + 1]) for i in range(len(prompt) - 1, len(ids) - 1)}
    found = np.zeros(tokens.shape, dtype=bool)
    for first, second in pairs:
        found[:, :-1] |= (tokens[:, :-1] == first) & (tokens[:, 1:] == second)
    return found


@dataclass(frozen=True)
class FactScores:
    """Scores of one fact's query, positions added up."""

    corpus: np.ndarray
    """(m,) of the corpus."""
    same: np.ndarray
    """Of the sequences in order."""
    flipped: np.ndarray
    """Of those with the phrases flipped."""
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
    """The three again, without positions of shared pairs."""
    same_shuffled: np.ndarray | None = None
    """Of the words of `same`, shuffled."""
    flipped_shuffled: np.ndarray | None = None
    """Of the words of `flipped`, shuffled."""


def fact_contrasts(fact: FactScores) -> dict[str, float | None]:
    """Return mean influence in order and flipped, and the four gaps in mean log rank.

    >>> s = FactScores(np.zeros(9), np.ones(1), -np.ones(1), (np.zeros(9), np.ones(1), np.ones(1)))
    >>> {k: v if v is None else round(v, 2) for k, v in fact_contrasts(s).items()}["order"]
    2.3
    """

    def depth(scores: np.ndarray, among: np.ndarray) -> float:
        above = (among[None, :] > np.asarray(scores)[:, None]).sum(1)
        return float(np.log(1.0 + above).mean())

    same, flipped = depth(fact.same, fact.corpus), depth(fact.flipped, fact.corpus)
    corpus, paired_same, paired_flipped = fact.pairs
    found: dict[str, float | None] = {
        "same": float(fact.same.mean()),
        "flipped": float(fact.flipped.mean()),
        "order": flipped - same,
        "order_pairs": depth(paired_flipped, corpus) - depth(paired_same, corpus),
        "same_shuffled": None,
        "flipped_shuffled": None,
    }
    if fact.same_shuffled is not None:
        found["same_shuffled"] = depth(fact.same_shuffled, fact.corpus) - same
    if fact.flipped_shuffled is not None:
        found["flipped_shuffled"] = flipped - depth(fact.flipped_shuffled, fact.corpus)
    return found


def summary(each: Sequence[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Return each contrast over facts, and the strength: influence flipped over in order.

    Contrasts: mean over facts with Student's interval, and p, one-sided, signs of facts flipped.
    Strength: sum over facts of the flipped mean influence over that in order, with a bootstrap
    interval over facts; 1 where order does not matter, 0 where flipped ones have no influence.
    """
    found: dict[str, Any] = {}
    for key in CONTRASTS:
        gaps = [fact[key] for fact in each]
        if None not in gaps:
            found[key] = contrast(np.array(gaps, dtype=float))
    same, flipped = _strengths(each)
    found["strength"] = _plain(
        bootstrap(lambda rows: _ratio(same, flipped, rows), len(same), rng), None
    )
    return found


def against(
    each: Sequence[dict[str, Any]], control: Sequence[dict[str, Any]], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the contrasts of one model less those of another, paired by fact.

    Raises:
        InputError: they are not of the same facts.

    >>> rest = {"order_pairs": 1.0, "same_shuffled": None, "flipped_shuffled": None}
    >>> a = [{"completion": str(i), "same": 2.0, "flipped": 1.0, "order": 3.0 + i} | rest
    ...      for i in range(3)]
    >>> b = [{**fact, "order": fact["order"] - 2.0} for fact in a]
    >>> against(a, b, np.random.default_rng(0))["order"]["value"]
    2.0
    """
    if [f["completion"] for f in each] != [f["completion"] for f in control]:
        raise InputError(
            "a control of other facts", "the same facts in the same order", "the same --facts"
        )
    found: dict[str, Any] = {}
    for key in CONTRASTS:
        gaps = [(a[key], b[key]) for a, b in zip(each, control, strict=True)]
        if all(None not in pair for pair in gaps):
            found[key] = contrast(np.array([a - b for a, b in gaps]))
    own, other = _strengths(each), _strengths(control)
    found["strength"] = _plain(
        bootstrap(lambda rows: _ratio(*own, rows) - _ratio(*other, rows), len(own[0]), rng), None
    )
    return found


def contrast(gaps: np.ndarray, draws: int = 20_000) -> dict[str, Any]:
    """Return the mean of facts' gaps, its interval, and the p-value of flipped signs.

    All sign patterns up to 12 facts, `draws` random ones beyond; one-sided: large gaps are few.

    >>> found = contrast(np.array([1.0, 1.0, 1.0]))
    >>> found["value"], found["p"]
    (1.0, 0.125)
    """
    if len(gaps) <= 12:
        signs = np.array(list(product((1.0, -1.0), repeat=len(gaps))))
        extra = 0
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (draws, len(gaps)))
        extra = 1
    above = int(((signs * gaps).mean(1) >= gaps.mean() - 1e-12).sum())
    return _plain(mean(gaps), (extra + above) / (extra + len(signs)))


def _strengths(each: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([f["same"] for f in each]), np.array([f["flipped"] for f in each])


def _ratio(same: np.ndarray, flipped: np.ndarray, rows: np.ndarray) -> float:
    total = float(same[rows].sum())
    return float(flipped[rows].sum()) / total if total > 0 else float("nan")


def _plain(found: Interval, p: float | None) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "p": p}
