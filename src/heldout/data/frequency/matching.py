"""Concepts compiled for counting: words by hash, phrases as a tree, names in any Unicode form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from heldout.core.errors import InputError, MissingExtraError
from heldout.data.frequency.words import forms, singular, words

Match = Literal["phrase", "words"]
Names = Sequence[str] | Mapping[str, Iterable[str]]


@dataclass(frozen=True)
class Matcher:
    """Concepts, ready to be counted; made by `compile_concepts`."""

    names: tuple[str, ...]
    """Of the concepts, in the order of every count."""
    match: Match
    """`phrase`: the words one after another; `words`: all of them anywhere in the caption."""
    fingerprint: str
    """Of everything that decides a count; equal for equal matchers."""
    words: int
    """Number of different words of the names."""
    vocabulary: tuple[Any, ...]
    """Hash table of word forms, their bytes, and the word each is a form of."""
    phrases: tuple[Any, ...]
    """Tree of the concepts' words, its children in a hash table."""
    sets: tuple[Any, ...]
    """Concepts as sets of words, listed under the longest of each."""


def compile_concepts(
    concepts: Names,
    *,
    match: Match = "phrase",
    lemmatize: bool = True,
    lemmas: Mapping[str, str] | None = None,
) -> Matcher:
    """Compile names, with synonyms if any, into a matcher.

    A concept occurs in a caption when the words of its name, or of one of its synonyms, stand in it
    one after another as whole words. Both are folded by `words.fold`, so case, Unicode form and
    what separates the words (blank, hyphen, underscore, any punctuation) do not matter. Concepts
    are counted each for itself: "hot dog" also counts for "dog".

    Han, kana, Thai, Lao, Khmer and Burmese are written without blanks. There each letter with its
    marks is a word, so a concept is found wherever its letters follow one another: also inside of
    a longer word (a Thai "rice" in "news"), and with match="words" in any order and place.

    Args:
        concepts: names, or names with their synonyms.
        match: "phrase", or "words" for all words in any order and place, which is what the
            paper's index of single words finds.
        lemmatize: compare words by `words.singular` on both sides.
        lemmas: word -> lemma, asked before the rules for English plurals.

    Raises:
        InputError: no concepts, a name twice, or one without a letter or digit.
        MissingExtraError: numba is not installed.

    Cost: 1 s for 4,000 concepts.

    >>> compile_concepts({"dog": ["puppy", "hound"], "hot dog": []}).words
    4
    """
    synonyms = _checked(concepts)
    table = None if lemmas is None else {_one(a): _one(b) for a, b in lemmas.items()}
    based: list[tuple[list[str], int]] = []
    for c, (name, others) in enumerate(synonyms.items()):
        for form in dict.fromkeys((name, *others)):
            parts = words(form)
            if not parts:
                raise InputError(
                    f"concept {name!r}: {form!r} has no letter or digit",
                    "names of at least one word",
                    "leave it out, or spell it in words",
                )
            based.append(([singular(w, table) if lemmatize else w for w in parts], c))
    number: dict[str, int] = {}
    for base, _ in based:  # words that begin a concept come first
        number.setdefault(base[0], len(number))
    n_first = len(number)
    spelled = [(tuple(number.setdefault(w, len(number)) for w in base), c) for base, c in based]
    said = json.dumps(
        [list(synonyms.items()), match, lemmatize, sorted((table or {}).items())], default=list
    )
    fingerprint = hashlib.sha256(f"2 {said}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    surfaces = {
        form: n for w, n in number.items() for form in (forms(w, table) if lemmatize else {w})
    }
    return Matcher(
        tuple(synonyms),
        match,
        fingerprint,
        len(number),
        _vocabulary(surfaces),
        _phrases(spelled, n_first),
        _sets(spelled, list(number)),
    )


def kernel() -> Any:
    """Return the module of compiled loops.

    Raises:
        MissingExtraError: numba is not installed.
    """
    try:
        from heldout.data.frequency import kernel as found
    except ImportError as error:
        raise MissingExtraError("numba", "count") from error
    return found


def _checked(concepts: Names) -> dict[str, tuple[str, ...]]:
    if isinstance(concepts, str) or not len(concepts):
        raise InputError(
            f"concepts {concepts!r:.60}", "a list of names, or names with synonyms", '["dog"]'
        )
    if isinstance(concepts, Mapping):
        lone = [name for name, others in concepts.items() if isinstance(others, str)]
        if lone:
            raise InputError(
                f"synonyms of {lone[0]!r} that are a string", "a list of strings", '["..."]'
            )
        for name, others in concepts.items():
            if not isinstance(others, Iterable):
                raise InputError(
                    f"synonyms of {name!r}: {others!r:.40}", "a list of strings, or []", '["..."]'
                )
        found = {name: tuple(others) for name, others in concepts.items()}
    else:
        found = {name: () for name in concepts}
        if len(found) < len(concepts):
            twice = next(n for i, n in enumerate(concepts) if n in concepts[:i])
            raise InputError(f"concept {twice!r} twice", "each name once", "dict.fromkeys(names)")
    wrong = [x for name, others in found.items() for x in (name, *others) if not isinstance(x, str)]
    if wrong:
        raise InputError(f"a name of type {type(wrong[0]).__name__}", "strings", "str(name)")
    return found


def _one(word: str) -> str:
    found = words(word)
    if len(found) != 1:
        raise InputError(f"lemma entry {word!r}", "single words", "leave out what is no word")
    return found[0]


def _size(n: int, times: int) -> int:
    return 1 << max(4, (times * n - 1).bit_length())


def _vocabulary(surfaces: Mapping[str, int]) -> tuple[Any, ...]:
    key_of, multiplier = kernel().key_of, int(kernel().MULTIPLIER)
    coded = [form.encode() for form in surfaces]
    if max(map(len, coded)) > 255 or len(coded) >= 1 << 23:
        raise InputError(
            f"{len(coded)} words of up to {max(map(len, coded))} bytes",
            "fewer than 8 million words of at most 255 bytes",
            "leave out names that are no words",
        )
    text = np.frombuffer(b"".join(coded), np.uint8)
    size, wide = max(64, _size(len(coded), 2)), max(64, _size(len(coded), 8))
    shift, fine = (np.uint64(64 - (n.bit_length() - 1)) for n in (size, wide))
    slots, taken, at = np.zeros(2 * size, np.uint64), np.zeros(wide, np.bool_), 0
    for one, word in zip(coded, surfaces.values(), strict=True):
        key = int(key_of(text, at, at + len(one)))
        mixed = (key * multiplier) & (2**64 - 1)
        taken[mixed >> int(fine)] = True
        place = mixed >> int(shift)
        while slots[2 * place + 1]:
            place = (place + 1) % size
        slots[2 * place], slots[2 * place + 1] = key, word << 40 | at << 8 | len(one)
        at += len(one)
    # One bit a key, seven in eight unset: what says no to most words stays in the fastest cache.
    bits = np.packbits(taken, bitorder="little").view("<u8").astype(np.uint64)
    return bits, fine, slots, shift, text


def _phrases(spelled: list[tuple[tuple[int, ...], int]], n_first: int) -> tuple[Any, ...]:
    # Nodes 0 to n_first - 1 are the words that begin a concept.
    child: dict[tuple[int, int], int] = {}
    closes: list[set[int]] = [set() for _ in range(n_first)]
    for sequence, concept in spelled:
        node = sequence[0]
        for word in sequence[1:]:
            if (node, word) not in child:
                child[node, word] = len(closes)
                closes.append(set())
            node = child[node, word]
        closes[node].add(concept)
    size = _size(len(child), 4)
    slot, key = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    for (node, word), below in child.items():
        code = (node << 32) | word
        place = (((code * int(kernel().MULTIPLIER)) & (2**64 - 1)) >> 33) & (size - 1)
        while slot[place] >= 0:
            place = (place + 1) % size
        slot[place], key[place] = below, code
    at = np.concatenate([[0], np.cumsum([len(c) for c in closes])]).astype(np.int64)
    ends = np.array([c for s in closes for c in sorted(s)], np.int64)
    return n_first, slot, key, at, ends


def _sets(spelled: list[tuple[tuple[int, ...], int]], names: list[str]) -> tuple[Any, ...]:
    # Looked up under its longest word, which is the rarest more often than not.
    members = [(sorted(set(sequence)), c) for sequence, c in spelled]
    anchor = np.array([max(m, key=lambda w: (len(names[w]), w)) for m, _ in members], np.int64)
    order = np.argsort(anchor, kind="stable")
    anchor_at = np.searchsorted(anchor[order], np.arange(len(names) + 1)).astype(np.int64)
    at = np.concatenate([[0], np.cumsum([len(m) for m, _ in members])]).astype(np.int64)
    flat = np.array([w for m, _ in members for w in m], np.int64)
    return anchor_at, order.astype(np.int64), at, flat, np.array([c for _, c in members], np.int64)
