"""Search over the library's papers and the fetched ones: by words, and by meaning where it can."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heldout.serve.search.engine import Engine
    from heldout.serve.search.found import Found
    from heldout.serve.search.ranking import Only
    from heldout.serve.site import Site  # the encoder's process has no use for a database

__all__ = ["engine_of", "find", "prepare", "state_of"]

_MAKING = threading.Lock()


def engine_of(site: Site) -> Engine:
    """Return the search of a site; made on first use, over the library's papers at least."""
    from heldout.serve.search.engine import Engine
    from heldout.serve.search.meaning import encoder_of

    with _MAKING:
        found: Engine | None = site.parts.get("search")
        if found is None:
            found = Engine(site.database, site.library, site.settings.data / "search", encoder_of())
            site.parts["search"] = found
    return found


def prepare(site: Site) -> None:
    """Let the search start and stop with the site."""

    def leave() -> None:
        if "search" in site.parts:
            site.parts["search"].ask_to_stop()

    def stop() -> None:
        if "search" in site.parts:
            site.parts.pop("search").stop()

    site.starting.append(lambda: engine_of(site).start())
    site.leaving.append(leave)
    site.stopping.append(stop)


def state_of(site: Site) -> str:
    """Return how far search by meaning is: "none", "loading", "partly" or "ready"."""
    return engine_of(site).state


def find(
    site: Site, query: str, *, limit: int = 10, offset: int = 0, only: Only | None = None
) -> Found:
    """Return the papers that answer a query, each with its best passage.

    Any text is a query, and none has a syntax of its own. Cost: some milliseconds; with meaning,
    those of encoding the query and of one product with all vectors more.

    Args:
        site: the site.
        query: words or a question; 300 characters of it are read.
        limit: results at most.
        offset: results to pass over.
        only: filters; None: all papers.

    Raises:
        StorageError: the database cannot be reached.
    """
    from heldout.serve.search import found as made
    from heldout.serve.search.query import LONGEST
    from heldout.serve.search.ranking import Only, ranked

    engine = engine_of(site)
    only = only or Only()
    ranking = ranked(engine, query, only)
    results, total = made.page_of(
        engine, site.library, ranking, only, max(0, limit), max(0, offset)
    )
    how = made.WORDS if ranking.cosines is None else made.BOTH
    help_ = made.word_help(ranking.asked)
    read = " ".join(query[:LONGEST].split())
    return made.Found(read, results, total, how, help_, ranking.sure)
