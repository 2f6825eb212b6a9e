"""Training texts, queries and facts from files, as rows of tokens and batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heldout.core.errors import InputError
from heldout.lm.installed_texts import Document, Sequences, installed_documents

from .batches import Batch

Encode = Callable[[str], list[int]]
LISTS = ("same", "flipped")
OWN = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Query:
    """Influence is on log p(completion | prompt)."""

    prompt: str
    """What is given."""
    completion: str
    """What is predicted, with its leading space."""


@dataclass(frozen=True)
class Fact:
    """A query, and sequences that tell the same with its phrases in order or flipped."""

    query: Query
    """Prompt and completion."""
    same: tuple[str, ...]
    """Paraphrases in which what is like the prompt comes first."""
    flipped: tuple[str, ...]
    """Those in which what is like the completion comes first."""


def read_documents(source: str) -> Iterator[Document]:
    """Yield documents of `installed`, a JSONL file with "text", or a folder of .txt files.

    Raises:
        InputError: nothing there, or a line without text; its number is named.
    """
    if source == "installed":
        yield from installed_documents()
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(path.rglob("*.txt"))
        if not files:
            raise InputError(f"folder '{path}' without .txt files", "texts", "--train installed")
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace")
            yield Document(file.relative_to(path).as_posix(), text)
        return
    for number, row in _rows(path, ("text",)):
        yield Document(str(row.get("source", f"{path.name} line {number}")), row["text"])


def read_queries(source: str) -> list[Query]:
    """Read {"prompt", "completion"} lines; "default": 24 on Python, licences and libraries.

    Raises:
        InputError: no such file, or a line that is not such an object; its number is named.

    >>> len(read_queries("default")), read_queries("none")
    (24, [])
    """
    if source == "none":
        return []
    path = OWN / "queries.jsonl" if source == "default" else Path(source)
    return [Query(r["prompt"], r["completion"]) for _, r in _rows(path, ("prompt", "completion"))]


def read_facts(source: str) -> list[Fact]:
    """Read facts with "same" and "flipped" lists; "default": twelve, "none": no facts.

    Raises:
        InputError: as `read_queries`.

    >>> len(read_facts("default")), read_facts("none")
    (12, [])
    """
    if source == "none":
        return []
    path = OWN / "word_order.jsonl" if source == "default" else Path(source)
    needed = ("prompt", "completion", "same", "flipped")
    return [
        Fact(Query(r["prompt"], r["completion"]), tuple(r["same"]), tuple(r["flipped"]))
        for _, r in _rows(path, needed)
    ]


def with_facts(
    rows: Sequences, facts: Sequence[Fact], encode: Encode, pad: int
) -> tuple[Sequences, list[list[int]], list[list[int]]]:
    """Append the facts' constructed sequences; return the rows, and each fact's two kinds of them.

    Raises:
        InputError: a constructed sequence longer than the rows.
    """
    width = rows.tokens.shape[1]
    texts: list[tuple[str, list[int]]] = []
    same: list[list[int]] = []
    flipped: list[list[int]] = []
    for number, fact in enumerate(facts):
        for kind, found, into in (("same", fact.same, same), ("flipped", fact.flipped, flipped)):
            into.append([])
            for text in found:
                into[-1].append(len(rows) + len(texts))
                texts.append((f"constructed: fact {number}, {kind} order", encode(text)))
    tokens = np.full((len(texts), width), pad, dtype=np.int64)
    for i, (source, ids) in enumerate(texts):
        if not 2 <= len(ids) <= width:
            raise InputError(f"{source} with {len(ids)} tokens", f"2 to {width}", "--length")
        tokens[i, : len(ids)] = ids
    lengths = np.array([len(ids) for _, ids in texts], dtype=np.int64)
    joined = Sequences(
        np.concatenate([rows.tokens, tokens]),
        np.concatenate([rows.lengths, lengths]),
        (*rows.sources, *(source for source, _ in texts)),
    )
    return joined, same, flipped


def encoded_queries(queries: Sequence[Query], encode: Encode) -> list[tuple[list[int], list[int]]]:
    """Return the token ids of prompts and completions.

    Raises:
        InputError: an empty prompt or completion.
    """
    found = [(encode(q.prompt), encode(q.completion)) for q in queries]
    for number, (prompt, completion) in enumerate(found):
        if not prompt or not completion:
            raise InputError(f"query {number} that is empty", "prompt and completion", "fill both")
    return found


def null_queries(
    queries: Sequence[tuple[list[int], list[int]]], count: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Return the first `count` queries with completions' tokens drawn from other queries.

    Prompts, completions' lengths and the frequencies of tokens stay; what a completion says in
    its context is gone. Their scores show which size means nothing.

    >>> null_queries([([1], [2, 3]), ([4], [5])], 1, 0)
    [([1], [5, 5])]
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(min(count, len(queries)) if len(queries) > 1 else 0):
        pool = [t for k, (_, ids) in enumerate(queries) if k != i for t in ids]
        prompt, completion = queries[i]
        found.append((prompt, [int(t) for t in rng.choice(pool, len(completion))]))
    return found


def train_batches(
    rows: Sequences, chosen: Sequence[int], size: int, device: torch.device
) -> list[Batch]:
    """Return batches of rows; `start` counts within `chosen`, padding has targets of -100."""
    return [
        _batch(rows.tokens[ids], rows.lengths[ids], np.zeros(len(ids), int), i, device)
        for i in range(0, len(chosen), size)
        if (ids := np.asarray(chosen[i : i + size])).size
    ]


def query_batches(
    queries: Sequence[tuple[list[int], list[int]]], size: int, pad: int, device: torch.device
) -> list[Batch]:
    """Return batches of queries whose targets are the completions only."""
    made = []
    for i in range(0, len(queries), size):
        part = queries[i : i + size]
        lengths = np.array([len(p) + len(c) for p, c in part])
        tokens = np.full((len(part), lengths.max()), pad, dtype=np.int64)
        for row, (prompt, completion) in zip(tokens, part, strict=True):
            row[: len(prompt) + len(completion)] = prompt + completion
        starts = np.array([len(p) for p, _ in part])
        made.append(_batch(tokens, lengths, starts, i, device))
    return made


def _batch(
    tokens: np.ndarray, lengths: np.ndarray, first: np.ndarray, start: int, device: torch.device
) -> Batch:
    ids = torch.from_numpy(tokens).to(device)
    places = torch.arange(tokens.shape[1])
    mask = (places < torch.from_numpy(lengths)[:, None]).to(device)
    counted = mask & (places >= torch.from_numpy(first)[:, None]).to(device)
    targets = ids.masked_fill(~counted, -100)
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    return Batch(inputs, targets, mask, start, len(tokens))


def text_hash(*parts: Any) -> str:
    """Return a short SHA-256 of arrays and of what JSON can hold.

    >>> len(text_hash(np.zeros(2), [1, "a"]))
    16
    """
    digest = hashlib.sha256()
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        digest.update(part.tobytes() if is_array else json.dumps(part).encode())
    return digest.hexdigest()[:16]


def _rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"'{path}'", "a file that exists", "give the path of a JSONL file")
    some = False
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError:  # UnicodeDecodeError is one
            row = None
        if not isinstance(row, dict) or not all(_usable(key, row.get(key)) for key in needed):
            raise InputError(
                f"line {number} of {path.name}",
                f"an object with {', '.join(_wanted(key) for key in needed)}",
                "mend it, or end the file before it",
            )
        some = True
        yield number, row
    if not some:
        raise InputError(f"{path.name} without lines", "one JSON object a line", "add some")


def _wanted(key: str) -> str:
    return f'"{key}": texts' if key in LISTS else f'"{key}": text'


def _usable(key: str, value: Any) -> bool:
    if key not in LISTS:
        return isinstance(value, str)
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
