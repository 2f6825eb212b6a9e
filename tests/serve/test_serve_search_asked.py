"""How people ask: arXiv numbers and addresses, names, terms and questions."""

from __future__ import annotations

import json
from collections import Counter
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.serve import search
from heldout.serve.items import Library
from heldout.serve.search.analysis import indexed
from heldout.serve.search.asked import questions, terms
from heldout.serve.search.numbers import numbers_in
from heldout.serve.search.ranking import Only, ranked
from heldout.serve.site import Site
from heldout.serve.static.data import search_index
from heldout.serve.storage.tables import fetched

SLUGS = sorted(Library.load().items)


@pytest.fixture(autouse=True)
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELDOUT_EMBEDDING_MODEL", "none")


def add(site: Site, many: int, title: str = "On wombats", first: int = 1) -> None:
    rows = [
        {"arxiv": f"2602.{n:05d}", "version": 1, "title": f"{title} {n}",
         "abstract": "They dig holes, and networks learn labels.", "authors": 2,
         "published": "2026-01-01", "source": "arxiv", "fetched_at": 1.0}
        for n in range(first, first + many)
    ]  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), rows)
    search.engine_of(site).update_words()


def keys(site: Site, query: str, only: Only | None = None) -> list[str]:
    return [r.key for r in search.find(site, query, only=only).items]


@pytest.mark.parametrize(
    "written",
    ["{}", "arXiv:{}", "arxiv {}v2", "https://arxiv.org/abs/{}v3", "http://arxiv.org/pdf/{}.pdf",
     "https://huggingface.co/papers/{}", "https://doi.org/10.48550/arXiv.{}", "({})"],
)  # fmt: skip
def test_a_number_finds_that_paper_alone_however_it_is_written(site: Site, written: str) -> None:
    slug, number = next((i.key, i.arxiv) for i in site.library.items.values() if i.arxiv)
    add(site, 1)
    assert keys(site, written.format(number)) == [slug]
    assert keys(site, written.format("2602.00001")) == ["2602.00001"]
    assert keys(site, written.format("2602.00002")) == []  # it is not here
    assert search.find(site, written.format(number)).sure


def test_a_number_among_words_comes_first(site: Site) -> None:
    add(site, 1)
    found = keys(site, "wrong labels 2602.00001 grokking")
    assert found[0] == "2602.00001" and len(found) > 2
    assert "2602.00001" not in keys(site, "labels 2602.00001", Only(source="library"))
    assert search.find(site, "  labels   2602.00001 ").query == "labels 2602.00001"


@given(st.text(max_size=80))
def test_what_is_no_number_is_left_as_it_is(text: str) -> None:
    numbers, rest = numbers_in(text)
    if not numbers:
        assert rest == text


def test_versions_and_figures_are_told_from_numbers() -> None:
    for text in ("3.14159 is pi", "12345.67890", "in 2017.12345678", "1.2602.00001", "v2602.1"):
        assert numbers_in(text) == ([], text), text
    assert numbers_in("hep-th/9901001v2 and 2602.00001")[0] == ["hep-th/9901001", "2602.00001"]


def test_every_paper_has_names_and_questions_of_its_own() -> None:
    every = [q for slug in SLUGS for q in questions(slug)]
    assert [q for q, n in Counter(every).items() if n > 1] == []
    for slug in SLUGS:
        assert len(terms(slug)) >= 8 and len(questions(slug)) >= 10, slug
        assert all(indexed(text)[0] for text in (*terms(slug), *questions(slug))), slug
    kept = json.dumps([every, [terms(slug) for slug in SLUGS]])
    assert "<" not in kept and "http" not in kept


def test_a_name_is_found_also_among_many_fetched_papers(site: Site) -> None:
    few = {slug: keys(site, terms(slug)[0]) for slug in SLUGS}
    lost = [slug for slug, found in few.items() if slug not in found[:3]]
    assert lost == []
    # None of these has names or questions, so that their mean length goes to nothing.
    add(site, 2000)
    engine = search.engine_of(site)
    for slug in SLUGS:
        best = [row for row, _ in ranked(engine, terms(slug)[0]).scores if row < 0][:3]
        assert slug in [engine.slug(row) for row in best], slug


def test_a_question_is_shown_as_what_the_paper_answers(site: Site, client: TestClient) -> None:
    asked = questions("data_diet")[0]
    first = search.find(site, asked).items[0]
    assert (first.key, first.kind) == ("data_diet", "question")
    assert "".join(text for text, _ in first.passage) == asked
    page = client.get("/search", params={"q": asked}).text
    assert '<span class="soft">About: </span>' in page
    told = client.get("/papers/data_diet").text
    assert all(escape(text, quote=False) in told for text in questions("data_diet"))


def test_the_site_on_disk_is_searched_by_names_and_numbers_too(site: Site) -> None:
    script = search_index(site, ["expert_routing"]).decode()
    wanted = [*terms("expert_routing"), site.library.items["expert_routing"].arxiv]
    assert all(json.dumps(text)[1:-1] in script for text in wanted)
