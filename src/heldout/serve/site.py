"""What every route works with: settings, database, library, and what is made from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from heldout.serve.items import Library
from heldout.serve.settings import Settings
from heldout.serve.storage.database import Database

_LOG = logging.getLogger(__name__)


@dataclass
class Site:
    """One page that is being served."""

    settings: Settings
    """What the operator has set."""
    database: Database
    """Votes, comments, subscribers, fetched papers, jobs."""
    library: Library
    """The shipped papers."""
    secret: bytes = field(repr=False)
    """Signs links, forms and visitors' cookies."""
    starting: list[Callable[[], Any]] = field(default_factory=list)
    """Called once when the page starts, in order."""
    stopping: list[Callable[[], Any]] = field(default_factory=list)
    """Called once when it stops; these may wait for what ends."""
    leaving: list[Callable[[], Any]] = field(default_factory=list)
    """Called once before, while the last answers are on their way; these ask, and wait for nothing.
    So what goes on beside ends at the same time, and not one after the other."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What a room keeps for itself, by its name: the search index, the worker of jobs."""
    ending: bool = False
    """Whether the page is about to stop, which no answer that waits for something may hold up."""

    def leave(self) -> None:
        """Ask all that goes on beside the answers to end; a second time does nothing."""
        self.ending = True
        while self.leaving:
            ask = self.leaving.pop()
            try:
                ask()
            except Exception:  # the others must end all the same
                _LOG.exception("a part of the page could not be asked to end")


def site_of(request: Request) -> Site:
    """Return the site that a request came to."""
    found: Site = request.app.state.site
    return found
