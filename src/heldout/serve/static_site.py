"""`heldout serve --static DIR`: the whole site as plain files that a browser opens from disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from heldout.serve import atom, history
from heldout.serve.app import create_app
from heldout.serve.figures import figures
from heldout.serve.items import STATUSES
from heldout.serve.routes.badge import LINKS
from heldout.serve.settings import Mail
from heldout.serve.site import Site
from heldout.serve.static import data
from heldout.serve.static.folder import Writer, replaced
from heldout.serve.static.plan import Address, Plan, keys, paper_file, plan_of
from heldout.serve.static.rewrite import rewritten
from heldout.serve.storage.database import StorageError
from heldout.serve.views import View
from heldout.serve.web.templating import ASSETS, render

_INDEX = "assets/search-index.js"
_EXAMPLE = "data_diet"
_OWN = ("/api", "/atom.xml")  # of the planned addresses, those that a server would word otherwise

Get = Callable[[str], tuple[int, bytes, str]]


@dataclass(frozen=True)
class Report:
    """What was written."""

    folder: Path
    """Where."""
    files: int
    """How many files."""
    papers: int
    """How many papers have a page among them."""
    bytes: int
    """Their size together."""
    left_out: tuple[str, ...] = ()
    """What could not be made, such as figures that were not drawn."""

    def __str__(self) -> str:
        """Say it in a few lines."""
        lines = [
            f"{self.papers:,} papers in {self.files:,} files, {self.bytes / 1e6:.1f} MB: open "
            f"{self.folder / 'index.html'}"
        ]
        return "\n".join([*lines, *(f"Left out: {text}" for text in self.left_out)])


def export(site: Site, folder: Path) -> Report:
    """Write a site as plain files.

    The feed by date, package and verdict, every paper with its figure and records, search in plain
    JavaScript, the Atom feed and JSON. What needs a server is left out, or said to need one. The
    files take the folder's place all at once; the same data give the same bytes, except that what
    trends is that of the hour.

    Args:
        site: the site; its database is read, and the history of verdicts brought up to date.
        folder: absent, empty, or made by this function before.

    Raises:
        InputError: the folder holds other files.
        ArtifactError: the disk is full.
        StorageError: the database cannot be reached.
    """
    with replaced(folder) as writer:
        with suppress(StorageError):  # one that can only be read is enough
            history.remember(site)
        # Its pages as on this machine, below no path, and without what only a server can do.
        settings = replace(
            site.settings, url="", host="127.0.0.1", port=8000, mail=Mail(), token="", proxies=0
        )
        copy = Site(settings, site.database, site.library, site.secret)
        try:
            left_out, papers = asyncio.run(_write(copy, site, writer))
        finally:
            if "figures" in copy.parts:
                figures(copy).stop()
    return Report(folder.resolve(), len(writer.files), papers, writer.bytes, tuple(left_out))


async def _write(copy: Site, site: Site, writer: Writer) -> tuple[list[str], int]:
    import httpx

    base = f"{site.settings.url.rstrip('/')}/" if site.settings.url else ""
    plan = plan_of(copy)
    copy.parts[LINKS] = lambda key: _badge_links(plan, key, base)
    transport = httpx.ASGITransport(create_app(copy), raise_app_exceptions=False)
    left_out = []
    async with httpx.AsyncClient(transport=transport, base_url=copy.settings.origin) as client:
        for address, file in sorted(plan.files.items(), key=_figures_first):
            if address[0] in _OWN or file in writer.files:
                continue
            answer = await client.get(_written(address), timeout=None)
            if answer.status_code != 200 and file.endswith("/figure.svg"):
                left_out.append(f"the figure of {file.split('/')[1]}")
                plan.drop(address[0])
                continue
            _told(answer.status_code, address)
            html = answer.headers["content-type"].startswith("text/html")
            content = _page(plan, answer.text, address, file) if html else answer.content
            writer.write(file, content)
    _write_own(copy, site, plan, writer, base)
    every = list(keys(copy))
    writer.write("api/papers.json", data.papers(copy, plan, every, base))
    writer.write("api/records.json", data.records(copy, plan, base))
    for slug in copy.library.items:
        writer.write(f"api/{paper_file(slug)}.json", data.paper(copy, plan, slug, base))
    writer.write(_INDEX, data.search_index(copy, every))
    for name in sorted(plan.assets):
        if f"assets/{name}" not in writer.files:
            writer.write(f"assets/{name}", (ASSETS / name).read_bytes())
    return left_out, len(every)


def _write_own(copy: Site, site: Site, plan: Plan, writer: Writer, base: str) -> None:
    # What a server would word otherwise: search, the page for programs, and the Atom feed.
    plan.add("/api/papers.json", "api/papers.json")
    plan.add("/api/records.json", "api/records.json")
    example = _EXAMPLE if _EXAMPLE in copy.library.items else next(iter(copy.library.items), "")
    plan.add(f"/api/papers/{example}.json", f"api/papers/{example}.json")
    html = render(copy, "api.html.jinja", static=True, example=example)
    writer.write("api/index.html", _page(plan, html, ("/api", ()), "api/index.html"))
    html = render(copy, "disk_search.html.jinja")
    writer.write("search.html", _page(plan, html, ("/search", ()), "search.html"))

    def link(key: str, fragment: str) -> str:
        return f"{base}{paper_file(key)}.html{'#' if fragment else ''}{fragment}"

    itself = f"{base}atom.xml" if base else ""
    found = atom.entries(site, View(), link)
    text = atom.xml(site, View(), found, f"{base}index.html", itself)
    writer.write("atom.xml", text.encode())


def _badge_links(plan: Plan, key: str, base: str) -> tuple[str, str] | None:
    # Without a public address no README could show the badge, so its line is left out.
    files = plan.file(f"/papers/{key}/badge.svg"), plan.file(f"/papers/{key}")
    return (base + files[0], base + files[1]) if base and files[0] and files[1] else None


def _page(plan: Plan, html: str, address: Address, file: str) -> bytes:
    asked = dict(address[1])
    without = {"sorts", "dates"} if "package" in asked or "verdict" in asked else set()
    if {"day", "week", "month"} & set(asked):
        without = {"sorts"}
    if address[0].startswith("/papers/") and plan.file(f"{address[0]}/figure.svg") is None:
        without = {"plot"}
    made = rewritten(html, lambda link: plan.link(link, file), _filters(plan, file), without)
    return made.encode()


def _filters(plan: Plan, file: str) -> str:
    # In place of the form: links to the pages by package and by verdict.
    packages = sorted(
        dict(query)["package"] for path, query in plan.files
        if path == "/" and [name for name, _ in query] == ["package"]
    )  # fmt: skip
    lines = []
    for title, name, values in (("Package", "package", packages),
                                ("With a claim that", "verdict", STATUSES)):  # fmt: skip
        links = [
            f'<a href="{escape(link)}">{escape(value if name == "package" else _said(value))}</a>'
            for value in values
            if (link := plan.link(f"/?{urlencode({name: value})}", file))
        ]
        lines.append(f'<p class="dates"><span class="soft">{title}:</span> {" ".join(links)}</p>')
    return f'<nav aria-label="Filters">{"".join(lines)}</nav>'


def _said(verdict: str) -> str:
    return verdict if verdict in ("holds", "fails") else f"is {verdict}"


def _figures_first(entry: tuple[Address, str]) -> tuple[bool, str, Address]:
    # Pages leave out a figure that could not be drawn, so that must be known before.
    return not entry[1].endswith("/figure.svg"), entry[1], entry[0]


def _written(address: Address) -> str:
    path, query = address
    return f"{path}?{urlencode(query)}" if query else path


def _told(status: int, address: Address) -> None:
    if status != 200:
        raise StorageError(f"{_written(address)} could not be made (status {status}); try again")
