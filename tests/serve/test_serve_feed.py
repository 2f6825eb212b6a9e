"""The feed: every order and filter against sorting all papers at once; addresses that are wrong."""

from __future__ import annotations

import random
import re
import time
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert
from starlette.testclient import TestClient

from heldout.core.errors import InputError
from heldout.serve import feed
from heldout.serve.items import Item
from heldout.serve.periods import Calendar, around, period
from heldout.serve.site import Site
from heldout.serve.storage.fetched import by_date, shortened
from heldout.serve.storage.tables import comments, fetched, jobs, verdicts, votes
from heldout.serve.views import View, view_of

WORDS = ("model", "data", "shift", "error", "bound", "gradient", "labels", "noise", "test", "set")
DAY_S = 86400.0


def rows(count: int, days: int, seed: int = 0) -> list[dict[str, Any]]:
    """Papers as a fetch leaves them, spread over the days before the end of 2025."""
    made, random_ = [], random.Random(seed)
    for i in range(count):
        day = date(2025, 12, 31) - timedelta(days=i * days // count)
        made.append(
            {
                "arxiv": f"{day:%y%m}.{i % 100000:05d}", "version": 1 + i % 3,
                "title": " ".join(random_.choices(WORDS, k=8)),
                "abstract": " ".join(random_.choices(WORDS, k=150)), "authors": i % 7,
                "names": "A. B, C. D", "organization": "", "categories": "cs.LG",
                "published": day.isoformat(), "source": "arxiv", "fetched_at": 0.0,
            }
        )  # fmt: skip
    return made


def fill(site: Site, made: list[dict[str, Any]]) -> None:
    with site.database.write() as connection:
        for start in range(0, len(made), 1000):
            connection.execute(insert(fetched), made[start : start + 1000])


def every(site: Site, view: View, per_page: int) -> list[str]:
    keys, page = [], 1
    while True:
        items, total = feed.items_page(site, view, page, per_page)
        if not items:
            assert total == len(keys)
            return keys
        keys += [item.key for item in items]
        page += 1


def expected(site: Site, made: list[dict[str, Any]], view: View) -> list[str]:
    # By sorting everything at once; of one day the library's papers are the newest.
    chosen = view.period
    own = [(i.date, 1, k) for k, i in site.library.items.items() if view.lets(i)]
    read = [(r["published"], 0, r["arxiv"]) for r in made] if view.fetched else []
    all_ = [x for x in own + read if not chosen or chosen.first <= x[0] <= chosen.last]
    return [key for _, _, key in sorted(all_, reverse=view.sort == "newest")]


VIEWS = [
    View(),
    View(sort="oldest"),
    View(month="2025-12"),
    View(week="2025-W52", sort="oldest"),
    View(day="2025-12-22"),
    View(day="2025-12-22", sort="oldest"),
    View(verdict="not built"),
    View(verdict="fails"),
    View(package="data", sort="oldest"),
    View(package="dynamics", verdict="holds", month="2023-10"),
    View(day="1999-01-01"),
]


def test_pages_are_slices_of_one_sorted_list(site: Site) -> None:
    made = rows(230, 40)
    # Five on the day of a library paper, so that both kinds share a page.
    fill(site, made)
    for view in VIEWS:
        wanted = expected(site, made, view)
        for per_page in (1, 7, 20) if len(wanted) < 60 else (7, 20):
            assert every(site, view, per_page) == wanted, (view, per_page)


def test_counts_of_a_day_show_at_once_after_papers_were_fetched(site: Site) -> None:
    before = feed.items_page(site, View())[1]
    fill(site, rows(5, 2))
    assert feed.items_page(site, View())[1] == before + 5
    assert feed.calendar(site, View()).counts["2025-12-31"] == 3


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.booleans())
def test_a_place_is_the_day_and_number_that_walking_finds(counts: list[int], newest: bool) -> None:
    calendar = Calendar({f"2026-01-{2 * i + 1:02d}": n for i, n in enumerate(counts)})
    walked = [
        (day, i)
        for day in sorted(calendar.counts, reverse=newest)
        for i in range(calendar.counts[day])
    ]
    assert [calendar.place(i, newest) for i in range(calendar.total)] == walked


@given(st.dates(date(1000, 1, 1), date(9998, 12, 31)), st.sampled_from(["day", "week", "month"]))
def test_a_period_around_a_day_holds_it(day: date, kind: str) -> None:
    found = around(kind, day.isoformat())
    assert found.first <= day.isoformat() <= found.last
    assert period(kind, found.name) == found and found.words and found.short


def test_neighbours_are_the_nearest_periods_with_papers() -> None:
    calendar = Calendar({"2024-12-30": 1, "2025-01-05": 1, "2025-03-01": 2})
    week = period("week", "2025-W01")  # both of the first two days
    assert [p and p.name for p in calendar.neighbours(week)] == [None, "2025-W09"]
    assert week.words == "week 1, 30 December 2024 to 5 January 2025"
    empty = period("month", "2025-02")
    assert [p and p.name for p in calendar.neighbours(empty)] == ["2025-01", "2025-03"]


WRONG = [
    "day=2026-02-30", "day=20260222", "day=2026-W01-1", "week=2026-W54", "week=0000-W01",
    "week=9999-W52", "month=2026-13", "month=0000-01", "day=%00", "day=x%22%3E%3Cscript%3E",
    "page=0", "page=-1", "page=x", "page=%C2%B2", "page=99999999999999999999", "page=1e3",
    "sort=best", "package=nope", "verdict=holds%27--", "verdict=%FF%FE",
    "day=2026-11-22&month=2026-11",
]  # fmt: skip


def test_wrong_addresses_say_what_would_be_right(client: TestClient) -> None:
    for query in WRONG:
        made = client.get(f"/?{query}")
        assert made.status_code == 422, query
        assert "Expected:" in made.text and "<script>" not in made.text.partition("</head>")[2]


def test_empty_and_unknown_parameters_are_passed_over(client: TestClient) -> None:
    made = client.get("/?package=&verdict=&day=&page=&utm_source=x")
    assert made.status_code == 200 and made.text.count('<li class="card') == feed.PER_PAGE


def test_a_page_behind_the_last_says_how_many_there_are(client: TestClient) -> None:
    made = client.get("/?page=400")
    assert made.status_code == 404 and "There are 3 pages" in made.text


def test_following_next_shows_each_paper_once(client: TestClient, site: Site) -> None:
    address, seen, back = "/?sort=oldest&verdict=not+built", [], []
    while address:
        text = client.get(address).text
        seen += re.findall(r'<li class="card[^"]*" id="p-([^"]+)"', text)
        found = re.search(r'<link rel="next" href="([^"]+)">', text)
        back.append('rel="prev"' in text)
        address = found[1].replace("&amp;", "&") if found else ""
    assert seen == expected(site, [], View(sort="oldest", verdict="not built"))
    assert back == [False, *[True] * (len(back) - 1)]


def test_dates_lead_only_to_days_with_papers(client: TestClient) -> None:
    text = client.get("/?day=2025-08-08").text  # two papers, of which one is measured
    assert 'href="/?day=2025-07-29"' in text and 'href="/?day=2025-09-25"' in text
    text = client.get("/?day=2025-08-08&verdict=holds").text
    assert 'href="/?day=2025-06-09&amp;verdict=holds"' in text
    assert 'href="/?day=2025-12-22&amp;verdict=holds"' in text
    assert "No paper is like that" in client.get("/?day=2025-08-07").text


def test_titles_are_words_and_not_markup(client: TestClient, site: Site) -> None:
    made = rows(1, 1)[0] | {"title": "<script>alert(1)</script>", "organization": '"><b>'}
    fill(site, [made | {"abstract": "a" * 400 + " <img src=x onerror=alert(1)> b"}])
    text = client.get("/").text
    assert "<script>alert" not in text and "<img src=x" not in text and '"><b>' not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_an_abstract_is_cut_between_words() -> None:
    assert shortened("x" * 500, 420) == "x" * 420 + "…"
    assert shortened("word " * 100, 420).endswith("word…")


def test_trending_is_the_stated_sum(site: Site) -> None:
    now = 1_800_000_000.0 // 3600 * 3600
    own = next(iter(site.library.items))
    fill(site, made := rows(3, 1))
    key = made[0]["arxiv"]
    with site.database.write() as connection:
        connection.execute(
            insert(votes),
            [{"paper": own, "voter": f"v{i}", "at": now - 7 * DAY_S} for i in range(4)]
            + [{"paper": key, "voter": "v", "at": now}]
            + [{"paper": key, "voter": "w", "at": now - 14 * DAY_S}]
            + [{"paper": "2401.99999", "voter": "v", "at": now}]  # not here any more
            + [{"paper": made[1]["arxiv"], "voter": "v", "at": now - 60 * DAY_S}],
        )
        job = {"slug": "data_diet", "scale": "tiny", "created_at": now}
        connection.execute(
            insert(jobs),
            [job | {"state": state, "finished_at": now} for state in ("done", "failed")],
        )
        seen = {"slug": "wide_cnn", "verdict": "holds", "version": "1", "scale": "small"}
        connection.execute(
            insert(verdicts),
            [seen | {"claim": c, "code_hash": "x", "seen_at": now - 7 * DAY_S} for c in "abc"]
            # There from the beginning, so it is no news.
            + [seen | {"slug": own, "claim": "a", "code_hash": "x", "seen_at": now - 8 * DAY_S}],
        )
    found = feed.trending(site, now)
    assert [k for k, _ in found] == [own, "data_diet", "wide_cnn", key]
    assert [s for _, s in found] == pytest.approx([2.0, 2.0, 1.5, 1.25])
    later = dict(feed.trending(site, now + 7 * DAY_S))
    assert later["data_diet"] == pytest.approx(1.0)


def test_trending_page_filters_and_shows_its_formula(client: TestClient, site: Site) -> None:
    fill(site, made := rows(2, 1))
    now = time.time()
    papers = (("data_diet", 3), (made[0]["arxiv"], 2), ("symbolic_nets", 1))
    with site.database.write() as connection:
        connection.execute(
            insert(votes),
            [{"paper": p, "voter": f"v{i}", "at": now} for p, n in papers for i in range(n)],
        )
        connection.execute(
            insert(comments),
            [
                {"paper": "data_diet", "name": "", "text": "", "author": "", "state": s, "at": now}
                for s in ("shown", "shown", "held")
            ],
        )
    voted = [p for p, _ in papers]

    def shown(query: str) -> list[str]:
        text = client.get(f"/?sort=trending{query}").text
        found = re.findall(r'<li class="card[^"]*" id="p-([^"]+)"', text)
        return [p for p in found if p in voted]

    assert shown("") == voted
    assert shown("&verdict=not+built") == voted[1:]
    assert shown("&package=data") == voted[:1]
    assert shown("&month=2025-12") == [made[0]["arxiv"]]
    text = client.get("/?sort=trending").text
    assert "How papers trend" in text and "/ 7 days" in text
    assert "2 comments" in text  # what the operator holds back is not counted
    assert "<span>3</span>" in text


def test_item_is_found_by_slug_and_number(site: Site) -> None:
    fill(site, made := rows(1, 1))
    number = made[0]["arxiv"]
    for key, wanted in (
        ("data_diet", "data_diet"), ("2107.07075", "data_diet"), ("2107.07075v9", "data_diet"),
        (number, number), (f"{number}v2", number), ("nope", None), ("\0", None), ("9" * 5000, None),
    ):  # fmt: skip
        found = feed.item(site, key)
        assert (found.key if found else None) == wanted


def test_views_survive_their_own_address() -> None:
    for view in VIEWS:
        text = view.query(3).removeprefix("?").replace("+", " ")
        asked = dict(part.split("=") for part in text.split("&"))
        assert view_of(asked, ("data", "dynamics")) == (view, 3)
    with pytest.raises(InputError, match="one of"):
        view_of({"package": "data"}, ())


def test_no_page_reads_past_more_papers_than_its_day_has(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(site, rows(3000, 300))  # ten a day
    feed.items_page(site, View())  # counts the days once
    told: list[str] = []
    passed: list[int] = []
    event.listen(site.database.engine, "before_cursor_execute", lambda *a: told.append(a[2]))
    real = by_date

    def watched(connection: Any, first: str, last: str, newest: bool, *rest: int) -> list[Item]:
        passed.append(rest[0])
        return real(connection, first, last, newest, *rest)

    monkeypatch.setattr(feed.fetched, "by_date", watched)
    for page in range(1, 151, 10):
        for sort in ("newest", "oldest"):
            del told[:]
            items, _ = feed.items_page(site, View(sort=sort), page)
            assert len(items) == feed.PER_PAGE
            assert len([t for t in told if "fetched" in t]) == 1
    assert len(passed) == 30 and max(passed) < 12
