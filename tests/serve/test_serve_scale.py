"""What a page costs as papers grow: statements, plans, threads, bytes; none of it by a clock."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy import event, text
from starlette.testclient import TestClient

from heldout.serve import feed
from heldout.serve.app import THREADS
from heldout.serve.fetch.merge import store
from heldout.serve.items import Item, Library
from heldout.serve.related import LEAST, SAME_PACKAGE, Nearness, words
from heldout.serve.search.engine import Engine
from heldout.serve.site import Site
from heldout.serve.storage import votes
from heldout.serve.views import View

from .made_up_papers import made_up

PATHS = ("/", "/?page=40", "/?sort=oldest&page=7", "/?month=2025-03", "/?sort=trending",
         "/papers/data_diet", "/search?q=labels")  # fmt: skip


@contextmanager
def statements(site: Site) -> Iterator[list[str]]:
    """All that is asked of the database within the block."""
    found: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        found.append(" ".join(statement.split()))

    event.listen(site.database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(site.database.engine, "before_cursor_execute", note)


def vote(site: Site, paper: str) -> None:
    with site.database.write() as connection:
        votes.cast(connection, paper, f"v{time.time()}", time.time())


def asked(client: TestClient, site: Site, path: str) -> list[str]:
    with statements(site) as found:
        assert client.get(path).status_code == 200, path
    return [s for s in found if s.startswith(("SELECT", "WITH"))]


def test_a_page_asks_no_more_of_the_database_when_there_are_more_papers(
    site: Site, client: TestClient
) -> None:
    store(site.database, made_up(1000))
    few = {path: len(asked(client, site, path)) for path in PATHS}
    store(site.database, made_up(3000, seed=1))
    many = {path: len(asked(client, site, path)) for path in PATHS}
    assert max(few.values()) <= 12 and all(many[p] <= few[p] + 1 for p in PATHS), (few, many)


@pytest.mark.sqlite_only
def test_no_card_is_found_by_reading_the_table(site: Site, client: TestClient) -> None:
    papers = list(made_up(1000))
    store(site.database, papers)
    plans = []
    for path in (*PATHS[:4], f"/papers/{papers[5].arxiv}"):
        with statements(site) as found:
            assert client.get(path).status_code == 200
        with site.database.read() as connection:
            for one in found:
                if "FROM fetched" in one and "abstract" in one and "count(" not in one:
                    # A parameter that is not given is NULL, which does not change the plan.
                    plain = re.sub(r":\w+|\?", "NULL", one)
                    told = connection.execute(text(f"EXPLAIN QUERY PLAN {plain}"))
                    plans.append(" / ".join(row[3] for row in told))
    assert len(plans) >= 5
    assert not [p for p in plans if "SCAN" in p or "TEMP B-TREE" in p], plans


def test_after_a_change_days_and_trending_are_worked_out_once(site: Site) -> None:
    store(site.database, made_up(500))
    for _ in range(2):
        vote(site, "data_diet")
        with statements(site) as found:
            for verdict in ("", "not built", "holds"):
                feed.items_page(site, View(verdict=verdict))
            first = [feed.top(site, 5), feed.top(site, 5)]
        assert sum("GROUP BY fetched.published" in s for s in found) == 1
        assert sum("UNION ALL" in s for s in found) == 1
        assert first[0] == first[1] and first[0][0][0].key == "data_diet"
    assert feed.top(site, 5)[0][1] == pytest.approx(feed.trending(site)[0][1])


def test_near_papers_are_those_of_the_largest_cosines(library: Library) -> None:
    made = Nearness.of(library.items.values())
    fetched = [Item(p.arxiv, p.title, p.published, p.arxiv, p.abstract) for p in made_up(5)]
    for item in [*list(library.items.values())[:12], *fetched]:
        counts = words(f"{item.title} {item.title} {item.summary}")
        own = {w: (1 + math.log(n)) * made.rarity.get(w, 0.0) for w, n in counts.items()}
        length = math.sqrt(sum(v * v for v in own.values())) or 1.0
        found = []
        for key, vector in made.vectors.items():
            score = sum(own[w] * vector.get(w, 0.0) for w in own) / length
            score += SAME_PACKAGE if item.package == library.items[key].package else 0.0
            if key != item.key and score >= LEAST:
                found.append((-score, key))
        nearest = [i.key for i in made.near(item)]
        assert nearest == [key for _, key in sorted(found)[:4]]


def test_pages_are_made_by_a_bounded_number_of_threads(client: TestClient) -> None:
    assert client.portal is not None
    assert client.portal.call(lambda: current_default_thread_limiter().total_tokens) == THREADS < 40


def test_no_page_weighs_more_than_150_kb_with_its_styles_and_scripts(
    site: Site, client: TestClient
) -> None:
    store(site.database, made_up(400))
    for path in (*PATHS, *(f"/papers/{slug}" for slug in sorted(site.library.items))):
        if path == "/?page=40":
            continue  # there are not so many
        html = client.get(path)
        assert html.status_code == 200, path
        files = set(re.findall(r'(?:href|src)="(/assets/[^"]+\.(?:css|js))"', html.text))
        whole = len(html.content) + sum(len(client.get(f).content) for f in files)
        assert files and whole < 150_000, (path, whole)


def test_a_page_that_stops_does_not_wait_for_its_index(site: Site) -> None:
    store(site.database, made_up(3000))
    engine = Engine(site.database, site.library, site.settings.data / "search")
    before = engine.index.papers
    seen, given_out = threading.Event(), []
    texts = engine._texts

    def slow(*given: object) -> Iterator[object]:
        for one in texts(*given):  # type: ignore[arg-type]
            given_out.append(one)
            seen.set()
            engine.ended.wait(60)
            yield one

    engine._texts = slow  # type: ignore[method-assign,assignment]
    engine.start()
    assert seen.wait(120)
    engine.stop()
    until = time.monotonic() + 60
    while any(t.is_alive() for t in engine._threads):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert len(given_out) <= 2  # the one at hand, and perhaps one more of 3000
    # What was begun is not there by half, and the next start finishes it.
    again = Engine(site.database, site.library, site.settings.data / "search")
    assert again.index.papers == before == len(site.library.items)
    assert again.update_words() == 3000
