"""arXiv's query language: told early when it is wrong, and asked of papers from elsewhere.

Operators AND, OR and ANDNOT, brackets, quoted phrases, and a field before a colon, after
https://info.arxiv.org/help/api/user-manual.html#51-details-of-query-construction. A feed that knows
no such queries is searched here: what it does not tell (a category, say) counts as unknown, and
papers that are known not to fit are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from heldout.core.errors import InputError
from heldout.serve.fetch.entry import Entry

FIELDS = {
    "ti": "title", "au": "author", "abs": "abstract", "co": "comment", "jr": "journal",
    "cat": "category", "rn": "report number", "id": "number", "all": "any of them",
    "submittedDate": "[YYYYMMDDHHMM TO YYYYMMDDHHMM]",
    "lastUpdatedDate": "[YYYYMMDDHHMM TO YYYYMMDDHHMM]",
}  # fmt: skip
"""What can stand before a colon."""

_LONGEST = 1000
_DEEPEST = 20
_TOKEN = re.compile(r'\s*(?:([()])|"([^"]*)"|(\[[^\]]*\])|([A-Za-z]+):(?!//)|([^\s()"\[\]]+))')
_WORD = re.compile(r"\w+\*?")
_EXAMPLE = 'heldout papers fetch "cat:cs.LG AND abs:generalization"'


@dataclass(frozen=True)
class Query:
    """A part of a query."""

    kind: str
    """and, or, andnot, or the field in which `words` are looked for."""
    words: tuple[str, ...] = ()
    """A word, or a phrase; in lower case."""
    parts: tuple[Query, ...] = ()
    """What an operator joins."""


def parse(text: str) -> Query:
    """Read a query.

    Raises:
        InputError: it is empty or too long, or brackets, quotes, fields or operators are wrong.

    >>> parse("cat:cs.LG AND abs:generalization").kind
    'and'
    """
    if not text.strip():
        raise InputError("an empty query", "words, with fields where wanted", _EXAMPLE)
    if len(text) > _LONGEST:
        raise InputError(f"a query of {len(text)} characters", f"{_LONGEST} or fewer", _EXAMPLE)
    if any(not c.isprintable() for c in text):
        raise InputError(f"{text!r} with a control character", "a query in plain text", _EXAMPLE)
    tokens = _tokens(text)
    found, rest = _joined(text, tokens, "all", 0)
    if rest:
        raise _wrong(text, "a bracket closes that was not opened")
    return found


def matches(query: Query, entry: Entry) -> bool | None:
    """Return whether a paper fits a query; None when that depends on what is not known of it.

    >>> paper = Entry("2401.00001", 1, "Flat minima", "On generalization.", 1, "2024-01-01")
    >>> matches(parse("abs:generalization"), paper), matches(parse("ti:sharp"), paper)
    (True, False)
    >>> matches(parse("cat:cs.LG AND ti:minima"), paper), matches(parse("cat:cs.LG"), paper)
    (None, None)
    """
    if query.kind in ("and", "or", "andnot"):
        left, right = (matches(part, entry) for part in query.parts)
        if query.kind == "andnot":
            right = None if right is None else not right
        decides = query.kind == "or"  # one True decides an "or", one False the others
        if decides in (left, right):
            return decides
        return None if None in (left, right) else not decides
    if query.kind == "id":
        return entry.arxiv == " ".join(query.words)
    if query.kind == "cat":
        return query.words[0] in entry.categories.lower().split() if entry.categories else None
    fields = {"ti": entry.title, "abs": entry.abstract, "au": entry.names}
    if query.kind == "all":
        return _holds(query.words, " | ".join(fields.values()))
    return _holds(query.words, fields[query.kind]) if query.kind in fields else None


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match:
            raise _wrong(text, "a quotation mark or a square bracket is not closed")
        bracket, phrase, span, field, word = match.groups()
        if field is not None:
            if field not in FIELDS:
                names = ", ".join(f"{k} ({v})" for k, v in FIELDS.items() if len(k) < 4)
                raise InputError(f"field {field!r} in the query {text!r}", f"one of {names}",
                                 _EXAMPLE)  # fmt: skip
            found.append(("field", field))
        elif bracket:
            found.append((bracket, bracket))
        elif word in ("AND", "OR", "ANDNOT"):
            found.append(("operator", word.lower()))
        else:
            found.append(("value", word if word is not None else (phrase or span or "")))
        at = match.end()
    return found


def _joined(
    text: str, tokens: list[tuple[str, str]], field: str, depth: int
) -> tuple[Query, list[tuple[str, str]]]:
    if depth > _DEEPEST:
        raise _wrong(text, f"brackets are more than {_DEEPEST} deep")
    left, tokens = _term(text, tokens, field, depth)
    while tokens and tokens[0][0] != ")":
        kind = "and"  # two words side by side
        if tokens[0][0] == "operator":
            kind, tokens = tokens[0][1], tokens[1:]
        right, tokens = _term(text, tokens, field, depth)
        left = Query(kind, parts=(left, right))
    return left, tokens


def _term(
    text: str, tokens: list[tuple[str, str]], field: str, depth: int
) -> tuple[Query, list[tuple[str, str]]]:
    if tokens and tokens[0][0] == "field":
        field, tokens = tokens[0][1], tokens[1:]
    if not tokens or tokens[0][0] in ("operator", "field", ")"):
        before = repr(tokens[0][1]) if tokens else "the end"
        raise _wrong(text, f"a word is missing before {before}")
    (kind, value), tokens = tokens[0], tokens[1:]
    if kind == "(":
        found, tokens = _joined(text, tokens, field, depth + 1)
        if not tokens:
            raise _wrong(text, "a bracket is not closed")
        return found, tokens[1:]
    words = (value.lower(),) if field in ("cat", "id") else tuple(_WORD.findall(value.lower()))
    if not words:
        raise _wrong(text, f"{value!r} has no word to look for")
    return Query(field, words), tokens


def _holds(words: tuple[str, ...], text: str) -> bool:
    found = [_stem(w) for w in _WORD.findall(text.lower())]
    wanted = [w if w.endswith("*") else _stem(w) for w in words]
    spans = range(len(found) - len(wanted) + 1)
    return any(all(map(_same, wanted, found[i : i + len(wanted)])) for i in spans)


def _same(wanted: str, found: str) -> bool:
    return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _wrong(text: str, why: str) -> InputError:
    return InputError(f"query {text!r}: {why}", "words joined by AND, OR, ANDNOT", _EXAMPLE)
