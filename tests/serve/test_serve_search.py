"""The search page, and how its index follows what is fetched."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from html import unescape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from sqlalchemy import delete, insert, update
from starlette.testclient import TestClient

from heldout.serve import search
from heldout.serve.search.analysis import words
from heldout.serve.search.engine import Engine
from heldout.serve.search.found import BOTH, WORDS
from heldout.serve.search.index import WordIndex
from heldout.serve.search.meaning import EncoderError
from heldout.serve.search.ranking import Only, ranked
from heldout.serve.site import Site
from heldout.serve.storage.tables import fetched

PAPERS = [
    ("2601.00001", "Tapir stripes and label noise", "Wrong labels hurt tapirs. A second sentence."),
    ("2601.00002", "Grokking in quokkas", "Quokkas generalize long after they fit."),
    ("2601.00003", "Quokka sharpness", "Flat minima of quokkas & <b>sharp</b> ones."),
]


class FakeEncoder:
    """Vectors of hashed stems, so that texts with common words are near."""

    name, size = "fake", 64

    def __init__(self, end: object = None) -> None:
        self.asked: list[str] = []
        self.dead = False

    def encode(self, texts: Sequence[str], urgent: bool = False) -> np.ndarray:
        if self.dead:
            raise EncoderError("gone")
        self.asked += texts
        made = np.full((len(texts), self.size), 1e-3, np.float32)
        for row, text in zip(made, texts, strict=True):
            for word in words(text):
                row[sum(word.stem.encode()) % self.size] += 1
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def close(self) -> None:
        self.dead = True


def add(site: Site, papers: Sequence[tuple[str, str, str]]) -> None:
    rows = [
        {"arxiv": n, "version": 1, "title": t, "abstract": a, "authors": 2,
         "published": "2026-01-01", "source": "arxiv", "fetched_at": 1.0}
        for n, t, a in papers
    ]  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), rows)


def soon(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELDOUT_EMBEDDING_MODEL", "none")


@pytest.fixture
def both(site: Site) -> Iterator[Engine]:
    engine = Engine(site.database, site.library, site.settings.data / "search", FakeEncoder)
    site.parts["search"] = engine
    engine.update_words()
    assert engine.load_encoder()
    engine.update_vectors()
    yield engine
    engine.stop()


def keys(site: Site, query: str, **more: object) -> list[str]:
    return [r.key for r in search.find(site, query, **more).items]  # type: ignore[arg-type]


def test_a_paper_is_found_with_its_passage(site: Site) -> None:
    found = search.find(site, "throwing away the examples that training does not need")
    best = found.items[0]
    assert best.key == "data_diet" and found.how == WORDS and found.total >= 1
    assert any(match for _, match in best.passage)
    assert "".join(t for t, _ in best.title) == best.item.title


def test_fetched_papers_are_found_once_they_are_there(site: Site) -> None:
    assert keys(site, "quokka tapir") == []
    add(site, PAPERS)
    assert search.engine_of(site).update_words() == 3
    assert set(keys(site, "quokka tapir")) == {n for n, *_ in PAPERS}
    found = search.find(site, "wrong labels hurt tapirs").items[0]
    assert (found.key, found.kind) == ("2601.00001", "abstract")
    assert found.passage[0] == ("Wrong", True)


def test_filters_and_pages(site: Site) -> None:
    add(site, PAPERS)
    search.engine_of(site).update_words()
    every = search.find(site, "labels", limit=100)
    assert every.total == len(every.items) > 3
    parts = [keys(site, "labels", limit=2, offset=n) for n in range(0, every.total, 2)]
    assert [k for part in parts for k in part] == [r.key for r in every.items]
    own = search.find(site, "labels", limit=100, only=Only(source="library")).items
    other = search.find(site, "labels", limit=100, only=Only(source="fetched")).items
    assert {r.key for r in own} | {r.key for r in other} >= {r.key for r in every.items}
    assert {r.item.package for r in search.find(site, "labels", only=Only("data")).items} == {
        "data"
    }
    fails = search.find(site, "labels", limit=99, only=Only(verdict="fails")).items
    assert fails and all(r.item.counts["fails"] for r in fails)
    assert search.find(site, "labels", limit=-5, offset=-5).items == []


def test_changes_are_the_same_as_an_index_made_anew(site: Site) -> None:
    engine = search.engine_of(site)
    for paper in PAPERS:
        add(site, [paper])
        engine.update_words()
    with site.database.write() as connection:
        connection.execute(
            update(fetched).where(fetched.c.arxiv == "2601.00001").values(title="Okapi", version=2)
        )
        connection.execute(delete(fetched).where(fetched.c.arxiv == "2601.00002"))
    assert engine.update_words() == 1 and engine.update_words() == 0
    anew = Engine(site.database, site.library)
    anew.update_words()
    assert engine.index.stamps() == anew.index.stamps()
    for query in ("okapi", "tapir", "quokka labels", "grokking", "wrong label noise"):
        found, expected = ranked(engine, query).scores, ranked(anew, query).scores
        assert [r for r, _ in found] == [r for r, _ in expected], query
    assert keys(site, "okapi") == ["2601.00001"]


def test_a_restart_reads_what_is_on_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    add(site, PAPERS)
    folder = site.settings.data / "search"
    first = Engine(site.database, site.library, folder, FakeEncoder)
    first.update_words()
    first.load_encoder()
    assert first.update_vectors() > 300
    first.stop()
    changed: list[object] = []
    monkeypatch.setattr(WordIndex, "change", lambda *a: changed.append(a))
    again = Engine(site.database, site.library, folder, FakeEncoder)
    assert again.update_words() == 0 and again.load_encoder() and again.update_vectors() == 0
    assert changed == [] and ranked(again, "quokka").scores
    again.stop()


@pytest.mark.sqlite_only
def test_an_indexing_that_is_killed_is_taken_up_again(site: Site) -> None:
    add(site, [(f"2602.{n:05d}", f"Paper {n} on wombats", "They dig. " * 40) for n in range(3000)])
    code = (
        "import sys; from pathlib import Path; from heldout.serve.items import Library\n"
        "from heldout.serve.storage.database import Database\n"
        "from heldout.serve.search import engine as e\n"
        "e._WORDS_AT_ONCE = 300\n"
        "made = e.Engine(Database(sys.argv[1]), Library.load(), Path(sys.argv[2]))\n"
        "print('made', flush=True)\n"
        "made.update_words()\n"
    )
    folder = site.settings.data / "search"
    child = subprocess.Popen(
        [sys.executable, "-c", code, site.settings.database_url, str(folder)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout
    child.stdout.readline()
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    engine = Engine(site.database, site.library, folder)
    engine.update_words()
    assert engine.index.papers == 3000 + len(engine.slugs)
    assert len(engine.index.find({"wombat": 1.0}, 5000)) == 3000


def test_while_another_process_writes_search_goes_on(site: Site) -> None:
    engine = search.engine_of(site)
    writer = engine.index._index.writer(48_000_000, num_threads=1)
    add(site, PAPERS)
    with pytest.raises(ValueError, match=r"[Ll]ock"):
        engine.update_words()
    second = Engine(site.database, site.library, site.settings.data / "search")
    assert ranked(second, "grokking").scores
    writer.rollback()
    del writer
    assert engine.update_words() == 3


def test_the_thread_follows_the_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heldout.serve.search.follow._POLL_S", 0.02)
    monkeypatch.setattr("heldout.serve.search.follow._SETTLE_S", 0.0)
    engine = Engine(site.database, site.library, None, FakeEncoder)
    site.parts["search"] = engine
    engine.start()
    try:
        soon(lambda: engine.state == "ready")
        add(site, PAPERS)
        soon(
            lambda: (
                keys(site, "quokkas generalize")
                and engine.vectors.has((2, -1), engine.known.get(2))
            )
        )
        assert search.find(site, "quokkas").how == BOTH
    finally:
        engine.stop()
    assert not any(t.is_alive() for t in engine._threads)


def test_meaning_finds_what_words_cannot_and_both_are_said(site: Site, both: Engine) -> None:
    found = search.find(site, "grokking")
    assert found.how == BOTH and "grokking" in found.items[0].item.title.lower()
    words_alone = [r for r, _ in ranked(both, "grokking", meaning=False).scores]
    assert set(words_alone) <= {r for r, _ in ranked(both, "grokking").scores}


def test_an_encoder_that_dies_leaves_words(site: Site, both: Engine) -> None:
    assert both.encoder
    both.encoder.close()
    assert search.find(site, "grokking").how == WORDS and both.encoder is None
    assert both.state == "loading"


def test_results_are_the_same_each_time(site: Site, both: Engine) -> None:
    one, two = (search.find(site, "noise in labels", limit=50) for _ in range(2))
    assert [(r.key, r.score) for r in one.items] == [(r.key, r.score) for r in two.items]


def test_the_page_shows_marks_badges_and_says_how(client: TestClient) -> None:
    text = client.get("/search?q=wrong+labels").text
    assert "<mark>" in text and 'class="badges"' in text
    assert "by words" in text and "search by meaning is not installed" in text
    assert re.search(r'href="/papers/[a-z_]+#claim-[a-z0-9_]+"', text)


def test_spelling_help(client: TestClient) -> None:
    text = client.get("/search?q=groking").text
    assert (
        "Results are for" in text and "q=grokking" in text and "papers/grokking_stability" in text
    )


def test_nothing_asked_and_nothing_found_give_help(client: TestClient) -> None:
    for path in ("/search", "/search?q=", "/search?q=%20", "/search?q=zzxqvw"):
        answer = client.get(path)
        assert answer.status_code == 200 and "For example" in answer.text
        assert "search?q=Is+my+model+memorizing%3F" in answer.text


@pytest.mark.parametrize(
    "query",
    ['"', "<script>alert(1)</script>", "'\"><img src=x>", "\\", "a:b*", "\0", "é" * 400, "😀",
     "AND OR NOT", "%s%n{{7*7}}", "\u202e", "x" * 3000, "<mark>labels</mark>",
     "labels\r\nSet-Cookie: a=b"],
)  # fmt: skip
def test_hostile_queries_are_text(client: TestClient, query: str) -> None:
    answer = client.get("/search?q=" + quote(query))
    assert answer.status_code == 200 and "set-cookie: a" not in str(answer.headers).lower()
    assert "<script>alert" not in answer.text and "<img src=x" not in answer.text
    for mark in re.findall(r"<mark>(.*?)</mark>", answer.text):
        assert "<" not in mark
    if len(query) < 100 and query.isprintable():
        assert " ".join(query.split()) in unescape(answer.text)
    assert "49" not in answer.text or "{{7*7}}" not in query or "{{7*7}}" in answer.text


def test_bytes_that_are_no_text(client: TestClient) -> None:
    assert client.get("/search?q=%ff%fe%80").status_code == 200
    assert client.get("/search?q=a&q=b&nothing=1").status_code == 200


def test_titles_of_others_are_escaped(site: Site, client: TestClient) -> None:
    add(site, [("2603.00001", "<script>wombat</script>", "A <b>wombat</b> & more.")])
    search.engine_of(site).update_words()
    text = client.get("/search?q=wombat").text
    assert "&lt;script&gt;<mark>wombat</mark>" in text and "<script>wombat" not in text


@pytest.mark.parametrize(
    "wrong", ["page=0", "page=x", "page=²", "package=no", "source=no", "verdict=no"]
)
def test_filters_that_do_not_exist_are_told(client: TestClient, wrong: str) -> None:
    assert client.get(f"/search?q=labels&{wrong}").status_code == 422


def test_a_page_behind_the_last_is_told(client: TestClient) -> None:
    assert client.get("/search?q=labels&page=999").status_code == 404


def test_pages_keep_query_and_filters(client: TestClient) -> None:
    text = client.get("/search?q=training+data&package=").text
    link = re.search(r'rel="next" href="/(search\?[^"]+)"', text)
    assert link and "q=training+data" in link[1]
    assert client.get("/" + unescape(link[1])).status_code == 200


def test_search_starts_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from heldout.serve.settings import Settings\n"
        "from heldout.serve.app import create_app, make_site\n"
        "from starlette.testclient import TestClient\n"
        "site = make_site(Settings(data=Path(sys.argv[1]), secret='x' * 20))\n"
        "with TestClient(create_app(site), base_url=site.settings.origin) as client:\n"
        "    assert 'grokking' in client.get('/search?q=grokking').text\n"
        "print(*sorted({'torch', 'sentence_transformers', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
