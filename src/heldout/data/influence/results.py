"""From scores to what a reader looks at: top sequences, nulls, sparsity, word order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heldout.core.errors import InputError
from heldout.data.influence_stats import order_effect, tail_exponent, top_share
from heldout.lm.installed_texts import Sequences


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
    rows: Sequences
    """n training sequences; the constructed ones are the last."""
    queries: list[tuple[list[int], list[int]]]
    """q prompts and completions, in tokens."""
    kinds: list[str]
    """(q,) "query", "fact" or "null"."""
    same: list[list[int]]
    """Rows of each fact in its query's order."""
    flipped: list[list[int]]
    """Rows of each fact with the phrases flipped."""


def results(found: Found, tokenizer: Any, top: int = 10, seed: int = 0) -> dict[str, Any]:
    """Summarize scores; everything is plain Python and fits in a JSON file.

    Scores are divided by sqrt(g^T (G + lambda)^-1 g) of the query's gradient g, so that queries,
    and nulls among them, have one scale. The corpus is what stands before constructed sequences:
    only these rows count for the null and for sparsity.
    """
    scaled = found.scores["tokens"].sum(2) / found.size[:, None]
    constructed = sum(len(part) for part in (*found.same, *found.flipped))
    corpus = scaled[:, : scaled.shape[1] - constructed]
    kinds = np.array(found.kinds)
    nulls = np.abs(corpus[kinds == "null"]).ravel()
    limits = None
    if len(nulls):
        limits = {f"{q:g}": float(np.quantile(nulls, q)) for q in (0.5, 0.99, 0.999)}
        limits["largest"] = float(nulls.max())
    shown = np.flatnonzero(kinds != "null")
    rng = np.random.default_rng(seed)
    queries = [_query(found, scaled, int(i), tokenizer, top, limits) for i in shown]
    return {
        "queries": queries,
        "null": limits,
        "null_queries": int((kinds == "null").sum()),
        "sparsity": _sparsity(corpus, kinds, rng),
        "word_order": _word_order(found, scaled, kinds, rng),
        "corpus": {
            "sequences": corpus.shape[1],
            "constructed": constructed,
            "tokens": int(found.rows.lengths[: corpus.shape[1]].sum()),
            "sources": _sources(found.rows.sources[: corpus.shape[1]]),
            "loss_per_token": float(
                found.scores["loss"].sum() / np.maximum(found.rows.lengths - 1, 1).sum()
            ),
        },
        "kept": {"mean": float(found.kept.mean()), "least": float(found.kept.min())},
    }


def _query(
    found: Found, scaled: np.ndarray, i: int, tokenizer: Any, top: int,
    limits: dict[str, float] | None,
) -> dict[str, Any]:  # fmt: skip
    prompt, completion = found.queries[i]
    order = np.argsort(-scaled[i], kind="stable")
    above = None if limits is None else int((scaled[i] > limits["0.999"]).sum())
    profile = found.scores["layers"][i, order[:top]].sum(0) / found.size[i]
    return {
        "kind": found.kinds[i],
        "prompt": tokenizer.decode(prompt),
        "completion": tokenizer.decode(completion),
        "log_p": float(found.measure[i]),
        "tokens": len(completion),
        "above_null": above,
        "layers": profile.tolist(),
        "positive": [_row(found, scaled, i, int(j), tokenizer) for j in order[:top]],
        "negative": [_row(found, scaled, i, int(j), tokenizer) for j in order[::-1][:top]],
    }


def _row(found: Found, scaled: np.ndarray, i: int, j: int, tokenizer: Any) -> dict[str, Any]:
    n = int(found.rows.lengths[j])
    return {
        "score": float(scaled[i, j]),
        "source": found.rows.sources[j],
        "loss": float(found.scores["loss"][j]),
        "pieces": _pieces(tokenizer, found.rows.tokens[j, :n].tolist()),
        "tokens": (found.scores["tokens"][i, j, :n] / found.size[i]).tolist(),
        "layers": (found.scores["layers"][i, j] / found.size[i]).tolist(),
    }


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    # A character can be spread over tokens: it is shown with the token that completes it.
    found, before = [], ""
    for k in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:k], clean_up_tokenization_spaces=False)
        whole = text.rstrip("\N{REPLACEMENT CHARACTER}") if k < len(ids) else text
        found.append(whole[len(before) :])
        before = whole if len(whole) > len(before) else before
    return found


def _sparsity(scaled: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> Any:
    rows = []
    for i in np.flatnonzero(kinds != "fact"):
        try:
            tail = tail_exponent(scaled[i], rng, draws=50)
        except InputError:
            continue
        share = top_share(scaled[i], rng, draws=200)
        rows.append(
            {
                "query": int(i),
                "kind": str(kinds[i]),
                "alpha": tail.alpha.value,
                "alpha_low": tail.alpha.low,
                "alpha_high": tail.alpha.high,
                "n": tail.n,
                "distance": tail.distance,
                "share": share.value,
                "share_low": share.low,
                "share_high": share.high,
            }
        )
    summary = {}
    for kind in ("query", "null"):
        own = [row for row in rows if row["kind"] == kind]
        for name in ("alpha", "share") if own else ():
            values = [float(row[name]) for row in own]  # type: ignore[arg-type]
            summary[f"{kind}_{name}"] = [
                min(values), float(np.median(values)), max(values), len(values),
            ]  # fmt: skip
    return {"rows": rows, "summary": summary}


def _word_order(
    found: Found, scaled: np.ndarray, kinds: np.ndarray, rng: np.random.Generator
) -> Any:
    if len(found.same) < 2:
        return None
    made = order_effect(scaled[kinds == "fact"], found.same, found.flipped, rng)
    return {
        "same": made.same,
        "flipped": made.flipped,
        "chance": made.chance,
        "wins": made.wins.value,
        "wins_low": made.wins.low,
        "wins_high": made.wins.high,
        "facts": made.wins.n,
        "p": made.p,
        "n": made.n,
    }


def _sources(sources: Sequence[str]) -> list[list[Any]]:
    kinds = Counter(source.split(":")[0] if ":" in source else "other" for source in sources)
    merged: Counter[str] = Counter()
    for kind, count in kinds.items():
        last = kind.rsplit(" ", 1)[-1]
        merged[f"{last}s of installed packages" if last in ("licence", "readme") else kind] += count
    return [[kind, count] for kind, count in merged.most_common(12)]
