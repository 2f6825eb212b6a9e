"""Real English text that installed packages ship: a corpus without a download.

Kinds, in this order, taken in turn so that none crowds out the others:

    topics      Python's language reference as `help()` knows it (`pydoc_data.topics`)
    licences    licence files of installed distributions
    docstrings  of Python's standard library, numpy, scipy, scikit-learn, matplotlib, torch: read
                from the source files, nothing is imported
    readmes     descriptions in the metadata of installed distributions

The list is the same wherever the same versions are installed: names are sorted and nothing is
drawn. `versions()` says which versions these are.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from heldout.core.errors import InputError

PACKAGES = ("numpy", "scipy", "sklearn", "matplotlib", "torch")
SHORTEST = 400
"""Characters: shorter docstrings say too little to be a document."""
LICENCE_NAMES = ("license", "licence", "copying", "notice")


@dataclass(frozen=True)
class Document:
    """A text and where it is from."""

    source: str
    """Kind and name, such as "numpy docstring: fft/_helper.py fftshift"."""
    text: str
    """The text."""


@dataclass(frozen=True)
class Sequences:
    """Texts cut into rows of tokens."""

    tokens: np.ndarray
    """(n, length) token ids; padded at the right with `pad`."""
    lengths: np.ndarray
    """(n,) how many tokens of a row count."""
    sources: tuple[str, ...]
    """Document of each row, with the number of its first token."""

    def __len__(self) -> int:
        return len(self.tokens)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages whose texts are read, where installed.

    >>> "python" in versions() and "numpy" in versions()
    True
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "scipy", "scikit-learn", "matplotlib", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed_documents(kinds: Sequence[str] | None = None) -> Iterator[Document]:
    """Yield documents of the kinds in turn, without exact copies.

    Args:
        kinds: "topics", "licences", "docstrings:NAME" (NAME "python" or one of the packages),
            "readmes"; all of them by default.

    Raises:
        InputError: another kind.

    >>> next(installed_documents(["topics"])).source
    'python topic: assert'
    """
    every: dict[str, Callable[[], Iterator[Document]]] = {
        "topics": _topics,
        "licences": _licences,
        **{f"docstrings:{n}": partial(_docstrings, n) for n in ("python", *PACKAGES)},
        "readmes": _readmes,
    }
    chosen = list(every) if kinds is None else list(kinds)
    unknown = [k for k in chosen if k not in every]
    if unknown or not chosen:
        raise InputError(f"kinds {unknown}", f"some of {list(every)}", "kinds=None for all")
    return _without_copies(_in_turn([every[k]() for k in chosen]))


def token_sequences(
    documents: Iterable[Document],
    encode: Callable[[str], list[int]],
    *,
    length: int = 64,
    limit: int = 5000,
    shortest: int = 32,
    pad: int = 0,
    overlap: float = 0.5,
    most: int = 60,
) -> Sequences:
    """Cut documents into rows of tokens, leaving out near copies.

    A row is a near copy when more than `overlap` of its runs of 8 tokens stood in rows before it:
    licences repeat, and so do docstrings' parameters. Left-out rows are not kept for comparison,
    so the result does not depend on how often a text is repeated.

    Args:
        documents: read until `limit` rows are there.
        encode: text to token ids, without special tokens.
        length: tokens of a row.
        limit: most rows.
        shortest: last pieces of documents with fewer tokens are left out.
        pad: token id at the end of short rows.
        overlap: share of known runs above which a row is left out.
        most: rows of one document, so that no long change log fills the corpus.

    Raises:
        InputError: no document gave a row.

    >>> twice = [Document("a", "x" * 40), Document("b", "x" * 40)]
    >>> token_sequences(twice, lambda t: list(range(len(t)))).sources
    ('a, token 0',)
    """
    rows: list[list[int]] = []
    sources: list[str] = []
    known: set[int] = set()
    for document in documents:
        if len(rows) >= limit:
            break
        ids = encode(document.text)
        before = len(rows)
        for start in range(0, len(ids), length):
            row = ids[start : start + length]
            if len(row) < shortest or len(rows) >= min(limit, before + most):
                break
            runs = _runs(row)
            if len(runs & known) > overlap * len(runs):
                continue
            known |= runs
            rows.append(row)
            sources.append(f"{document.source}, token {start}")
    if not rows:
        raise InputError("no text long enough", f"at least {shortest} tokens", "add documents")
    tokens = np.full((len(rows), length), pad, dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return Sequences(tokens, np.array([len(r) for r in rows]), tuple(sources))


def _runs(row: list[int], width: int = 8) -> set[int]:
    array = np.asarray(row, dtype=np.int64)
    return {crc32(array[i : i + width].tobytes()) for i in range(max(1, len(row) - width + 1))}


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield Document(f"python topic: {name}", topics[name])


def _licences() -> Iterator[Document]:
    for name, distribution in _distributions():
        for file in sorted(distribution.files or (), key=str):
            stem = file.name.lower()
            if stem.startswith(LICENCE_NAMES) and not stem.endswith((".py", ".pyc")):
                text = _text(Path(str(distribution.locate_file(file))))
                if len(text) >= SHORTEST:
                    yield Document(f"{name} licence: {file.name}", text)


def _readmes() -> Iterator[Document]:
    for name, distribution in _distributions():
        # The backport `importlib_metadata`, once anything imports it, answers in the standard
        # library's place, and keeps the text as a field.
        about: Any = distribution.metadata
        text = about.get_payload() or about.get("Description")
        if isinstance(text, str) and len(text) >= SHORTEST:
            yield Document(f"{name} readme", text)


def _docstrings(package: str) -> Iterator[Document]:
    root = _root(package)
    if root is None:
        return
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if {"site-packages", "test", "tests", "idlelib", "lib2to3"} & set(inside.parts[:-1]):
            continue
        try:
            tree = ast.parse(_text(path))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                name = getattr(node, "name", "")
                if len(text) >= SHORTEST and not name.startswith("_"):
                    where = f"{inside.as_posix()} {name}".strip()
                    yield Document(f"{package} docstring: {where}", text)


def _root(package: str) -> Path | None:
    if package == "python":
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _distributions() -> list[tuple[str, metadata.Distribution]]:
    found = {d.metadata["Name"]: d for d in metadata.distributions() if d.metadata["Name"]}
    return sorted(found.items(), key=lambda pair: pair[0].lower())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _in_turn(parts: list[Iterator[Document]]) -> Iterator[Document]:
    while parts:
        left = []
        for part in parts:
            document = next(part, None)
            if document is not None:
                yield document
                left.append(part)
        parts = left


def _without_copies(documents: Iterator[Document]) -> Iterator[Document]:
    seen: set[str] = set()
    for document in documents:
        key = " ".join(document.text.split())
        if key not in seen:
            seen.add(key)
            yield document
