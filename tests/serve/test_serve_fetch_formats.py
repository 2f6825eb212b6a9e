"""What feeds send: read with distrust, cleaned, and refused with reasons."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.serve.fetch import huggingface
from heldout.serve.fetch.arxiv import Reading, feed
from heldout.serve.fetch.atom import Answered, parse
from heldout.serve.fetch.client import Client
from heldout.serve.fetch.entry import ABSTRACT, NAMES, TITLE, Entry, clean, number_of
from heldout.serve.fetch.kept import Reply
from heldout.serve.fetch.pace import FetchError
from heldout.serve.fetch.query import matches
from heldout.serve.fetch.query import parse as parse_query
from heldout.serve.fetch.transport import Unreadable

from .fake_feeds import Answer, Feeds, atom, error_page, paper, serving


def only(content: bytes) -> object:
    (item,) = parse(content).items
    return item


def test_an_entry_is_read_whole() -> None:
    made = paper(5, version=3, affiliation=" Lakeside  Labs ", title="A\n  $\\beta$-VAE & <b>x</b>")
    found = only(atom([made], 7))
    said = "We study $\\alpha$ & generalization in nets."
    assert found.entry == Entry(
        "2611.00006", 3, "A $\\beta$-VAE & <b>x</b>", said, 2, "2026-11-01",
        "Ada Lind, Omar Ito", "Lakeside Labs", "cs.LG stat.ML",
    )  # fmt: skip
    assert parse(atom([made], 7)).total == 7 and found.at == made.at


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("cs/0112017", ("cs/0112017", 0)),
        ("http://arxiv.org/abs/math.GT/0309136v12", ("math/0309136", 12)),
        ("https://arxiv.org/abs/0704.0001v1", ("0704.0001", 1)),
        ("arXiv:2401.00001v2", ("2401.00001", 2)),
        ("2401.00001v0", None),
        ("2401.001", None),
        ("٢٤٠١.00001", None),
        ("../../etc/passwd", None),
        ("http://arxiv.org/abs/2401.00001v2?x=<script>", None),
        ("javascript:2401.00001", None),
        ("", None),
    ],
)
def test_numbers(given: str, number: object) -> None:
    assert number_of(given) == number


def test_text_is_cleaned_and_bounded() -> None:
    made = atom([paper(0, title="A\u202eB\u0007&#8203;" + "long " * 500, abstract="word " * 9000,
                       authors=tuple(f"Author {i}" for i in range(3000)))], 1)  # fmt: skip
    entry = only(made.replace(b"&amp;#8203;", b"&#8203;&#7;&#x1F;\x01")).entry
    assert entry.title.startswith("ABlong long") and len(entry.title) <= TITLE
    assert entry.title.endswith("…") and len(entry.abstract) <= ABSTRACT
    assert entry.authors == 3000 and len(entry.names) <= NAMES and entry.names.endswith("…")
    assert clean("\ud800\x00\ufeff e\u0301 ", 9) == "é"


@given(st.text(max_size=300), st.integers(1, 60))
def test_cleaning_is_bounded_and_settles(text: str, most: int) -> None:
    once = clean(text, most)
    assert len(once) <= most and clean(once, most) == once
    assert once == once.strip() and all(c.isprintable() or c in "\u200c\u200d" for c in once)


def test_what_cannot_be_an_entry_is_refused_with_its_reason() -> None:
    page = atom([paper(i) for i in range(4)], 4)
    page = page.replace(b"abs/2611.00001v1</id>", b"abs/nonsense</id>")
    page = page.replace(b"<title>Paper 1</title>", b"<title> </title>")
    page = page.replace(b"<published>2026-11-01T02", b"<published>soon-ish 02")
    found = parse(page).items
    assert [i.reason for i in found] == [
        "no arXiv number", "no title", "no date that can be read", "",
    ]  # fmt: skip
    assert [i.key for i in found][1:] == ["2611.00002", "2611.00003", "2611.00004"]


def test_withdrawn_papers_are_marked() -> None:
    marked = ["withdrawn", "This paper has been withdrawn by the author", "Withdrawn by arXiv"]
    for comment in marked:
        assert only(atom([paper(0, comment=comment)], 1)).entry.withdrawn
    assert only(atom([paper(0, abstract="This paper has been withdrawn due to an error")], 1)
                ).entry.withdrawn  # fmt: skip
    fine = paper(0, comment="12 pages", abstract="We study how a drug is withdrawn from a market.")
    assert not only(atom([fine], 1)).entry.withdrawn


BOMB = b"""<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<feed xmlns="http://www.w3.org/2005/Atom"><title>&c;</title></feed>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<feed xmlns="http://www.w3.org/2005/Atom"><title>&x;</title></feed>"""
DTD = (
    b'<!DOCTYPE feed SYSTEM "http://evil.example/x.dtd"><feed xmlns="http://www.w3.org/2005/Atom"/>'
)


@pytest.mark.parametrize("content", [BOMB, OUTSIDE, DTD])
def test_entities_and_document_types_are_refused_at_once(content: bytes) -> None:
    with pytest.raises(FetchError, match="entities or a document type"):
        parse(content)


def test_what_is_no_whole_atom_is_worth_another_try() -> None:
    whole = atom([paper(0)], 1)
    cuts = [whole[:n] for n in range(0, len(whole) - 2, 97)]
    hidden = BOMB.decode().replace('"1.0"', '"1.0" encoding="utf-16"').encode("utf-16")
    others = [b"<html/>", b"\xff\xfe<\x00", hidden, whole.replace(b">1</open", b">many</open"),
              b"<feed/>", b"<a>" * 5000]  # fmt: skip
    for content in cuts + others:
        with pytest.raises(Unreadable):
            parse(content)


def test_error_entries_are_not_papers_but_a_paper_may_be_called_error() -> None:
    with pytest.raises(Answered, match="incorrect id format for 1234"):
        parse(error_page("incorrect id format for 1234"))
    assert only(atom([paper(0, title="Error")], 1)).entry.title == "Error"


@pytest.mark.parametrize("status", [200, 400])
def test_arxivs_own_refusal_is_the_users_to_mend(tmp_path: Path, status: int) -> None:
    feeds = Feeds(before=lambda n, f: Answer(error_page("bad <query>"), status=status))
    with serving(feeds) as address:
        source = feed({"HELDOUT_ARXIV_URL": f"{address}/query", "HELDOUT_FETCH_PAUSE": "0"})
        with pytest.raises(InputError, match="arXiv refuses: bad <query>"):
            list(Reading(Client(tmp_path), source, "x", date(2026, 11, 1)).pages())
    assert len(feeds.requests) == 1


def daily(items: object) -> list:
    return huggingface.parse(Reply("", json.dumps(items).encode(), "application/json", 0.0))


def test_a_daily_paper_is_read_whole_and_others_refused() -> None:
    inner = {"id": "2611.00001", "title": "A\nb", "summary": " S ", "authors": [{"name": "Ada"}, 3],
             "publishedAt": "2026-11-01T22:00:00.000Z"}  # fmt: skip
    found = daily([
        {"paper": inner, "organization": {"name": "n", "fullname": "Open Group"}},
        {"paper": {**inner, "organization": "Plain", "authors": None}},
        {"paper": {**inner, "title": 5}}, {"paper": {**inner, "publishedAt": "x"}},
        {"paper": [1]}, "x", None, {},
    ])  # fmt: skip
    first = Entry("2611.00001", 0, "A b", "S", 1, "2026-11-01", "Ada", "Open Group",
                  source="huggingface")  # fmt: skip
    assert found[0].entry == first
    assert (found[1].entry.organization, found[1].entry.authors) == ("Plain", 0)
    assert [f.reason for f in found[2:]] == [
        "no title", "no date that can be read", *["no arXiv number"] * 4,
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"[", b'{"error": "x"}', b"3", b"[" * 99999, b"\xff"])
def test_what_is_no_list_of_daily_papers_is_worth_another_try(content: bytes) -> None:
    with pytest.raises(Unreadable):
        huggingface.parse(Reply("", content, "application/json", 0.0))


def days(feeds: Feeds, folder: Path, since: date, today: date, size: int = 100) -> list[str]:
    with serving(feeds) as address:
        source = huggingface.feed(
            {"HELDOUT_HUGGINGFACE_URL": f"{address}/daily", "HELDOUT_FETCH_PAUSE": "0"}
        )
        client = Client(folder, first_wait=0.0, sleep=lambda s: None)
        pages = list(huggingface.days(client, source, since, today, size))
        client.close()
    return [item.key for page in pages for item in page]


def test_days_are_read_one_by_one_and_long_ones_until_nothing_is_new(tmp_path: Path) -> None:
    feeds = Feeds([paper(i) for i in range(60)])
    found = days(feeds, tmp_path, date(2026, 11, 2), date(2026, 11, 3), size=5)
    assert sorted(found) == [f"2611.{i:05d}" for i in range(25, 61)]

    def votes(n: int, f: Feeds) -> None:  # the order changes between pages
        if n in (2, 3):
            f.papers = f.papers[7:] + f.papers[:7]

    feeds = Feeds([paper(i) for i in range(24)], before=votes)
    found = days(feeds, tmp_path / "b", date(2026, 11, 1), date(2026, 11, 1), size=5)
    assert sorted(found) == [f"2611.{i:05d}" for i in range(1, 25)]


def test_a_server_without_pages_and_a_day_that_has_not_begun(tmp_path: Path) -> None:
    class Whole(Feeds):
        def huggingface(self, given):
            return super().huggingface({**given, "p": "0"})

    feeds = Whole([paper(i) for i in range(5)])
    assert len(days(feeds, tmp_path, date(2026, 11, 1), date(2026, 11, 1), size=5)) == 5
    assert len(feeds.requests) < 6
    early = Feeds(before=lambda n, f: Answer(b'{"error": "date"}', "application/json", 400))
    today = date(2026, 11, 2)
    assert days(early, tmp_path, today, today) == []
    with pytest.raises(FetchError, match='for 2026-11-01: {"error": "date"}'):
        days(early, tmp_path, date(2026, 11, 1), today)


@pytest.mark.parametrize(
    "text",
    ["", " ", "(", ")", "cat:", "AND", "a AND", "a OR OR b", "foo:bar", '"open', "a (b", "ti:ti:a",
     "x" * 1001, "a\x00b", "(" * 30 + "a" + ")" * 30, "ti:?", "[2026"],
)  # fmt: skip
def test_wrong_queries_are_told_before_anybody_is_asked(text: str) -> None:
    with pytest.raises(InputError, match="heldout papers fetch"):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("ti:minima", True), ("ti:minim*", True), ('ti:"flat minima"', True), ("abs:net", True),
        ('ti:"minima flat"', False), ("au:lind AND ti:flat", True), ("ti:sharp OR abs:nets", True),
        ("ti:flat ANDNOT au:lind", False), ("cat:cs.LG", None), ("cat:cs.LG AND ti:sharp", False),
        ("cat:cs.LG OR ti:flat", True), ("ti:(flat OR sharp)", True), ("flat", True),
        ("ti:flat ANDNOT cat:cs.CV", None), ("submittedDate:[202611010000 TO 202612010000]", None),
        ("id:2611.00001", True), ("all:minimal", False),
    ],
)  # fmt: skip
def test_queries_are_asked_of_papers_from_elsewhere(text: str, fits: bool | None) -> None:
    made = Entry("2611.00001", 0, "Flat minima", "Of nets.", 1, "2026-11-01", "Ada Lind")
    assert matches(parse_query(text), made) is fits
