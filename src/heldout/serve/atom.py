"""The Atom feed: newest papers and changed verdicts, as entries with ids that never change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from heldout.papers.catalogue import claims
from heldout.serve import feed
from heldout.serve.badge import said
from heldout.serve.items import Item
from heldout.serve.site import Site
from heldout.serve.storage import fetched, news
from heldout.serve.views import View
from heldout.serve.web.templating import templates

MOST = 40
"""Papers in the feed, and changed verdicts as many."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Entry:
    """One entry; all texts are fit for XML."""

    id: str
    """Tag URI."""
    title: str
    """Plain text."""
    link: str
    """The page."""
    updated: str
    """RFC 3339, UTC."""
    published: str
    """The same; empty where only `updated` is known."""
    authors: tuple[str, ...]
    """Names; none: the feed's own."""
    categories: tuple[str, ...]
    """Package, verdicts or arXiv's categories."""
    summary: str
    """Plain text."""


def clean(text: str) -> str:
    r"""Return a text without the characters that XML cannot carry.

    >>> clean("a\0b\x0bc\nd")
    'abc\nd'
    """
    return _NOT_XML.sub("", text)


def tag_uri(site: Site, *parts: str) -> str:
    """Return an id below this site's name (RFC 4151): the same for the same thing, for ever.

    >>> from types import SimpleNamespace as N
    >>> tag_uri(N(settings=N(origin="https://a.org:80/x")), "papers", "cs/1")
    'tag:a.org,2026:papers/cs/1'
    """
    host = urlsplit(site.settings.origin).hostname or "localhost"
    host = "localhost" if ":" in host else host  # an IPv6 address is no name
    return f"tag:{host},2026:{'/'.join(quote(part, safe='/') for part in parts)}"


def instant(at: float) -> str:
    """Return a time as RFC 3339.

    >>> instant(0.0)
    '1970-01-01T00:00:00Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def entries(site: Site, view: View, link: Callable[[str, str], str]) -> list[Entry]:
    """Return the entries of the feed, newest first.

    Args:
        site: the site.
        view: filters.
        link: makes an address of a paper's key and a fragment.

    Raises:
        StorageError: the database cannot be reached.
    """
    read, _ = feed.items_page(site, view, 1, MOST)
    # What is no key has no page to lead to.
    items = [i for i in read if i.key in site.library.items or fetched.is_number(i.key)]
    with site.database.read() as connection:
        seen = news.last_seen(connection)
        known = news.credits(connection, [i.key for i in items if i.source != "library"])
        turned = news.turns(connection, MOST)
    made = [_paper(site, item, seen.get(item.key, 0.0), known, link) for item in items]
    own = site.library.items
    made += [_turn(site, t, link) for t in turned if t.slug in own and view.lets(own[t.slug])]
    return sorted(made, key=lambda e: (e.updated, e.id), reverse=True)


def xml(site: Site, view: View, found: list[Entry], home: str, itself: str) -> str:
    """Return the feed as XML.

    Args:
        site: the site.
        view: filters, which its title and id name.
        found: entries.
        home: address of the page with the papers.
        itself: address of the feed; empty where it has none.
    """
    filters = [text for text in (view.package, view.verdict) if text]
    return templates().get_template("atom.xml.jinja").render(
        id=tag_uri(site, "feed", *filters), home=home, itself=itself, entries=found,
        title=": ".join(["Heldout papers", *filters]),
        # Without entries nothing has ever been updated.
        updated=found[0].updated if found else instant(0.0),
    )  # fmt: skip


def _paper(
    site: Site, item: Item, seen: float, known: dict[str, tuple[str, str]],
    link: Callable[[str, str], str],
) -> Entry:  # fmt: skip
    day = f"{item.date}T00:00:00Z"
    names, arxiv = known.get(item.key, ("", ""))
    authors = tuple(n for name in names.split(",") if (n := " ".join(clean(name).split())))
    own = (item.package, *(n for n, count in item.counts.items() if count))
    categories = arxiv.split() if item.source != "library" else own
    summary = f"{said(item.counts)}. {item.summary}" if item.built else item.summary
    return Entry(
        tag_uri(site, "papers", item.key), clean(item.title), link(item.key, ""),
        max(day, instant(seen)), day, authors, tuple(map(clean, categories)), clean(summary),
    )  # fmt: skip


def _turn(site: Site, turn: news.Turn, link: Callable[[str, str], str]) -> Entry:
    says = {c.id: c.says for c in claims(turn.slug)}.get(turn.claim, turn.claim)
    item = site.library.items[turn.slug]
    return Entry(
        tag_uri(site, "verdicts", turn.slug, turn.claim, turn.code_hash, turn.after),
        clean(f"{turn.before} → {turn.after}: {says}"),
        link(turn.slug, f"claim-{turn.claim}"), instant(turn.at), "", (),
        (item.package, turn.after),
        clean(f"A claim of “{item.title}” was {turn.before} and is {turn.after} now."),
    )  # fmt: skip
