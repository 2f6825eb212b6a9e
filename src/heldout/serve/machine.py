"""Papers and records as programs read them: see `routes.api` for the addresses."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heldout.papers.catalogue import claims
from heldout.serve import feed, schemas, search
from heldout.serve.items import Item, record, records
from heldout.serve.paper_page import paper_page
from heldout.serve.periods import Period
from heldout.serve.search.ranking import Only
from heldout.serve.site import Site
from heldout.serve.storage import fetched, trends
from heldout.serve.views import View

_MOST_FOUND = 1000  # more than a search puts forward


@dataclass(frozen=True)
class Span(View):
    """A view of the feed between any two days."""

    since: str = ""
    """First day, YYYY-MM-DD; empty: from the beginning."""
    until: str = ""
    """Last day; empty: to the end."""

    @property
    def period(self) -> Period | None:
        """The days, if any are named.

        >>> Span(since="2026-01-02").period.last
        '9999-12-31'
        """
        if not self.since and not self.until:
            return None
        return Period("span", "", self.since or "0000-00-00", self.until or "9999-12-31")

    def covers(self, day: str) -> bool:
        """Whether a day lies between the two.

        >>> Span(until="2026-01-02").covers("2026-01-02")
        True
        """
        return (self.since or day) <= day <= (self.until or day)


def listed(site: Site, view: Span, limit: int, offset: int) -> tuple[list[Item], int]:
    """Return some papers of a view in its order, and how many it has.

    Raises:
        StorageError: the database cannot be reached.
    """
    page, within = divmod(offset, limit)
    items, total = feed.items_page(site, view, page + 1, limit)
    if within and len(items) == limit:
        items += feed.items_page(site, view, page + 2, limit)[0]
    return items[within : within + limit], total


def found(site: Site, q: str, view: Span, limit: int, offset: int) -> tuple[list[Item], int]:
    """Return some papers that a search finds, and how many there are.

    Args:
        site: the site.
        q: the query.
        view: filters; its sort may also be "relevance".
        limit: papers at most.
        offset: papers to pass over.

    Raises:
        StorageError: the database cannot be reached.
    """
    only = Only(view.package, view.verdict)
    if view.sort == "relevance" and view.period is None:
        made = search.find(site, q, limit=limit, offset=offset, only=only)
        return [r.item for r in made.items], made.total
    every = search.find(site, q, limit=_MOST_FOUND, only=only).items
    items = [r.item for r in every if view.covers(r.item.date)]
    if view.sort == "trending":
        place = {key: number for number, (key, _) in enumerate(feed.trending(site))}
        items = sorted((i for i in items if i.key in place), key=lambda i: place[i.key])
    elif view.sort != "relevance":
        items.sort(key=lambda i: (i.date, i.key), reverse=view.sort == "newest")
    return items[offset : offset + limit], len(items)


def paper_items(site: Site, items: Sequence[Item]) -> list[schemas.PaperItem]:
    """Return papers as they stand in a list."""
    with site.database.read() as connection:
        votes, comments = trends.counted(connection, [i.key for i in items])
    return [
        schemas.PaperItem(**_fields(site, i), votes=votes.get(i.key, 0),
                          comments=comments.get(i.key, 0))
        for i in items
    ]  # fmt: skip


def paper(site: Site, key: str) -> schemas.Paper | None:
    """Return a paper by slug or arXiv number; None: it is not here.

    Raises:
        StorageError: the database cannot be reached.
    """
    item = feed.item(site, key)
    if item is None:
        return None
    address = f"{site.settings.origin}/papers/{item.key}"
    more: dict[str, Any] = {"claims": [], "command": None, "records": None, "figure": None}
    if item.key in site.library.items:
        made = paper_page(site, item.key)
        more["claims"] = _claims(site, item.key)
        more["command"] = made.runs[0].command if made.runs else None
        more["records"] = f"{address}/records.json" if made.recorded else None
        more["figure"] = f"{address}/figure.svg?v={made.digest}" if made.digest else None
    else:
        with site.database.read() as connection:
            whole = fetched.whole(connection, item.key)
        item = whole[0] if whole else item
    listed = paper_items(site, [item])[0]
    return schemas.Paper(
        **listed.model_dump(), names=item.names, summary=item.summary,
        bibtex=f"{address}.bib", badge=f"{address}/badge.svg", **more,
    )  # fmt: skip


def record_items(site: Site) -> list[schemas.RecordItem]:
    """Return every shipped record as it stands in a list; they are read once."""
    lock = site.parts.setdefault("api lock", threading.Lock())
    with lock:
        made: list[schemas.RecordItem] | None = site.parts.get("api records")
        if made is None:
            made = site.parts["api records"] = [
                entry
                for slug in sorted(site.library.items)
                for claim in claims(slug)
                if (entry := _record_item(site, slug, claim, record(slug, claim.id)))
            ]
    return made


def _record_item(
    site: Site, slug: str, claim: Any, content: Mapping[str, Any] | None
) -> schemas.RecordItem | None:
    if content is None:
        return None
    return schemas.RecordItem(
        slug=slug, claim=claim.id, says=claim.says, verdict=content["verdict"],
        scale=content["scale"], direction=content["direction"], threshold=content["threshold"],
        effect=_effect(content["effect"]), url=_record_url(site, slug, claim.id),
    )  # fmt: skip


def _claims(site: Site, slug: str) -> list[schemas.ClaimFound]:
    kept: dict[str, list[schemas.ClaimFound]] = site.parts.setdefault("api claims", {})
    if slug not in kept:
        content = records(slug)
        words = {m.claim.id: m for m in paper_page(site, slug).claims}
        kept[slug] = [
            schemas.ClaimFound(
                id=c.id, says=c.says, verdict=words[c.id].word,
                reason=words[c.id].reason if c.id in content else "", paper_value=c.paper_value,
                metric=c.metric, direction=c.direction, threshold=c.threshold, unit=c.unit,
                scale=words[c.id].scale, differs=c.differs,
                effect=_effect(content[c.id]["effect"]) if c.id in content else None,
                record=_record_url(site, slug, c.id) if c.id in content else None,
            )
            for c in claims(slug)
        ]  # fmt: skip
    return kept[slug]


def _effect(effect: Mapping[str, Any]) -> schemas.Effect:
    return schemas.Effect(
        value=effect.get("value"), low=effect.get("ci_low"), high=effect.get("ci_high"),
        level=effect.get("level") or 0.95, n=effect.get("n") or 0, unit=effect.get("unit") or "",
    )  # fmt: skip


def _record_url(site: Site, slug: str, claim: str) -> str:
    return f"{site.settings.origin}/api/records/{slug}/{claim}"


def _fields(site: Site, item: Item) -> dict[str, Any]:
    return {
        "key": item.key, "slug": item.key, "title": item.title, "date": item.date,
        "arxiv": item.arxiv, "authors": item.authors, "organization": item.organization,
        "package": item.package, "source": item.source, "built": item.built,
        "verdicts": dict(item.counts), "url": f"{site.settings.origin}/papers/{item.key}",
    }  # fmt: skip
