"""The gallery: what the papers say together, told from their records with their own plots.

`python -m heldout.papers.pages` writes docs/gallery.md and docs/gallery/ beside the papers' pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from heldout.papers._entry import Entry
from heldout.papers._figure import figure
from heldout.papers._gallery_card import Chapter, Figure, Name, Part
from heldout.papers._gallery_memorize import CHAPTER as _MEMORIZE
from heldout.papers._gallery_predicts import CHAPTER as _PREDICTS
from heldout.papers._gallery_prevents import CHAPTER as _PREVENTS
from heldout.papers._gallery_where import CHAPTER as _WHERE
from heldout.papers._gallery_words import Library, again, also, bridge, row, said, seen
from heldout.papers._markdown import code, text, url

PAGE = "docs/gallery.md"
"""Where the page is, below the repository's root."""
FIGURES = "docs/gallery"
"""Where its figures are."""
CHAPTERS: tuple[Chapter, ...] = (_MEMORIZE, _WHERE, _PREVENTS, _PREDICTS)
"""The story, in order."""

_PACKAGES = ("dynamics", "measures")
_ELSEWHERE = "Measured too"


def gallery(every: Sequence[Entry], chapters: Sequence[Chapter] = CHAPTERS) -> dict[str, bytes]:
    """Return the gallery's page and figures by path; nothing when none of its papers is built.

    A claim without a record is told as not measured, and a figure is left out until all the
    claims that it shows have one. Claims that no part names are told in the part that takes the
    rest of their paper, and at the end of the table otherwise.

    Args:
        every: the papers with their records.
        chapters: the story.

    Raises:
        HeldoutError: a plot raised.

    Cost: no pass over data; draws each figure once.
    """
    library = {e.paper.slug: e for e in every if e.claims}
    if not {n.slug for c in chapters for p in c.parts for n in told(p)} & set(library):
        return {}
    import jinja2

    made: dict[str, bytes] = {}
    described = {
        f.name: _drawn(f, library, made) for c in chapters for p in c.parts for f in p.figures
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters |= {"text": text, "code": code, "url": url}
    template = Path(__file__).with_name("gallery.md.jinja").read_text(encoding="utf-8")
    grouped = placed(library, chapters)
    page = environment.from_string(template).render(
        chapters=[_chapter(c, library, grouped, described) for c in chapters],
        table=[
            (title, [row(n, library) for n in named])
            for title, named in _by_title(grouped, chapters, library)
        ],
        scales=sorted({str(r["scale"]) for e in library.values() for r in e.records.values()}),
        total=_count([n for named in grouped.values() for n in named], library),
    )
    return {PAGE: page.encode(), **made}


def told(part: Part) -> tuple[Name, ...]:
    """Return the claims that a part names.

    >>> [str(n) for n in told(CHAPTERS[0].parts[0])]
    ['grokking_stability/weight_decay_groks']
    """
    return (*part.claims, *part.also)


def placed(
    library: Library, chapters: Sequence[Chapter] = CHAPTERS
) -> dict[tuple[str, str], list[Name]]:
    """Return the claims of every part, by titles of chapter and part, each claim once.

    Args:
        library: built papers by slug.
        chapters: the story.

    The last group, of no part, holds what the packages of the story measure and no part takes.
    """
    parts = [((c.title, p.title), p) for c in chapters for p in c.parts]
    named = {n for _, p in parts for n in told(p)}
    taken = {slug for _, p in parts for slug in p.rest_of}
    known = {n for slug, e in library.items() for n in (Name(slug, c.id) for c in e.claims)}
    found: dict[tuple[str, str], list[Name]] = {}
    for key, part in parts:
        rest = [n for n in _of(part.rest_of, library) if n not in named]
        found[key] = [n for n in told(part) if n in known] + rest
    more = [s for s, e in library.items() if e.paper.package in _PACKAGES and s not in taken]
    found[_ELSEWHERE, ""] = [n for n in _of(more, library) if n not in named]
    return found


def _of(slugs: Sequence[str], library: Library) -> Iterator[Name]:
    for slug in slugs:
        if slug in library:
            yield from (Name(slug, c.id) for c in library[slug].claims)


def _chapter(
    chapter: Chapter,
    library: Library,
    grouped: dict[tuple[str, str], list[Name]],
    described: dict[str, str],
) -> dict[str, Any]:
    every = [n for p in chapter.parts for n in grouped[chapter.title, p.title]]
    return {
        "title": chapter.title,
        "question": chapter.question,
        "anchor": chapter.title.lower().replace(",", "").replace(" ", "-"),
        "count": _count(every, library),
        "short": bridge(chapter.short, library),
        "parts": [
            _part(p, library, grouped[chapter.title, p.title], described) for p in chapter.parts
        ],
    }


def _part(
    part: Part, library: Library, every: Sequence[Name], described: dict[str, str]
) -> dict[str, Any]:
    papers = dict.fromkeys(n.slug for n in every)
    # What did not come out as claimed is never told by its verdict alone.
    open_ = ("fails", "inconclusive")
    whole = [n for n in every if n in part.claims or also(n, library)["word"] in open_]
    return {
        "title": part.title,
        "says": part.says,
        "papers": [library[s].paper for s in papers],
        "claims": [said(n, library) for n in whole],
        "also": [also(n, library) for n in every if n not in whole],
        "figures": [
            {
                "name": f.name,
                "alt": described[f.name],
                "caption": f.caption,
                "again": again(f, library),
                "use": _use(f, library),
            }
            for f in part.figures
            if described[f.name]
        ],
        "bridges": [bridge(b, library) for b in part.bridges],
    }


def _drawn(asked: Figure, library: Library, made: dict[str, bytes]) -> str:
    """Add the figure to what is made; return its text for the blind, empty when not drawn."""
    entry = library.get(asked.claims[0].slug)
    if entry is None or any(n.claim not in entry.records for n in asked.claims):
        return ""
    from heldout.papers._gallery_figures import tidy

    plot = asked.draw or entry.recipe.plot

    def draw(records: dict[str, dict[str, Any]], ax: Any) -> None:
        plot(records, ax)
        tidy(ax)

    recipe = SimpleNamespace(PAPER=entry.paper, plot=draw)
    made[f"{FIGURES}/{asked.name}.svg"], shows = figure(recipe, entry.records)
    return f"{shows}. {seen(asked, library)}"


def _use(asked: Figure, library: Library) -> str:
    """The import line; of the first name on the card once the card has dropped the one asked."""
    uses = library[asked.claims[0].slug].paper.uses
    module, _, name = (asked.use if asked.use in uses else [*uses, "heldout."][0]).rpartition(".")
    return f"from {module} import {name}"


def _by_title(
    grouped: dict[tuple[str, str], list[Name]], chapters: Sequence[Chapter], library: Library
) -> list[tuple[str, list[Name]]]:
    """Claims by chapter's title, each at its first mention."""
    titles = [*(c.title for c in chapters), _ELSEWHERE]
    found = {t: [n for key, named in grouped.items() if key[0] == t for n in named] for t in titles}
    once: set[Name] = set()
    for named in found.values():
        first = dict.fromkeys(n.slug for n in named)
        rank = {n: i for i, n in enumerate(_of(tuple(first), library))}
        # By the paper's own order: a claim may go on from the one before.
        named[:] = sorted((n for n in set(named) if n not in once), key=rank.__getitem__)
        once |= set(named)
    return [(title, named) for title, named in found.items() if named]


def _count(every: Sequence[Name], library: Library) -> str:
    words = Counter(also(n, library)["word"] for n in dict.fromkeys(every))
    order = ("holds", "fails", "inconclusive", "toy", "not measured")
    kinds = ", ".join(f"{w} {words[w]}" for w in order if words[w])
    return f"{sum(words.values())} claims: {kinds}"
