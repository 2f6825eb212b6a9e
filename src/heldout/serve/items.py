"""A paper on the feed, whether the library has it or it was fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout.core.errors import ArtifactError
from heldout.papers.catalogue import papers, recipe, record_path, verdicts
from heldout.papers.verdict import WORDS

STATUSES = (*WORDS, "not measured", "not built")
"""What a claim, or a paper without claims, can be."""


@dataclass(frozen=True)
class Item:
    """What a card on the feed shows."""

    key: str
    """Slug of a paper of the library, arXiv number of a fetched one; its page is /papers/<key>."""
    title: str
    """As published."""
    date: str
    """First version, YYYY-MM-DD."""
    arxiv: str
    """arXiv number without version, or empty."""
    summary: str
    """Ours for the library's papers, the authors' abstract for fetched ones."""
    authors: int = 0
    """Number of authors; 0: not known."""
    names: str = ""
    """Names of authors where they were fetched, with commas between."""
    organization: str = ""
    """Where one is named."""
    package: str = ""
    """Package of the library; empty for fetched papers."""
    source: str = "library"
    """library, arxiv or huggingface."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many claims have each status; {"not built": 1} for papers without claims."""

    @property
    def built(self) -> bool:
        """Whether the library has a recipe for it.

        >>> Item("a", "", "", "", "", counts={"holds": 2}).built
        True
        """
        return "not built" not in self.counts


@dataclass(frozen=True)
class Library:
    """The papers that ship with the package, and where their records are."""

    items: Mapping[str, Item]
    """By slug, newest first."""
    by_arxiv: Mapping[str, str]
    """Slugs by arXiv number."""

    @classmethod
    def load(cls) -> Library:
        """Read every card and the word of every record; imports no torch.

        >>> found = Library.load()
        >>> len(found.items), found.slug_of("2107.07075")
        (48, 'data_diet')
        """
        made = [_item(paper) for paper in papers()]
        made.sort(key=lambda i: (i.date, i.key), reverse=True)
        return cls({i.key: i for i in made}, {i.arxiv: i.key for i in made if i.arxiv})

    def slug_of(self, key: str) -> str | None:
        """Return the slug for a slug or an arXiv number, with or without version; None if none.

        >>> Library({}, {"2107.07075": "data_diet"}).slug_of("2107.07075v2")
        'data_diet'
        """
        if key in self.items:
            return key
        return self.by_arxiv.get(without_version(key))


def without_version(arxiv: str) -> str:
    """Return an arXiv number without its version, and without `arXiv:` before it.

    >>> without_version("arXiv:2107.07075v3"), without_version("cs/0112017")
    ('2107.07075', 'cs/0112017')
    """
    arxiv = arxiv[6:] if arxiv[:6].lower() == "arxiv:" else arxiv
    head, v, tail = arxiv.rpartition("v")
    return head if v and head[-1:].isdigit() and tail.isdigit() else arxiv


def record(slug: str, claim: str) -> dict[str, Any] | None:
    """Read the shipped record of a claim; None when there is none, or it cannot be read."""
    from heldout.core.files import read_json  # late: it needs numpy

    try:
        found = read_json(Path(record_path(slug, claim)))
    except ArtifactError:
        return None
    return found if isinstance(found, dict) else None


def records(slug: str) -> dict[str, dict[str, Any]]:
    """Read a paper's shipped records, by claim, in the order of its claims."""
    found = {claim.id: record(slug, claim.id) for claim in recipe(slug).CLAIMS}
    return {name: made for name, made in found.items() if made is not None}


def _item(paper: Any) -> Item:
    counts = Counter(verdicts(paper.slug).values()) or Counter(["not built"])
    return Item(
        paper.slug, paper.title, paper.date, paper.arxiv, paper.summary, paper.authors,
        organization=paper.organization, package=paper.package, counts=dict(counts),
    )  # fmt: skip
