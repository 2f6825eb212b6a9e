"""What programs and the search read of a site on disk: JSON files, and a script with the words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from heldout.papers.catalogue import claims
from heldout.serve import machine
from heldout.serve.badge import said
from heldout.serve.items import Item
from heldout.serve.search.asked import questions, terms
from heldout.serve.site import Site
from heldout.serve.static.plan import Plan, paper_file
from heldout.serve.storage import fetched

_WHOLE = 2000  # with more fetched papers than this, only their titles are searched
_CHUNK = 500
T = TypeVar("T")
_ADDRESSES = ("url", "record", "records", "figure", "bibtex", "badge")


def items(site: Site, keys: Sequence[str]) -> Iterator[Item]:
    """Give the papers with these keys.

    Raises:
        StorageError: the database cannot be reached.
    """
    own = site.library.items
    for part in _parts(keys):
        with site.database.read() as connection:
            read = fetched.by_key(connection, [k for k in part if k not in own])
        yield from (found for k in part if (found := own.get(k) or read.get(k)))


def papers(site: Site, plan: Plan, keys: Sequence[str], base: str) -> bytes:
    """Return what /api/papers says of all papers, newest first."""
    newest = sorted(items(site, keys), key=lambda i: (i.date, i.key), reverse=True)
    told = [
        paper.model_dump() for part in _parts(newest) for paper in machine.paper_items(site, part)
    ]
    return _list(site, plan, told, base)


def paper(site: Site, plan: Plan, key: str, base: str) -> bytes:
    """Return what /api/papers/<key> says of a paper of the library."""
    found = machine.paper(site, key)
    assert found, key
    return _json(_here(site, plan, found.model_dump(), base))


def records(site: Site, plan: Plan, base: str) -> bytes:
    """Return what /api/records says of all records."""
    return _list(site, plan, [r.model_dump() for r in machine.record_items(site)], base)


def search_index(site: Site, keys: Sequence[str]) -> bytes:
    """Return a script that defines HELDOUT_PAPERS: [file, title, date, verdicts, text] of each."""
    whole = len(keys) <= _WHOLE
    rows = []
    for item in items(site, keys):
        told = [item.summary] if item.built or item.package or whole else []
        if item.key in site.library.items:
            told += [claim.says for claim in claims(item.key)]
            told += [*terms(item.key), *questions(item.key), item.arxiv]
        file = f"{paper_file(item.key)}.html"
        rows.append([file, item.title, item.date, said(item.counts), " ".join(told)])
    rows.sort(key=lambda row: (row[2], row[0]), reverse=True)
    body = ",\n".join(json.dumps(row) for row in rows)
    return f"const HELDOUT_PAPERS = [\n{body}\n];\n".encode()


def _parts(every: Sequence[T]) -> Iterator[Sequence[T]]:
    return (every[start : start + _CHUNK] for start in range(0, len(every), _CHUNK))


def _list(site: Site, plan: Plan, told: list[dict[str, Any]], base: str) -> bytes:
    here = [_here(site, plan, entry, base) for entry in told]
    return _json({"items": here, "total": len(here), "next": None})


def _here(site: Site, plan: Plan, told: dict[str, Any], base: str) -> dict[str, Any]:
    # Addresses of the server become those of the files; without a public one, from the top folder.
    origin = site.settings.origin
    for name in _ADDRESSES:
        if isinstance(told.get(name), str):
            file = plan.file(told[name].removeprefix(origin))
            told[name] = base + file if file else None
    for claim in told.get("claims", ()):
        _here(site, plan, claim, base)
    return told


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()
