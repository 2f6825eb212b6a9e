"""A page's database with papers, comments and votes, as if it had been visited for some days."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import insert

from heldout.serve.fetch.entry import Entry
from heldout.serve.fetch.merge import store
from heldout.serve.storage import comments
from heldout.serve.storage.database import Database
from heldout.serve.storage.tables import votes

from .made_up_papers import made_up

HOSTILE = "Robust <script>document.title='taken'</script><img src=x onerror=alert(1)> learning"
FETCHED = "2611.20001"
"""A fetched paper whose title and abstract try to run a script."""


def furnish(data: Path, papers: int = 40) -> None:
    """Put fetched papers, comments and votes where a server that starts there will find them."""
    data.mkdir(parents=True, exist_ok=True)
    database = Database(f"sqlite:///{(data / 'heldout.db').resolve()}")
    database.upgrade()
    hostile = Entry(
        FETCHED, 2, HOSTILE, f"We show {HOSTILE} with $x < y$ & more. " * 6, 3, "2026-11-20",
        "Ada <b>Abara</b>, Chen Berg, Ines Costa", "Lakeside <i>Labs</i>", "cs.LG stat.ML",
    )  # fmt: skip
    now = time.time()
    store(database, [hostile, *made_up(papers)], now=now - 7200)
    with database.write() as connection:
        said = "I see the same on **ResNets**:\n\n> what you measure\n\n- one\n- two `x = 1`"
        comments.add(connection, "wide_cnn", "Ada", said, "a:b", now - 3 * 86400)
        comments.add(connection, "wide_cnn", "", "And on [transformers](https://example.org).",
                     "c:d", now - 86400)  # fmt: skip
        rows = [
            {"paper": paper, "voter": f"v{n}", "at": now - 3600.0 * (n + 1)}
            for many, paper in enumerate(("wide_cnn", "data_diet", FETCHED, "grokking_stability"))
            for n in range(5 - many)
        ]
        connection.execute(insert(votes), rows)
    database.close()
