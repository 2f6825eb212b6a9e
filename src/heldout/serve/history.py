"""Keeps what shipped records say when the page starts, and gives papers' pages their history."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from heldout.serve.items import Item
from heldout.serve.site import Site
from heldout.serve.storage import verdicts
from heldout.serve.storage.database import StorageError

_LOG = logging.getLogger(__name__)


def prepare(site: Site) -> None:
    """Let the history be brought up to date beside the first visitors, who do not wait for it."""
    made: list[threading.Thread] = []

    def start() -> None:
        made.append(threading.Thread(target=_remember, args=(site,), name="verdicts", daemon=True))
        made[-1].start()

    def stop() -> None:
        for thread in made:  # before the database is closed; reading takes a second or so
            thread.join(10.0)

    site.starting.append(start)
    site.stopping.append(stop)
    site.parts.setdefault("paper parts", []).append(part)


def part(site: Site, item: Item) -> dict[str, Any]:
    """Return `history`, by claim and oldest first, for the page of a paper of the library."""
    if item.key not in site.library.items:
        return {"history": {}}
    with site.database.read() as connection:
        return {"history": verdicts.history(connection, item.key)}


def remember(site: Site, ended: Callable[[], bool] = lambda: False) -> int:
    """Keep what is new, and return how many verdicts that were.

    Args:
        site: the site.
        ended: whether the page is to stop; then nothing is kept, and the next start finds it.

    Raises:
        StorageError: the database cannot be written.
    """
    with site.database.read() as connection:
        rows = verdicts.unseen(connection, site.library, ended)
    if not rows or ended():
        return 0
    with site.database.write() as connection:
        return verdicts.keep(connection, rows, time.time())


def _remember(site: Site) -> None:
    try:
        remember(site, lambda: site.ending)
    except StorageError as error:
        _LOG.warning("The history of verdicts was not brought up to date: %s", error)
