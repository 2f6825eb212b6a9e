"""The API against the papers and records themselves, its own description, and paging."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from starlette.testclient import TestClient

from heldout.papers import SLUGS
from heldout.papers.catalogue import claims, recipe, record_path
from heldout.serve import history
from heldout.serve.badge import badge, said
from heldout.serve.schemas import PaperList, Record
from heldout.serve.site import Site
from heldout.serve.storage import votes
from heldout.serve.storage.tables import fetched
from heldout.serve.web.templating import render

HOSTILE = '<script>alert(1)</script>]]> & "quotes" \x0b\u202e'
KNOWN = (
    "/api/papers", "/api/papers?q=labels", "/api/papers/data_diet", "/api/records", "/atom.xml",
    "/api/records/data_diet/el2n_beats_random", "/papers/data_diet/badge.svg", "/sitemap.xml",
    "/sitemaps/0.xml",
)  # fmt: skip
WRONG = (
    ("limit=0", "limit"), ("limit=101", "limit"), ("offset=-1", "offset"), ("sort=x", "sort"),
    ("verdict=true", "verdict"), ("package=x", "package"), ("since=2020-02-31", "since"),
    ("until=20200101", "until"), ("q=" + "x" * 301, "q"), ("limit=²", "limit"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def settled(site: Site) -> None:
    # Otherwise it happens beside the first requests, and what they got is soon no longer new.
    history.remember(site)


def add(site: Site, *rows: dict[str, Any]) -> None:
    whole = {
        "version": 1, "title": "A title", "abstract": "An abstract.", "authors": 2, "names":
        "A. B, C. D", "categories": "cs.LG", "source": "arxiv", "fetched_at": 0.0,
        "organization": "",
    }  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(fetched), [whole | row for row in rows])


def many(site: Site, count: int) -> None:
    # Several on each day, on days that the library's papers have too.
    days = [item.date for item in list(site.library.items.values())[:5]]
    add(site, *(
        {"arxiv": f"2512.{n:05d}", "published": days[n % 5], "title": f"On memorization {n}"}
        for n in range(count)
    ))  # fmt: skip


def test_a_paper_says_what_its_records_say(client: TestClient) -> None:
    found = client.get("/api/papers/data_diet").json()
    assert found["slug"] == found["key"] == "data_diet" and found["arxiv"] == "2107.07075"
    assert found["summary"] == recipe("data_diet").PAPER.summary
    assert [c["id"] for c in found["claims"]] == [c.id for c in claims("data_diet")]
    for claim in found["claims"]:
        record = json.loads(Path(record_path("data_diet", claim["id"])).read_text("utf-8"))
        assert claim["verdict"] == record["verdict"] and claim["threshold"] == record["threshold"]
        effect = claim["effect"]
        assert (effect["value"], effect["low"], effect["high"], effect["n"]) == tuple(
            record["effect"][name] for name in ("value", "ci_low", "ci_high", "n")
        )
        assert client.get(claim["record"]).json() == record
    assert found["command"].startswith("heldout reproduce data_diet --scale")
    for name in ("records", "bibtex", "badge", "url"):
        assert client.get(found[name]).status_code == 200, name
    assert client.get("/api/papers/2107.07075v9").json()["slug"] == "data_diet"
    unbuilt = client.get("/api/papers/symbolic_nets").json()
    assert unbuilt["claims"] == [] and unbuilt["command"] is None and not unbuilt["built"]


def test_fetched_papers_and_old_numbers(client: TestClient, site: Site) -> None:
    long = "Word " * 300
    add(site, {"arxiv": "math.GT/0309136", "published": "2003-09-08", "abstract": long})
    found = client.get("/api/papers/math.GT/0309136v2").json()
    assert found["summary"] == long and found["names"] == "A. B, C. D"
    assert found["verdicts"] == {"not built": 1} and found["source"] == "arxiv"
    assert client.get(found["badge"]).status_code == 200
    assert client.get("/api/papers", params={"until": "2003-12-31"}).json()["total"] == 1


def test_votes_show_and_change_the_tag(client: TestClient, site: Site) -> None:
    first = client.get("/api/papers?limit=1")
    key = first.json()["items"][0]["key"]
    with site.database.write() as connection:
        votes.cast(connection, key, "somebody", 0.0)
    second = client.get("/api/papers?limit=1", headers={"if-none-match": first.headers["etag"]})
    assert second.status_code == 200 and second.json()["items"][0]["votes"] == 1
    assert second.headers["etag"] != first.headers["etag"]


def test_what_is_known_is_not_sent_again(client: TestClient) -> None:
    for path in KNOWN:
        not_sent_again(client, path)


def not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    assert first.status_code == 200 and tag.startswith('W/"')
    again = client.get(path, headers={"if-none-match": f'"other", {tag}'})
    assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
    head = client.head(path)
    assert head.status_code == 200 and not head.content and head.headers["etag"] == tag
    assert client.get(path, headers={"if-none-match": '"other"'}).content == first.content


def test_other_pages_may_read_answers_and_errors_below_api_only(client: TestClient) -> None:
    for path in ("/api/papers", "/api/papers/none", "/api/papers?limit=0", "/api/records"):
        assert client.get(path).headers["access-control-allow-origin"] == "*"
    for path in ("/", "/papers/data_diet", "/about", "/api"):
        assert "access-control-allow-origin" not in client.get(path).headers
    assert client.post("/api/papers").status_code == 405


def test_wrong_values_are_named(client: TestClient) -> None:
    for query, name in WRONG:
        named(client, query, name)


def named(client: TestClient, query: str, name: str) -> None:
    answer = client.get(f"/api/papers?{query}")
    assert answer.status_code == 422 and set(answer.json()) == {"detail"}
    assert answer.json()["detail"].startswith(f"{name}: ")


def test_filters_against_the_library(client: TestClient, site: Site) -> None:
    own = site.library.items.values()
    for query, fits in (
        ("package=data", lambda i: i.package == "data"),
        ("verdict=fails", lambda i: "fails" in i.counts),
        ("since=2021-01-01&until=2022-06-30", lambda i: "2021-01-01" <= i.date <= "2022-06-30"),
        ("verdict=holds&since=2022-01-01", lambda i: "holds" in i.counts and i.date > "2022"),
    ):
        found = client.get(f"/api/papers?limit=100&sort=oldest&{query}").json()
        wanted = sorted((i for i in own if fits(i)), key=lambda i: (i.date, i.key))
        assert [i["key"] for i in found["items"]] == [i.key for i in wanted], query
        assert found["total"] == len(wanted) and found["next"] is None


def test_search_with_filters(client: TestClient) -> None:
    best = client.get("/api/papers?q=wrong labels&limit=3").json()
    assert best["items"]
    every = client.get("/api/papers?q=wrong labels&limit=100").json()
    assert [i["key"] for i in every["items"][:3]] == [i["key"] for i in best["items"]]
    dated = client.get("/api/papers?q=wrong labels&limit=100&sort=oldest&since=2021-01-01").json()
    wanted = {i["key"] for i in every["items"] if i["date"] >= "2021-01-01"}
    days = [i["date"] for i in dated["items"]]
    assert {i["key"] for i in dated["items"]} == wanted and days == sorted(days)


def test_records_are_listed_and_whole(client: TestClient) -> None:
    shipped = {
        (slug, c.id): json.loads(path.read_text("utf-8"))
        for slug in SLUGS
        for c in claims(slug)
        if (path := Path(record_path(slug, c.id))).is_file()
    }  # fmt: skip
    found, address = [], "/api/records?limit=100"
    while address:
        part = client.get(address).json()
        assert part["total"] == len(shipped)
        found += part["items"]
        address = part["next"]
    assert {(r["slug"], r["claim"]): r["verdict"] for r in found} == {
        key: record["verdict"] for key, record in shipped.items()
    }
    assert len(found) == len(shipped)
    for record in shipped.values():
        assert Record.model_validate(record).verdict == record["verdict"]
    some = client.get("/api/records?slug=data_diet&verdict=fails").json()["items"]
    assert some and all(r["slug"] == "data_diet" and r["verdict"] == "fails" for r in some)
    for path in (
        "data_diet/nothing",
        "nothing/el2n_beats_random",
        "..%2f..%2fx/y",
        "data_diet/%2e%2e%2fx",
    ):
        assert client.get(f"/api/records/{path}").status_code == 404


@settings(max_examples=12, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    limit=st.integers(5, 60), start=st.integers(0, 9), sort=st.sampled_from(["newest", "oldest"])
)
def test_no_paper_is_lost_or_doubled(
    client: TestClient, site: Site, limit: int, start: int, sort: str
) -> None:
    if not site.parts.get("test: filled"):
        many(site, 60)
        site.parts["test: filled"] = True
    keys: list[str] = []
    address: str | None = f"/api/papers?limit={limit}&offset={start}&sort={sort}"
    total = 0
    while address:
        part = PaperList.model_validate(client.get(address).json())
        assert len(part.items) == limit or part.next is None
        keys, total, address = keys + [i.key for i in part.items], part.total, part.next
    whole = client.get(f"/api/papers?limit=100&sort={sort}").json()["items"]
    whole += client.get(f"/api/papers?limit=100&offset=100&sort={sort}").json()["items"]
    assert total == len(whole) == len(site.library.items) + 60
    assert keys == [i["key"] for i in whole[start:]] and len(set(keys)) == len(keys)


def test_hostile_titles_stay_text(client: TestClient, site: Site) -> None:
    add(site, {"arxiv": "2511.00001", "published": "2099-11-03", "title": HOSTILE,
               "names": HOSTILE, "organization": HOSTILE})  # fmt: skip
    answer = client.get("/api/papers?limit=1")
    assert answer.json()["items"][0]["title"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>alert" not in client.get("/papers/2511.00001").text


def test_badges(client: TestClient) -> None:
    answer = client.get("/papers/data_diet/badge.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["cache-control"].startswith("public")
    root = ElementTree.fromstring(answer.text)
    words = said(client.get("/api/papers/data_diet").json()["verdicts"])
    assert root.get("role") == "img" and root.get("aria-label") == f"Heldout: {words}"
    texts = [node for node in root.iter() if node.tag.endswith("}text")]
    assert [node.text for node in texts] == ["Heldout", words]
    for node in texts:  # within the badge
        end = float(node.get("x", "")) + float(node.get("textLength", ""))
        assert end <= float(root.get("width", "")) - 5
    assert "Heldout: 2 hold" in badge({"holds": 2}) and "#1f6f43" in badge({"holds": 2})
    assert client.get("/papers/none/badge.svg").status_code == 404


def test_parts_for_other_pages(client: TestClient, site: Site) -> None:
    item = replace(site.library.items["data_diet"], title=HOSTILE)
    text = render(site, "_badge.html.jinja", item=item)
    assert "[![Heldout: " in text and 'src="/papers/data_diet/badge.svg"' in text
    text = render(site, "_open_graph.html.jinja", item=item)
    image = re.search(r'og:image" content="http://127.0.0.1:8000(/assets/[^"]+)"', text)
    assert image and client.get(image[1]).content.startswith(b"\x89PNG")
    assert 'og:url" content="http://127.0.0.1:8000/papers/data_diet"' in text
    assert "og:url" not in render(site, "_open_graph.html.jinja")


def test_sitemap_robots_and_health(client: TestClient, site: Site) -> None:
    many(site, 3)
    index = ElementTree.fromstring(client.get("/sitemap.xml").text)
    parts = [node.text or "" for node in index.iter() if node.tag.endswith("}loc")]
    pages = [
        node.text or ""
        for part in parts
        for node in ElementTree.fromstring(client.get(part).text).iter()
        if node.tag.endswith("}loc")
    ]
    assert len(parts) == 2 and len(set(pages)) == len(pages) == 3 + len(site.library.items) + 3
    assert all(client.get(page).status_code == 200 for page in pages[:4] + pages[-3:])
    assert client.get("/sitemaps/2.xml").status_code == 404
    assert client.get("/sitemaps/x.xml").status_code == 404
    assert f"Sitemap: {site.settings.origin}/sitemap.xml" in client.get("/robots.txt").text
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_page_for_programs(client: TestClient) -> None:
    text = client.get("/api").text
    assert "curl" in text and "openapi.json" in text and "data_diet/badge.svg" in text


def test_the_api_is_as_it_describes_itself(client: TestClient) -> None:
    """A few made-up requests for each operation; the nightly run makes many."""
    here = {"host": "127.0.0.1"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=here)
    seen: list[str] = []
    for found in schema.get_all_operations():

        @settings(max_examples=5, deadline=None, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=found.ok().as_strategy())
        def check(case: Any) -> None:
            seen.append(case.operation.label)
            case.call_and_validate(headers=here)

        check()
    assert len({label for label in seen if "papers" in label or "records" in label}) == 4
