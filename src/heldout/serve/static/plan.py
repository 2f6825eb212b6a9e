"""Which addresses are written as files, and under which names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

from heldout.core.errors import InputError
from heldout.serve import feed
from heldout.serve.items import STATUSES
from heldout.serve.paper_page import paper_page
from heldout.serve.periods import KINDS, around
from heldout.serve.site import Site
from heldout.serve.storage import fetched, news
from heldout.serve.views import SORTS, View

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", re.ASCII)
_CHUNK = 5000
Address = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Plan:
    """Addresses of the site and the files that stand for them."""

    files: dict[Address, str] = field(default_factory=dict)
    """File names, with slashes, below the folder."""
    assets: set[str] = field(default_factory=set)
    """Names of styles, scripts and images that pages have asked for."""

    def add(self, address: str, file: str) -> None:
        """Plan a file.

        Raises:
            InputError: a name that could lead out of the folder.
        """
        self.files[normal(address)] = checked(file)

    def drop(self, address: str) -> None:
        """Leave out what could not be made."""
        self.files.pop(normal(address), None)

    def file(self, address: str) -> str | None:
        """Return the file that stands for an address below the root; None: there is none.

        >>> plan = Plan()
        >>> plan.add("/?page=2", "feed/newest-2.html")
        >>> plan.file("/?page=2"), plan.file("/runs")
        ('feed/newest-2.html', None)
        """
        path, query = normal(address)
        if path.startswith("/assets/"):
            name = path.rpartition("/")[2]
            self.assets.add(name)
            return checked(f"assets/{name}")
        if path == "/search":
            return "search.html"
        return self.files.get((path, query))

    def link(self, address: str, base: str) -> str | None:
        """Return a relative link from one file to what stands for an address; None: nothing does.

        >>> plan = Plan()
        >>> plan.add("/", "index.html")
        >>> plan.link("/#main", "papers/a.html")
        '../index.html#main'
        """
        parts = urlsplit(address)
        file = self.file(address)
        if file is None:
            return None
        made = quote(posixpath.relpath(file, posixpath.dirname(base) or "."))
        query = f"?{parts.query}" if file == "search.html" and parts.query else ""
        return made + query + (f"#{parts.fragment}" if parts.fragment else "")


def normal(address: str) -> Address:
    """Return an address as path and sorted parameters, without those that only name a version.

    >>> normal("/papers/a/figure.svg?v=1#x"), normal("/?b=1&a=")
    (('/papers/a/figure.svg', ()), ('/', (('b', '1'),)))
    """
    parts = urlsplit(address)
    return parts.path, tuple(sorted((k, v) for k, v in parse_qsl(parts.query) if k != "v"))


def checked(file: str) -> str:
    """Return a file name below the folder if every part of it is plain.

    Raises:
        InputError: it is not, such as "../x", "/x", "a//b" or ".x".

    >>> checked("papers/a.html")
    'papers/a.html'
    """
    if not all(_PART.fullmatch(part) and not part.endswith(".") for part in file.split("/")):
        raise InputError(f"file name {file[:80]!r}", "letters, digits, dots, dashes", "papers/a")
    return file


def paper_file(key: str) -> str:
    """Return the name of a paper's file without its ending.

    >>> paper_file("data_diet"), paper_file("math.GT/0309136")
    ('papers/data_diet', 'papers/math.GT-0309136')
    """
    return f"papers/{key.replace('/', '-')}"


def plan_of(site: Site) -> Plan:
    """Return what is written of a site: every paper, and the feed by date, package and verdict.

    Raises:
        StorageError: the database cannot be reached.
    """
    made = Plan()
    for address, name in (("/about", "about.html"), ("/api", "api/index.html"),
                          ("/atom.xml", "atom.xml")):  # fmt: skip
        made.add(address, name)
    for view, name in _views(site):
        _, total = feed.items_page(site, view)
        for number in range(1, max(1, -(-total // feed.PER_PAGE)) + 1):
            first = "index.html" if view == View() else f"feed/{name}.html"
            made.add(
                f"/{view.query(number)}",
                first if number == 1 else f"feed/{name}-page-{number}.html",
            )
    for slug in site.library.items:
        _add_measured(made, site, slug)
    for key in keys(site):
        made.add(f"/papers/{key}", f"{paper_file(key)}.html")
        made.add(f"/papers/{key}.bib", f"{paper_file(key)}.bib")
        made.add(f"/papers/{key}/badge.svg", f"{paper_file(key)}/badge.svg")
    return made


def keys(site: Site) -> Iterator[str]:
    """Give the keys of all papers, the library's first; what is no key is passed over.

    Raises:
        StorageError: the database cannot be reached.
    """
    yield from sorted(site.library.items)
    offset = 0
    while True:
        with site.database.read() as connection:
            part = news.keys(connection, offset, _CHUNK)
        yield from filter(fetched.is_number, part)
        if len(part) < _CHUNK:
            return
        offset += _CHUNK


def _add_measured(made: Plan, site: Site, slug: str) -> None:
    address, page = f"/papers/{slug}", paper_page(site, slug)
    if page.digest:
        made.add(f"{address}/figure.svg", f"{paper_file(slug)}/figure.svg")
    if page.recorded:
        made.add(f"{address}/records.json", f"{paper_file(slug)}/records.json")
    for claim in page.recorded:
        file = f"{paper_file(slug)}/records/{claim}.json"
        made.add(f"{address}/records/{claim}.json", file)
        made.add(f"/api/records/{slug}/{claim}", file)


def _views(site: Site) -> Iterator[tuple[View, str]]:
    for sort in SORTS:
        yield View(sort), sort
    for package in sorted({i.package for i in site.library.items.values()}):
        yield View(package=package), f"package-{package}"
    for verdict in STATUSES:
        yield View(verdict=verdict), f"verdict-{verdict.replace(' ', '-')}"
    days = feed.calendar(site, View()).days
    for kind in KINDS:
        for name in sorted({around(kind, day).name for day in days}):
            yield View(**{kind: name}), f"{kind}-{name}"
