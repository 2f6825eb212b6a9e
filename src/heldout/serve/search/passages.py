"""What is searched: papers as fields of text, and the passages that a result can show."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from heldout.papers.catalogue import recipe
from heldout.serve.items import Library
from heldout.serve.search.analysis import indexed, words
from heldout.serve.search.asked import questions, terms

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9$])")
_MOST_CHARACTERS = 320
_SHOWN = {"title": 0.5, "setting": 0.6, "part": 0.7, "terms": 0.6, "question": 0.8}


@dataclass(frozen=True)
class Passage:
    """A sentence or two that a result can show."""

    kind: str
    """title, summary, claim, setting, part, abstract, terms or question."""
    text: str
    """As it stands in the paper's page; of the last two kinds, how people ask for the paper."""
    claim: str = ""
    """The claim's name, where it is one's sentence or setting."""


@dataclass(frozen=True)
class Text:
    """A paper as it is searched."""

    row: int
    """Number in the index: the table's for fetched papers, below 0 for the library's."""
    stamp: int
    """Changes when the text does."""
    fields: Mapping[str, str]
    """title, body, part, setting and asked."""
    library: bool
    """Whether the library has it."""

    @property
    def whole(self) -> str:
        """Title and body, for a vector of the whole paper."""
        return f"{self.fields['title']}. {self.fields['body']}"


def passages_of(slug: str) -> list[Passage]:
    """Return every passage of a paper of the library, in the order of its page.

    >>> passages_of("data_diet")[1].text[:29]
    "The norm of an example's loss"
    """
    made = recipe(slug)
    paper, claims = made.PAPER, made.CLAIMS
    found = [Passage("title", paper.title)]
    found += [Passage("summary", text) for text in sentences(paper.summary)]
    found += [Passage("claim", claim.says, claim.id) for claim in claims]
    part = paper.part[:1].upper() + paper.part[1:]
    found.append(Passage("part", f"{part} ({paper.package})"))
    seen: set[str] = set()
    for claim in claims:
        for text in sentences(claim.differs):
            if text not in seen:
                seen.add(text)
                found.append(Passage("setting", text, claim.id))
    found.append(Passage("terms", ", ".join(terms(slug))))
    return found + [Passage("question", text) for text in questions(slug)]


def abstract_passages(title: str, abstract: str) -> list[Passage]:
    """Return the passages of a fetched paper: its title, and its abstract by sentences."""
    return [Passage("title", title), *(Passage("abstract", s) for s in sentences(abstract))]


def library_texts(library: Library) -> list[Text]:
    """Return the library's papers as they are searched; row -1 is the first slug's."""
    return [_library_text(-1 - n, slug) for n, slug in enumerate(sorted(library.items))]


def fetched_text(row: int, stamp: int, title: str, abstract: str) -> Text:
    """Return a fetched paper as it is searched."""
    fields = {"title": title, "body": abstract, "part": "", "setting": "", "asked": ""}
    return Text(row, stamp, fields, False)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, a long one in pieces.

    >>> sentences("It holds. On 3 sets (e.g. digits) it fails! Why?")
    ['It holds.', 'On 3 sets (e.g. digits) it fails!', 'Why?']
    """
    found: list[str] = []
    for part in _SENTENCE.split(" ".join(text.split())):
        while len(part) > _MOST_CHARACTERS:
            cut = part.rfind(" ", _MOST_CHARACTERS // 2, _MOST_CHARACTERS)
            cut = cut if cut > 0 else _MOST_CHARACTERS
            found.append(part[:cut])
            part = part[cut:].lstrip()
        if part:
            found.append(part)
    return found


def best(
    found: Sequence[Passage], weights: Mapping[str, float], nearness: Sequence[float] = ()
) -> int:
    """Return the number of the passage that answers a query best; of equal ones the first.

    The score is the share of the query's weight whose words the passage has, and the cosine of
    its meaning where that is known; notes on the setting count less, since few ask for them.

    Args:
        found: at least one passage.
        weights: the query's stems with their weights.
        nearness: a cosine for each passage, or none.
    """
    total = sum(weights.values()) or 1.0
    scores = []
    for at, passage in enumerate(found):
        has = frozenset(indexed(passage.text)[0])
        score = sum(weight for s, weight in weights.items() if s in has) / total
        score += nearness[at] if nearness else 0.0
        # A title stands above its result anyway.
        scores.append(score * _SHOWN.get(passage.kind, 1.0))
    if not any(scores):
        return min(1, len(found) - 1)
    return scores.index(max(scores))


def marked(text: str, stems: Collection[str]) -> list[tuple[str, bool]]:
    """Return a text in pieces, each with whether it is a word that the query has.

    The pieces joined are the text, letter for letter; nothing is escaped here.

    >>> marked("Labels, wrong ones.", {"label"})
    [('Labels', True), (', wrong ones.', False)]
    """
    spans = sorted((w.start, w.end) for w in words(text) if w.stem in stems)
    pieces: list[tuple[str, bool]] = []
    at = 0
    for start, end in _united(spans):
        if start > at:
            pieces.append((text[at:start], False))
        pieces.append((text[start:end], True))
        at = end
    if at < len(text):
        pieces.append((text[at:], False))
    return pieces


def _united(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    current: tuple[int, int] | None = None
    for start, end in spans:
        if current and start < current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current:
            yield current
        current = (start, end)
    if current:
        yield current


def _library_text(row: int, slug: str) -> Text:
    by_kind: dict[str, list[str]] = {}
    for passage in passages_of(slug):
        by_kind.setdefault(passage.kind, []).append(passage.text)
    fields = {
        "title": by_kind["title"][0],
        "body": " ".join([*by_kind["summary"], *by_kind.get("claim", [])]),
        "part": " ".join([*by_kind["part"], slug.replace("_", " "), slug.replace("_", "")]),
        "setting": " ".join(by_kind.get("setting", [])),
        "asked": ". ".join([*by_kind.get("terms", []), *by_kind.get("question", [])]),
    }
    return Text(row, crc32(repr((slug, fields)).encode()), fields, True)
