"""Paging: whatever happens to the list between two requests, nothing is lost or doubled."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.serve.fetch.arxiv import Paging, Reading, feed
from heldout.serve.fetch.client import Client
from heldout.serve.fetch.pace import FetchError

from .fake_feeds import ATOM, Answer, Feeds, atom, paper, serving

SMALL = Paging(size=6, overlap=2, deepest=1000)


def read(feeds: Feeds, folder: Path, paging: Paging = SMALL, since: date = date(2026, 11, 1)):
    with serving(feeds) as address:
        environment = {"HELDOUT_ARXIV_URL": f"{address}/api/query", "HELDOUT_FETCH_PAUSE": "0"}
        client = Client(folder, first_wait=0.0, sleep=lambda s: None)
        reading = Reading(client, feed(environment), "all:x", since, paging)
        try:
            return [item for page in reading.pages() for item in page]
        finally:
            client.close()


def test_all_pages_are_read_newest_first(tmp_path: Path) -> None:
    feeds = Feeds([paper(i) for i in range(40)])
    found = read(feeds, tmp_path)
    assert [item.key for item in found] == [f"2611.{i:05d}" for i in range(40, 0, -1)]
    asked = [r[2] for r in feeds.requests]
    assert {a["sortBy"] for a in asked} == {"submittedDate"}
    assert asked[0]["search_query"] == "(all:x) AND submittedDate:[202611010000 TO 209912312359]"


def test_deep_lists_are_read_by_moving_the_range_of_dates(tmp_path: Path) -> None:
    feeds = Feeds([paper(i // 3, number=f"2611.{i:05d}") for i in range(200)])  # three a time
    found = read(feeds, tmp_path, Paging(size=10, overlap=2, deepest=30))
    assert sorted(item.key for item in found) == [f"2611.{i:05d}" for i in range(200)]
    assert max(int(r[2]["start"]) for r in feeds.requests) <= 40


def test_reading_stops_at_the_first_day_even_if_the_server_ignores_ranges(tmp_path: Path) -> None:
    class Deaf(Feeds):
        def arxiv(self, given):
            return super().arxiv({**given, "search_query": ""})

    feeds = Deaf([paper(i) for i in range(24 * 10)])
    found = read(feeds, tmp_path, since=date(2026, 11, 9))
    assert {item.at.day for item in found} == {9, 10} and len(found) == 48
    assert len(feeds.requests) < 40


@st.composite
def changes(draw):
    """A list, and for some requests what happens just before: arrivals, departures, new versions,
    and pages that are empty or short."""
    n = draw(st.integers(0, 40))
    plan = draw(
        st.dictionaries(
            st.integers(1, 14),
            st.tuples(
                st.sampled_from(["arrive", "late", "leave", "version", "empty", "short"]),
                st.integers(1, 9),
                st.integers(0, 10_000),
            ),
            max_size=6,
        )
    )
    return n, plan


def scripted(n: int, plan: dict[int, tuple[str, int, int]]) -> tuple[Feeds, set[str]]:
    """The feeds, and the set of numbers that stay throughout (it shrinks while it is read)."""
    feeds = Feeds([paper(3 * i) for i in range(n)])
    staying = {p.number for p in feeds.papers}
    fresh = iter(range(10_000))

    def before(request: int, feeds: Feeds) -> Answer | None:
        what, count, where = plan.get(request, ("", 0, 0))
        here = feeds.papers
        if what == "arrive":  # at the top
            here += [paper(500 + next(fresh)) for _ in range(count)]
        elif what == "late":  # announced days after it was submitted: anywhere
            for _ in range(count):
                new = paper((where * 3 + 1) % (3 * n + 3), number=f"2612.{next(fresh):05d}")
                here.append(new)
        elif what == "leave" and here:
            newest = sorted(here, key=lambda p: p.at, reverse=True)
            gone = newest[where % len(here) : where % len(here) + count]
            staying.difference_update(p.number for p in gone)
            feeds.papers = [p for p in here if p not in gone]
        elif what == "version" and here:
            p = here[where % len(here)]
            here[here.index(p)] = paper(0, number=p.number, at=p.at, version=p.version + 1)
        elif what in ("empty", "short"):
            whole = feeds.arxiv(feeds.requests[-1][2]).content
            head, *entries = whole.split(b"  <entry>")
            left = entries[: where % max(len(entries), 1)] if what == "short" else []
            return Answer(b"  <entry>".join([head, *left]).rstrip().removesuffix(b"</feed>")
                          + b"</feed>", ATOM)  # fmt: skip
        return None

    feeds.before = before
    return feeds, staying


@settings(max_examples=40, deadline=None)
@given(changes())
def test_whatever_changes_meanwhile_nothing_is_lost_or_doubled(script) -> None:
    n, plan = script
    feeds, staying = scripted(n, plan)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(feeds, Path(folder))
        except FetchError:
            assert not feeds.papers  # a list that is empty all at once is not believed
            return
    keys = {item.key for item in found}
    assert staying <= keys
    # Again only with a newer version.
    assert max(Counter((i.key, i.entry.version) for i in found).values(), default=1) == 1


def test_papers_that_arrive_at_the_top_meanwhile_are_read_too(tmp_path: Path) -> None:
    feeds, _ = scripted(30, {3: ("arrive", 4, 0)})
    assert len(read(feeds, tmp_path)) == 34


def test_a_client_that_only_adds_up_would_lose_entries() -> None:
    """The negative: the plan that the property is about does hurt who pages plainly."""
    feeds, staying = scripted(30, {2: ("leave", 4, 0)})
    found: set[str] = set()
    for start in range(0, 30, 6):
        feeds.requests.append((0.0, "", {}, {}))
        feeds.before(len(feeds.requests) - 1, feeds)
        content = feeds.arxiv({"start": str(start), "max_results": "6"}).content.decode()
        found |= {p.number for p in feeds.papers if f"abs/{p.number}v" in content}
    assert staying - found


def test_an_empty_list_that_should_not_be_is_an_error_and_not_an_end(tmp_path: Path) -> None:
    feeds = Feeds([paper(i) for i in range(20)])
    feeds.before = lambda n, f: Answer(atom([], 20)) if n >= 2 else None
    with pytest.raises(FetchError, match="counts 20"):
        read(feeds, tmp_path)
    feeds = Feeds([paper(i) for i in range(20)])
    feeds.before = lambda n, f: Answer(atom([], 0)) if n >= 2 else None
    with pytest.raises(FetchError, match="0 entries from"):
        read(feeds, tmp_path)


def test_an_empty_first_page_is_believed_the_second_time(tmp_path: Path) -> None:
    feeds = Feeds([paper(0)])
    feeds.before = lambda n, f: Answer(atom([], 0)) if n == 0 else None
    assert len(read(feeds, tmp_path)) == 1
    nothing = Feeds([])
    assert read(nothing, tmp_path / "other") == [] and len(nothing.requests) == 2


def test_a_list_that_never_holds_still_is_given_up(tmp_path: Path) -> None:
    feeds = Feeds([paper(i) for i in range(200)])

    def before(n: int, f: Feeds) -> None:
        f.papers = sorted(f.papers, key=lambda p: p.at)[:-8]

    feeds.before = before
    with pytest.raises(FetchError, match="changes faster"):
        read(feeds, tmp_path, Paging(size=6, overlap=2, most_steps_back=5))
