"""Votes: one for each visitor and paper whatever is sent, and few for each network."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.serve.site import Site
from heldout.serve.storage import votes

from .one_paper import PAPER, token

pytestmark = pytest.mark.one_paper


def vote(client: TestClient, mark: str = "", address: str = "", **fields: str) -> Any:
    headers = {"x-forwarded-for": address} if address else {}
    data = {"form_token": mark or token(client), **fields}
    return client.post(PAPER + "/vote", data=data, headers=headers, follow_redirects=False)


def counted(site: Site) -> int:
    with site.database.read() as connection:
        return votes.count(connection, ["data_diet"]).get("data_diet", 0)


def test_a_vote_is_kept_once_and_taken_back_once(site: Site) -> None:
    with site.database.write() as connection:
        assert [votes.cast(connection, "a", v, 1.0) for v in ("x", "x", "y")] == [True, False, True]
        assert votes.cast(connection, "b", "x", 1.0)
    with site.database.write() as connection:
        assert votes.count(connection, [*map(str, range(1200)), "a", "b"]) == {"a": 2, "b": 1}
        assert [votes.withdraw(connection, "a", "x") for _ in range(2)] == [True, False]
        assert [votes.has(connection, "a", v) for v in ("x", "y")] == [False, True]
        assert votes.count(connection, []) == {}


def test_of_many_at_the_same_time_one_vote_is_kept(site: Site) -> None:
    def cast(number: int) -> bool:
        with site.database.write() as connection:
            return votes.cast(connection, "data_diet", "one voter", float(number))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(cast, range(24))) == 1
    assert counted(site) == 1


def test_one_button_gives_the_vote_and_takes_it_back(site: Site, client: TestClient) -> None:
    made = vote(client, back="/?sort=oldest#p-data_diet")
    assert (made.status_code, made.headers["location"]) == (303, "/?sort=oldest#p-data_diet")
    assert counted(site) == 1
    assert re.search(r"<span>1</span>", client.get(PAPER).text)
    assert vote(client).headers["location"] == PAPER  # without a place to go back to
    assert counted(site) == 0


def test_a_form_that_is_sent_twice_counts_once(site: Site, client: TestClient) -> None:
    mark = token(client)
    assert [vote(client, mark).status_code for _ in range(3)] == [303, 303, 303]
    assert counted(site) == 1
    other = token(client)
    assert [vote(client, other).status_code for _ in range(2)] == [303, 303]
    assert counted(site) == 0


def test_who_says_which_way_is_not_turned_around(site: Site, client: TestClient) -> None:
    for wish, expected in (("up", 1), ("up", 1), ("back", 0), ("back", 0), ("up", 1)):
        assert vote(client, vote=wish).status_code == 303
        assert counted(site) == expected


def test_many_sent_at_once_by_one_visitor_are_one_vote(site: Site, client: TestClient) -> None:
    mark = token(client)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: vote(client, mark, vote="up").status_code, range(12)))
    assert set(made) <= {303, 429} and 303 in made
    assert counted(site) == 1


def test_fresh_cookies_do_not_stuff_the_ballot(site: Site, client: TestClient) -> None:
    def fresh(address: str) -> int:
        client.cookies.clear()
        made = vote(client, address=address)
        if made.status_code == 429:
            assert 0 < int(made.headers["retry-after"]) <= 86400
            assert "several people can share one" in made.text
        return int(made.status_code)

    assert [fresh("198.51.100.7") for _ in range(7)] == [303] * 5 + [429] * 2
    # One visitor has the whole /64 of an IPv6 address, and another network is another visitor's.
    assert [fresh(f"2001:db8::{i}") for i in range(1, 8)] == [303] * 5 + [429] * 2
    assert fresh("2001:db8:0:1::1") == 303
    # What stands left of our own proxy's word was written by anybody.
    assert fresh("203.0.113.9, 198.51.100.7") == 429
    assert counted(site) == 11


def test_votes_by_arxiv_number_are_the_papers(site: Site, client: TestClient) -> None:
    mark = token(client)
    for key, status in (("2107.07075v2", 303), ("nothing", 404), ("2107.99999", 404)):
        made = client.post(
            f"/papers/{key}/vote", data={"form_token": mark, "vote": "up"}, follow_redirects=False
        )
        assert made.status_code == status
    assert counted(site) == 1


def test_the_ballot_holds_nothing_of_a_visitor(site: Site, client: TestClient) -> None:
    vote(client, address="198.51.100.7")
    number = client.cookies["heldout_visitor"].partition(".")[0]
    with site.database.read() as connection:
        rows = str(connection.exec_driver_sql("SELECT * FROM votes").all())
    assert "data_diet" in rows and number not in rows and "198.51" not in rows


def test_the_button_says_who_has_voted(client: TestClient) -> None:
    def pressed() -> str:
        found = re.search(r'/vote">.*?aria-pressed="(\w+)"', client.get(PAPER).text, re.DOTALL)
        if found is None:
            pytest.skip("the page's own button has no state")
        return found[1]

    assert pressed() == "false"
    vote(client)
    assert pressed() == "true"
    client.cookies.clear()  # another visitor, who gets the same kept page
    assert pressed() == "false"
