"""What a run works on: model, layers, training rows, queries and facts, and what names them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heldout.core.errors import InputError
from heldout.lm.installed_texts import Sequences, versions
from heldout.lm.smollm import load_causal_lm, load_smollm, untrained

from .corpus import training_rows
from .layers import Layer, find_layers
from .options import Options
from .store import VERSION, model_hash
from .texts import (
    Encode,
    Fact,
    encoded_queries,
    null_queries,
    read_facts,
    read_queries,
    text_hash,
    with_facts,
)
from .word_order import shuffled_facts


@dataclass(frozen=True)
class Constructed:
    """Sequences made of the facts."""

    rows: Sequences
    """Where they are, among others or alone."""
    same: list[list[int]]
    """Rows of each fact in its query's order."""
    flipped: list[list[int]]
    """Rows of each fact with the phrases flipped."""


@dataclass
class Setup:
    """What a run works on."""

    model: nn.Module
    """In evaluation mode, on the device."""
    tokenizer: Any
    """Its own."""
    layers: dict[str, Layer]
    """Those that influence is taken over."""
    rows: Sequences
    """Training sequences; the facts' are the last."""
    queries: list[tuple[list[int], list[int]]]
    """Prompts and completions, in tokens."""
    kinds: list[str]
    """Of each query: "query", "fact" or "null"."""
    texts: Sequences
    """Training sequences before any filter and without the facts': what a run keeps."""
    facts: Constructed
    """The facts' sequences in `rows`."""
    shuffled: Constructed
    """The same with their words shuffled, which are scored but not fitted."""
    about: dict[str, Any]
    """What factors and scores are of."""
    dtype: torch.dtype
    """Of directions and products."""

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids, without special tokens."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    @property
    def parameters(self) -> int:
        """Number of the model's weights."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def pad(self) -> int:
        """Token id of padding."""
        return self.tokenizer.pad_token_id or 0


def prepare(options: Options, device: torch.device) -> Setup:
    """Load the model and the texts.

    Raises:
        InputError: unusable model, texts or queries.
        MissingModelError: smollm2 or transformers is not installed.
    """
    dtype = getattr(torch, options.dtype)
    facts, asked = read_facts(options.facts), read_queries(options.queries)
    if not facts and not asked:
        raise InputError("neither queries nor facts", "some", "--queries default")
    model, tokenizer = (
        load_smollm(dtype)
        if options.model == "smollm2"
        else load_causal_lm(Path(options.model), dtype)
    )
    if options.untrained:
        model = untrained(model, options.seed)
    model.to(device)

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    pad = tokenizer.pad_token_id or 0
    texts = training_rows(options, encode, pad)
    rows = texts
    if options.tfidf:
        rows = _filtered(texts, [*asked, *(f.query for f in facts)], tokenizer, options.tfidf)
    rows, same, flipped = with_facts(rows, facts, encode, pad)
    own = encoded_queries(asked, encode)
    of_facts = encoded_queries([f.query for f in facts], encode)
    nulls = null_queries(own, options.nulls, options.seed)
    queries = [*own, *of_facts, *nulls]
    kinds = ["query"] * len(own) + ["fact"] * len(of_facts) + ["null"] * len(nulls)
    named = {"mlp": ["*.mlp.*", "*.feed_forward.*"], "all-linear": ["*"]}
    layers = _layers(model, named.get(options.layers, [options.layers]))
    about = {
        "model": model_hash(model),
        "layers": text_hash({k: [v.n_in, v.n_out] for k, v in layers.items()}),
        "fit": [text_hash(rows.tokens, rows.lengths), options.fit_sequences, options.seed],
        "version": VERSION,
        "queries": text_hash(queries),
        "scoring": [options.rank, options.dtype, options.batch],
        "train": options.train,
        "versions": versions(),
    }
    return Setup(
        model, tokenizer, layers, rows, queries, kinds, texts, Constructed(rows, same, flipped),
        _shuffled(facts, encode, options, pad), about, dtype,
    )  # fmt: skip


def _shuffled(facts: list[Fact], encode: Encode, options: Options, pad: int) -> Constructed:
    # Not among the rows: the curvature is not fitted on them, and runs without them can go on.
    none = Sequences(np.zeros((0, options.length), np.int64), np.zeros(0, np.int64), ())
    # Words in another order can be more tokens; what no longer fits is cut at the end.
    return Constructed(
        *with_facts(
            none, shuffled_facts(facts, options.seed), lambda t: encode(t)[: options.length], pad
        )
    )


def _layers(model: nn.Module, patterns: list[str]) -> dict[str, Layer]:
    # The output layer is left out: its weights are often the embedding's, and n_out is the
    # vocabulary, whose covariance would not fit.
    get: Any = getattr(model, "get_output_embeddings", None)
    head = None if get is None else get()
    every = find_layers(model, shared=True)
    names = [
        name
        for name, layer in every.items()
        if layer.module is not head and any(fnmatchcase(name, p) for p in patterns)
    ]
    if not names:
        raise InputError(
            f"layers {patterns}", f"some of {list(every)[:8]}", "--layers all-linear, or a pattern"
        )
    return find_layers(model, names)


def _filtered(rows: Sequences, queries: list[Any], tokenizer: Any, k: int) -> Sequences:
    from heldout.data.tfidf import tfidf_top

    texts = [tokenizer.decode(t[:n]) for t, n in zip(rows.tokens, rows.lengths, strict=True)]
    keep = np.unique(tfidf_top([q.prompt + q.completion for q in queries], texts, k))
    return Sequences(rows.tokens[keep], rows.lengths[keep], tuple(rows.sources[i] for i in keep))
