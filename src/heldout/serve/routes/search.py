"""Search: papers with the passage that answers best, by words and by meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heldout.core.errors import InputError
from heldout.papers.catalogue import verdicts
from heldout.serve import search
from heldout.serve.items import STATUSES
from heldout.serve.periods import in_words
from heldout.serve.search.found import Result
from heldout.serve.search.query import LONGEST
from heldout.serve.search.ranking import Only
from heldout.serve.site import Site, site_of
from heldout.serve.web.errors import problem
from heldout.serve.web.templating import page as rendered

router = APIRouter(include_in_schema=False)
prepare = search.prepare

PER_PAGE = 10
"""Results on a page."""
EXAMPLES = (
    "Is my model memorizing?",
    "wrong labels",
    "Which training examples can I throw away?",
    "distribution shift",
    "grokking",
    "Why do networks rely on the easiest feature?",
)
"""What a visitor who has asked nothing yet can try."""
_SOURCES = ("library", "fetched")


@dataclass(frozen=True)
class Address:
    """A search as it stands in the address."""

    q: str = ""
    """The query, cut to 300 characters."""
    source: str = ""
    """library, fetched, or empty for both."""
    package: str = ""
    """Package of the library."""
    verdict: str = ""
    """What at least one claim must be."""

    def query(self, page: int = 1, **changes: str) -> str:
        """Return the address below the site's root.

        >>> Address("a b", package="data").query(2)
        'search?q=a+b&package=data&page=2'
        """
        fields = {"q": self.q, "source": self.source, "package": self.package,
                  "verdict": self.verdict, **changes}  # fmt: skip
        kept = {name: value for name, value in fields.items() if value}
        return "search?" + urlencode(kept | ({"page": str(page)} if page > 1 else {}))

    @property
    def only(self) -> Only:
        """The filters."""
        return Only(self.package, self.verdict, self.source)


def address_of(asked: Mapping[str, str], packages: tuple[str, ...]) -> tuple[Address, int]:
    """Return the search and the page number that an address asks for.

    Raises:
        InputError: a filter or a page that does not exist; any query is one.

    >>> address_of({"q": " a  b ", "page": "2"}, ())
    (Address(q='a b', source='', package='', verdict=''), 2)
    """
    known = {"source": _SOURCES, "package": packages, "verdict": STATUSES}
    values = {name: asked.get(name, "").strip() for name in known}
    for name, value in values.items():
        if value and value not in known[name]:
            expected = f"one of {', '.join(known[name])}"
            raise InputError(f"{name} {value[:60]!r}", expected, f"leave {name} out")
    number = asked.get("page", "").strip() or "1"
    plain = number.isascii() and number.isdigit() and len(number) < 5
    if not plain or int(number) < 1:
        raise InputError(f"page {number[:20]!r}", "a number from 1 on", "?page=1")
    q = " ".join(asked.get("q", "").replace("\0", " ")[: 2 * LONGEST].split())[:LONGEST].strip()
    return Address(q, **values), int(number)


@router.get("/search")
def show(request: Request) -> Response:
    """Show the papers that a query finds."""
    site = site_of(request)
    packages = tuple(sorted({i.package for i in site.library.items.values()}))
    address, number = address_of(request.query_params, packages)
    found = search.find(
        site, address.q, limit=PER_PAGE, offset=(number - 1) * PER_PAGE, only=address.only
    )
    pages = max(1, -(-found.total // PER_PAGE))
    if number > pages:
        return problem(request, 404, f"There are {pages:,} pages of results, not {number:,}.")
    long = len(" ".join(request.query_params.get("q", "").split())) > LONGEST
    return rendered(
        site, "search.html.jinja",
        address=address, found=found, number=number, pages=pages, packages=packages,
        statuses=STATUSES, in_words=in_words, examples=EXAMPLES, cut=LONGEST if long else 0,
        words=_verdicts(site, found.items), state=search.state_of(site),
        example=_address_of_example, fetched=_has_fetched(site),
    )  # fmt: skip


def _verdicts(site: Site, results: list[Result]) -> dict[str, str]:
    # The word of the claim that a passage is of, by the paper's key. Records are large, and are
    # read once.
    known: dict[str, dict[str, str]] = site.parts.setdefault("claims' verdicts", {})
    made = {}
    for r in results:
        if r.claim and r.kind == "claim":
            if r.key not in known:
                known[r.key] = verdicts(r.key)
            made[r.key] = known[r.key].get(r.claim, "")
    return made


def _address_of_example(text: str) -> str:
    return Address(text).query()


def _has_fetched(site: Site) -> bool:
    engine = search.engine_of(site)
    return engine.index.papers > len(engine.slugs)
