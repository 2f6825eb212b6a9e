"""What the page of one paper shows, worked out once and kept while the page is served."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout.papers._bibtex import bibtex
from heldout.papers._entry import Entry
from heldout.papers._page import command, snippet
from heldout.papers.card import Paper
from heldout.papers.catalogue import recipe, record_path
from heldout.serve.items import Item, records
from heldout.serve.measured import Measured, measured, time_of
from heldout.serve.related import Nearness
from heldout.serve.site import Site

_LOG = logging.getLogger(__name__)
_ORDER = ("holds", "fails", "inconclusive", "toy", "not measured")


@dataclass(frozen=True)
class Run:
    """A command that measures claims again, and what it took here."""

    command: str
    """For a shell."""
    took: str
    """Time on one core; empty when it is not known."""
    where: str
    """Machine and versions; empty when nothing was recorded."""


@dataclass(frozen=True)
class PaperPage:
    """Everything on a library paper's page that no visitor can change."""

    paper: Paper
    """The card."""
    claims: tuple[Measured, ...]
    """In the order of the card; none when it is not built."""
    differs: str
    """How our setting differs, where all claims say the same; else each says its own."""
    table: tuple[tuple[str, ...], ...]
    """The recipe's table, header first; empty without one."""
    runs: tuple[Run, ...]
    """One for each scale and number of seeds; none when it is not built."""
    code: str
    """Import lines and a short example; empty when there is nothing to import."""
    cite: str
    """BibTeX."""
    digest: str
    """Of records and recipe: the figure is made anew when it changes. Empty without a plot."""
    alt: str
    """What the figure shows, as far as that is known before it is drawn."""
    size: int
    """Bytes of all records."""

    @property
    def recorded(self) -> list[str]:
        """Claims that have a record."""
        return [m.claim.id for m in self.claims if m.scale]


def paper_page(site: Site, slug: str) -> PaperPage:
    """Return what is shown of a paper of the library; its records are read once.

    Raises:
        InputError: no such paper.
    """
    pages: dict[str, PaperPage] = site.parts.setdefault("paper pages", {})
    if slug not in pages:
        locks: dict[str, threading.Lock] = site.parts.setdefault("paper pages' locks", {})
        # Records are large: of many visitors one reads them, and nobody waits for another paper's.
        with locks.setdefault(slug, threading.Lock()):
            if slug not in pages:
                pages[slug] = _made(slug)
    return pages[slug]


def near(site: Site, item: Item) -> list[Item]:
    """Return the papers of the library that are nearest to one."""
    known: Nearness | None = site.parts.get("nearness")
    if known is None:
        known = site.parts["nearness"] = Nearness.of(site.library.items.values())
    return known.near(item)


def fetched_bibtex(item: Item) -> str:
    """Return the BibTeX entry of a paper that was fetched, with its authors where they are known.

    >>> item = Item("2601.00001", "On {A}", "2026-01-02", "2601.00001", "", 2, "A. B, C. D")
    >>> "  author = {A. B and C. D}," in fetched_bibtex(item).splitlines()
    True
    """
    slug = "arxiv_" + item.key.replace("/", "_").replace(".", "_")
    plain = bibtex(Paper(slug, item.title, item.date, item.arxiv, "", "", ""))
    if not item.names:
        return plain
    # An author's name may hold anything: braces would end the field too early.
    clean = "".join(" " if c in "{}\\%\n" else c for c in item.names)
    names = " and ".join(" ".join(n.split()) for n in clean.split(",") if n.strip())
    head, _, rest = plain[plain.index("@") :].partition("\n")
    return f"{head}\n  author = {{{names}}},\n{rest}"


def _made(slug: str) -> PaperPage:
    made = recipe(slug)
    found = records(slug)
    claims = tuple(measured(c, found.get(c.id)) for c in made.CLAIMS)
    said = {c.differs for c in made.CLAIMS}
    drawn = bool(found) and hasattr(made, "plot")
    return PaperPage(
        made.PAPER,
        claims,
        said.pop() if len(said) == 1 and len(claims) > 1 else "",
        _table(made, found),
        _runs(made, found),
        _code(made),
        bibtex(made.PAPER),
        _digest(slug, list(found)) if drawn else "",
        getattr(made, "ALT", "") or f"What was measured of the claims of “{made.PAPER.title}”",
        sum(Path(record_path(slug, name)).stat().st_size for name in found),
    )


def _table(made: Any, found: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    if not found or not hasattr(made, "table"):
        return ()
    try:
        header, rows = made.table(dict(found))
        cells = [tuple(str(cell) for cell in row) for row in (header, *rows)]
    except Exception:  # a recipe's own code, on records of another version: the page goes on
        _LOG.exception("the table of %s", made.PAPER.slug)
        return ()
    return tuple(cells) if len(cells) > 1 else ()


def _code(made: Any) -> str:
    lines = snippet(Entry(made, {})).splitlines()
    fenced = len(lines) > 2 and lines[0].endswith("python")
    return "\n".join(lines[1:-1]) if fenced else ""


def _runs(made: Any, found: Mapping[str, Any]) -> tuple[Run, ...]:
    entry, claims = Entry(made, dict(found)), made.CLAIMS
    if not claims:
        return ()
    asked = sorted({(r["scale"], len(r["seeds"])) for r in found.values()})
    told = []
    for scale, seeds in asked:
        same = {k: r for k, r in found.items() if (r["scale"], len(r["seeds"])) == (scale, seeds)}
        groups = {c.group: same[c.id] for c in claims if c.id in same}
        seconds = sum(s.get("wall_s") or 0 for r in groups.values() for s in r["seeds"])
        first = next(iter(same.values())).get("environment") or {}
        versions = first.get("versions") or {}
        with_ = [f"{k} {versions[k]}" for k in ("heldout", "torch", "numpy") if k in versions]
        machine = " ".join(str(first[k]) for k in ("system", "machine") if k in first)
        where = ", ".join([machine, *with_]) if machine else ", ".join(with_)
        run = command(entry, scale, seeds, list(same))
        told.append(Run(run, time_of(seconds / 60), where))
    if told:
        return tuple(told)
    minutes = {c.group: (c.minutes or {}).get("small", 0) for c in claims}
    run = command(entry, "small", 5, [c.id for c in claims])
    return (Run(run, time_of(5 * sum(minutes.values())), ""),)


def _digest(slug: str, names: Sequence[str]) -> str:
    import heldout.papers as package

    folder = Path(package.__file__).parent
    made = hashlib.sha256()
    for path in (
        folder / "_figure.py",
        folder / f"{slug}.py",
        *sorted(folder.glob(f"_{slug}*.py")),
        *(Path(record_path(slug, name)) for name in names),
    ):
        made.update(path.read_bytes())
    return made.hexdigest()[:16]
