"""arXiv numbers in a query: who pastes one, or a paper's address, wants that paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from heldout.serve.items import Library
from heldout.serve.search import rows
from heldout.serve.storage.database import Database

_NUMBER = re.compile(
    r"(?:https?://)?(?:\w[\w.-]*/(?:abs|pdf|html|papers?)/|(?:doi\.org/)?10\.48550/arxiv\.)?"
    r"(?:arxiv[: ]\s*)?"
    r"(?<!\w)(?<!\d\.)(\d{4}\.\d{4,5}|[a-z][a-z-]+(?:\.[a-z]{2})?/\d{7})(?:v\d{1,3})?(?:\.pdf)?(?![\w])",
    re.IGNORECASE,
)
_MOST = 10


def numbers_in(query: str) -> tuple[list[str], str]:
    """Return the arXiv numbers in a query, without versions, and what else it says.

    >>> numbers_in("grokking https://arxiv.org/abs/2501.04697v2")
    (['2501.04697'], 'grokking')
    >>> numbers_in("arXiv:cs/0605123"), numbers_in("3.1415 and 2501.046971")
    ((['cs/0605123'], ''), ([], '3.1415 and 2501.046971'))
    """
    found = list(dict.fromkeys(m[1].lower() for m in _NUMBER.finditer(query)))[:_MOST]
    return found, " ".join(_NUMBER.sub(" ", query).split()) if found else query


def rows_of(
    numbers: Sequence[str], library: Library, slugs: Sequence[str], database: Database
) -> list[int]:
    """Return the rows of the papers that have these numbers, in the order of the numbers.

    Args:
        numbers: arXiv numbers without versions.
        library: the shipped papers; row -1 is the first of `slugs`.
        slugs: theirs, sorted.
        database: with the fetched ones.

    Raises:
        StorageError: the database cannot be reached.
    """
    fetched = rows.numbered(database, numbers)
    made = []
    for number in numbers:
        slug = library.by_arxiv.get(number)
        row = -1 - slugs.index(slug) if slug in slugs else fetched.get(number)
        made += [row] if row is not None else []
    return made
