"""A site as large as the goal: made-up papers, votes and comments, an index, and vectors.

All of it is made before anything is timed, and through the site's own functions.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

SECRET = "benchmark secret 0123456789"
_ENCODED = 200
_VOTES = 3000


def build(folder: Path, papers: int, database: str = "", encoded: int = _ENCODED) -> dict[str, Any]:
    """Fill a data folder (and a database elsewhere, if one is named); return what it took."""
    from heldout.serve.app import make_site
    from heldout.serve.fetch.merge import store
    from heldout.serve.search.engine import Engine
    from heldout.serve.search.meaning import encoder_of
    from heldout.serve.settings import Settings

    site = make_site(Settings(data=folder, database=database, secret=SECRET))
    start = time.perf_counter()
    store(site.database, _entries(papers))
    found: dict[str, Any] = {"store_s": time.perf_counter() - start}
    _visitors(site)
    _drawn(site)
    start = time.perf_counter()
    engine = Engine(site.database, site.library, folder / "search", encoder_of())
    try:
        engine.update_words()
        found["index_s"] = time.perf_counter() - start
        start = time.perf_counter()
        if engine.load_encoder():
            found["load_model_s"] = time.perf_counter() - start
            found["encode_per_s"] = vectors(engine, encoded)
            found["vectors"] = len(engine.vectors or ())
    finally:
        engine.stop()
        site.database.close()
    return found


def _entries(papers: int) -> Iterator[Any]:
    from _search_engines import tails
    from made_up_papers import made_up

    for entry, more in zip(made_up(papers), tails(papers), strict=True):
        yield replace(entry, abstract=f"{entry.abstract} {more}")


def _visitors(site: Any) -> None:
    # Votes of eight weeks on some four hundred papers, as `trending` would have to count them.
    from sqlalchemy import select

    from heldout.serve.storage import votes
    from heldout.serve.storage.tables import fetched

    rng, now = random.Random(1), time.time()
    with site.database.write() as connection:
        order = select(fetched.c.arxiv).order_by(fetched.c.published.desc()).limit(400)
        keys = [*connection.execute(order).scalars(), *site.library.items]
        for n in range(_VOTES):
            paper = keys[int(len(keys) * rng.random() ** 2)]
            votes.cast(connection, paper, f"voter {n}", now - 56 * 86400 * rng.random())


def _drawn(site: Any) -> None:
    # Figures are drawn once, by a process of little priority, when a paper is first looked at.
    from heldout.serve.figures import draw, figures
    from heldout.serve.paper_page import paper_page

    for slug in site.library.items:
        if digest := paper_page(site, slug).digest:
            path = figures(site).path(slug, digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                draw(slug, path)


def vectors(engine: Any, encoded: int) -> float:
    """Give every paper a vector, and return how many texts were really encoded in a second.

    Some fetched papers and the library are encoded. The others have vectors of those with noise,
    since the time of a product does not depend on what it multiplies.
    """
    import numpy as np

    known = engine.known
    rows = sorted(r for r in known if r > 0)
    some = rows[:encoded]
    engine.known = {r: known[r] for r in some} | {r: s for r, s in known.items() if r < 0}
    start = time.perf_counter()
    count = engine.update_vectors()
    speed = count / (time.perf_counter() - start)
    engine.known = known
    store = engine.vectors
    real = store._matrix[[store._places[r, -1] for r in some]].astype(np.float32)
    rng, rest = np.random.default_rng(0), rows[encoded:]
    for first in range(0, len(rest), 10_000):
        part = rest[first : first + 10_000]
        made = real[rng.integers(len(real), size=len(part))]
        made = made + 0.03 * rng.standard_normal(made.shape, dtype=np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        store.add([(r, -1) for r in part], [known[r] for r in part], made)
    return float(speed)


def contents(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the numbers of fetched papers, newest first, the library's slugs, and the days."""
    from heldout.papers import SLUGS

    rows = _read(folder, "SELECT arxiv, published FROM fetched ORDER BY published DESC")
    return [r[0] for r in rows], sorted(SLUGS), sorted({r[1] for r in rows})


def texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return numbers and texts of the fetched papers."""
    rows = _read(folder, "SELECT arxiv, title || '. ' || abstract FROM fetched")
    return [r[0] for r in rows], [r[1] for r in rows]


def _read(folder: Path, asked: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "heldout.db")) as base:
        return base.execute(asked).fetchall()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Give the address of a new database on the server that HELDOUT_TEST_POSTGRES names."""
    from sqlalchemy import create_engine, make_url, text

    name = f"bench_{os.getpid()}"
    server = make_url(os.environ["HELDOUT_TEST_POSTGRES"])
    server = server.set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
