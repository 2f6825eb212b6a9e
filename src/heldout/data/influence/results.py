"""From scores to what a reader looks at: top sequences, nulls, sparsity, word order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from heldout.core.errors import InputError
from heldout.data.influence_stats import tail_exponent, top_share

from .found import Found
from .order_results import word_order


def results(
    found: Found,
    tokenizer: Any,
    top: int = 10,
    seed: int = 0,
    control: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Summarize scores; everything is plain Python and fits in a JSON file.

    Args:
        found: the scores.
        tokenizer: turns tokens into text.
        top: sequences shown per query and sign.
        seed: of bootstraps.
        control: results of an untrained model on the same texts and facts.

    Raises:
        InputError: a control of other texts or facts.

    Scores are divided by sqrt(g^T (G + lambda)^-1 g) of the query's gradient g, so that queries,
    and nulls among them, have one scale. The corpus is what stands before constructed sequences:
    only these rows count for the null and for sparsity.
    """
    scaled, kinds = found.scaled, np.array(found.kinds)
    corpus = scaled[:, found.corpus]
    limits = _limits(corpus[kinds == "null"])
    shown = np.flatnonzero(kinds != "null")
    rng = np.random.default_rng(seed)
    queries = [_query(found, scaled, int(i), tokenizer, top, limits) for i in shown]
    return {
        "queries": queries,
        "null": limits,
        "null_queries": int((kinds == "null").sum()),
        "sparsity": _sparsity(corpus, kinds, rng),
        "word_order": word_order(found, tokenizer, rng, control),
        "corpus": {
            "sequences": corpus.shape[1],
            "constructed": len(found.rows) - corpus.shape[1],
            "tokens": int(found.rows.lengths[: corpus.shape[1]].sum()),
            "sources": _sources(found.rows.sources[: corpus.shape[1]]),
            "loss_per_token": float(
                found.scores["loss"].sum() / np.maximum(found.rows.lengths - 1, 1).sum()
            ),
        },
        "kept": {"mean": float(found.kept.mean()), "least": float(found.kept.min())},
    }


def _limits(nulls: np.ndarray) -> dict[str, float] | None:
    # How large scores are that mean nothing, and how many sequences of each null query are above
    # the limit that others' are counted against.
    if not nulls.size:
        return None
    sizes = np.abs(nulls).ravel()
    found = {f"{q:g}": float(np.quantile(sizes, q)) for q in (0.5, 0.99, 0.999)}
    found["largest"] = float(sizes.max())
    found["above"] = float((nulls > found["0.999"]).sum(1).mean())
    return found


def _query(
    found: Found, scaled: np.ndarray, i: int, tokenizer: Any, top: int,
    limits: dict[str, float] | None,
) -> dict[str, Any]:  # fmt: skip
    prompt, completion = found.queries[i]
    order = np.argsort(-scaled[i], kind="stable")
    above = None if limits is None else int((scaled[i, found.corpus] > limits["0.999"]).sum())
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
    return {"rows": rows, "summary": summary, "curve": _curve(scaled, kinds)}


def _curve(scaled: np.ndarray, kinds: np.ndarray) -> dict[str, Any]:
    # Share of the positive influence that the first part of the sequences has, for the plot; of
    # normal scores, exp(-z^2 / 2) with z the part's quantile, as a reference without a model.
    n = scaled.shape[1]
    parts = np.geomspace(1 / n, 0.5, 25)
    found: dict[str, Any] = {"parts": parts.tolist()}
    found["normal"] = np.exp(-(norm.isf(parts) ** 2) / 2).tolist()
    for kind in ("query", "fact", "null"):
        gains = np.sort(np.clip(scaled[kinds == kind], 0, None), axis=1)[:, ::-1]
        if not len(gains):
            continue
        shares = gains.cumsum(1) / np.maximum(gains.sum(1, keepdims=True), 1e-300)
        at = shares[:, np.maximum(np.round(parts * n).astype(int), 1) - 1]
        low, middle, high = np.quantile(at, (0.1, 0.5, 0.9), axis=0)
        found[kind] = {"low": low.tolist(), "middle": middle.tolist(), "high": high.tolist()}
    return found


def _sources(sources: Sequence[str]) -> list[list[Any]]:
    # "numpy docstring: fft.py, token 64" and "numpy readme, token 0"
    kinds = Counter(source.rsplit(", token", 1)[0].split(":")[0] for source in sources)
    merged: Counter[str] = Counter()
    for kind, count in kinds.items():
        last = kind.rsplit(" ", 1)[-1]
        merged[f"{last}s of installed packages" if last in ("licence", "readme") else kind] += count
    shown = merged.most_common(12)
    rest = sum(merged.values()) - sum(count for _, count in shown)
    return [[kind, count] for kind, count in shown] + ([["other", rest]] if rest else [])
