"""Comments: what strangers write is shown without harm, and never lost on the way."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from heldout.core.errors import InputError
from heldout.serve import moderate
from heldout.serve.routes import comments as route
from heldout.serve.site import Site
from heldout.serve.storage import comments
from heldout.serve.storage.database import StorageError

from .one_paper import PAPER, token
from .one_paper import comments_of as kept

pytestmark = pytest.mark.one_paper


def send(client: TestClient, mark: str = "", address: str = "192.0.2.1", **fields: str) -> Any:
    return client.post(
        PAPER + "/comments", data={"form_token": mark or token(client), **fields},
        headers={"x-forwarded-for": address}, follow_redirects=False,
    )  # fmt: skip


def typed(page: str) -> str:
    return unescape(re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[0])


def test_a_comment_is_shown_under_its_own_address(site: Site, client: TestClient) -> None:
    begun = time.time()
    first = send(client, name=" Ada \u202e\n", text="*one* <b>")
    assert first.status_code == 303
    assert first.headers["location"] == f"{PAPER}#comment-{kept(site)[0].id}"
    send(client, text="two")
    newest, oldest = kept(site)
    assert (oldest.name, oldest.text, newest.name) == ("Ada", "*one* <b>", "")
    assert begun <= oldest.at <= newest.at <= time.time()
    for path in (PAPER, PAPER + "/comments", "/papers/2107.07075/comments"):
        page = client.get(path).text
        anchors = re.findall(r'id="(comment-\d+)"', page)
        assert anchors == [f"comment-{oldest.id}", f"comment-{newest.id}"]
        assert "<em>one</em> &lt;b&gt;" in page and f'datetime="{oldest.iso}"' in page
        assert "today" in page and "Somebody" in page


def test_a_preview_keeps_nothing_and_the_text(site: Site, client: TestClient) -> None:
    made = send(client, name="Ada", text='**bold** & "more"', preview="yes")
    assert made.status_code == 200
    assert "<strong>bold</strong>" in made.text and 'value="Ada"' in made.text
    assert typed(made.text) == '**bold** & "more"'
    assert kept(site) == []


def test_what_cannot_be_kept_comes_back(site: Site, client: TestClient) -> None:
    for name, text, says in (
        ("Ada", "", "no text yet"), ("Ada", " \u200b\u3164\n", "no text yet"),
        ("", "x" * 5001, "5,001 characters; 5,000 are the most"), ("n" * 61, "x", "61 characters"),
    ):  # fmt: skip
        made = send(client, name=name, text=text)
        assert made.status_code == 422 and says in made.text and 'role="alert"' in made.text
        assert typed(made.text) == text and f'value="{name}"' in made.text
    assert kept(site) == []


def test_the_longest_comment_fits(site: Site, client: TestClient) -> None:
    assert send(client, text="\U0001f642" * 5000).status_code == 303
    assert len(kept(site)[0].text) == 5000


def test_a_form_without_its_token_gives_the_text_back(site: Site, client: TestClient) -> None:
    made = send(client, mark="0" * 32, text="long thoughts")
    assert made.status_code == 403 and typed(made.text) == "long thoughts"
    assert kept(site) == []
    again = re.findall(r'name="form_token" value="([0-9a-f]{32})"', made.text)
    assert send(client, mark=again[-1], text="long thoughts").status_code == 303


def test_too_many_from_one_network_get_their_text_back(site: Site, client: TestClient) -> None:
    for number in range(5):
        client.cookies.clear()
        assert send(client, text=f"text {number}").status_code == 303
    made = send(client, text="one more")
    assert made.status_code == 429 and typed(made.text) == "one more"
    assert 0 < int(made.headers["retry-after"]) <= 600
    assert send(client, text="elsewhere", address="192.0.2.2").status_code == 303
    assert len(kept(site)) == 6


def test_a_comment_that_is_sent_twice_is_kept_once(site: Site, client: TestClient) -> None:
    mark = token(client)
    made = {send(client, mark, text="the same").headers["location"] for _ in range(3)}
    assert len(made) == 1 and len(kept(site)) == 1
    client.cookies.clear()
    send(client, text="the same")  # of another visitor
    assert len(kept(site)) == 2


def test_a_database_that_fails_gives_the_text_back(
    site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = token(client)

    def gone(*_: Any, **__: Any) -> None:
        raise StorageError("gone")

    monkeypatch.setattr(site.database, "write", gone)
    made = send(client, mark, text="precious")
    assert made.status_code == 503 and typed(made.text) == "precious"
    assert made.headers["retry-after"]
    monkeypatch.setattr(site.database, "read", gone)
    made = client.post("/papers/2107.99999/comments", data={"form_token": mark, "text": "precious"})
    assert made.status_code == 503 and typed(made.text) == "precious"


def test_comments_wait_for_the_operator_where_strangers_come(
    site: Site, client: TestClient
) -> None:
    site.parts["comments mode"] = "held"
    before = client.get(PAPER).text
    made = send(client, text="waits")
    assert made.headers["location"] == PAPER + "/comments?sent=held"
    assert "when the operator has read it" in client.get(made.headers["location"]).text
    assert client.get(PAPER).text.count("comment-") == before.count("comment-")
    site.parts["comments mode"] = "closed"
    assert send(client, text="no").status_code == 403
    assert [c.state for c in kept(site)] == ["held"]


def test_the_operator_chooses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    here, everywhere, public = "127.0.0.1", "0.0.0.0", "https://papers.example.org"
    for host, url, said, expected in (
        (here, "", "", "open"), (everywhere, "", "", "held"), (everywhere, "", "Open", "open"),
        (here, "", "closed", "closed"), (here, public, "", "held"),
    ):  # fmt: skip
        monkeypatch.setenv("HELDOUT_COMMENTS", said)
        site.settings = replace(site.settings, host=host, url=url, proxies=0)
        route.prepare(site)
        assert site.parts["comments mode"] == expected
    monkeypatch.setenv("HELDOUT_COMMENTS", "perhaps")
    with pytest.raises(InputError, match="open, held or closed"):
        route.prepare(site)


def test_many_comments_come_in_pages(site: Site, client: TestClient) -> None:
    with site.database.write() as connection:
        ids = [
            comments.add(connection, "data_diet", "", f"text {i}", f"{i}:", i) for i in range(60)
        ]
        long = [
            comments.add(connection, "data_diet", "", "x" * 5000, f"l{i}:", i) for i in range(9)
        ]
    every = ids + long
    shown = [int(n) for n in re.findall(r'id="comment-(\d+)"', client.get(PAPER).text)]
    assert shown == every[-len(shown) :] and 8 <= len(shown) <= 9
    seen = shown
    while "Earlier comments" in (page := client.get(f"{PAPER}/comments?before={seen[0]}").text):
        seen = [int(n) for n in re.findall(r'id="comment-(\d+)"', page)] + seen
    seen = [int(n) for n in re.findall(r'id="comment-(\d+)"', page)] + seen
    assert seen == every
    for odd in ("x", "-1", "9" * 30, "²"):
        assert client.get(f"{PAPER}/comments?before={odd}").status_code == 200


def test_times_are_told_in_both_ways() -> None:
    def ago(days: float) -> str:
        made = comments.Comment(1, "", "", "", "", "shown", 1_000_000 * 86400.0)
        return made.ago((1_000_000 + days) * 86400)

    expected = {0: "today", 0.9: "today", 1: "yesterday", 6: "6 days ago", 7: "1 week ago",
                20: "2 weeks ago", 31: "1 month ago", 400: "1 year ago", -3: "today"}  # fmt: skip
    assert {days: ago(days) for days in expected} == expected


def run(site: Site, *arguments: str) -> int:
    return moderate.run([*arguments, "--data", str(site.settings.data), "--database",
                         site.settings.database_url])  # fmt: skip


def test_an_operator_moderates_while_the_page_is_served(
    site: Site, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    send(client, name="Eve", text="buy\n\nthis")
    number = str(kept(site)[0].id)
    assert "buy" in client.get(PAPER).text
    assert run(site, "list") == 0
    line = capsys.readouterr().out
    assert re.search(rf"\b{number}  shown  .*data_diet  [0-9a-f]{{12}}  Eve: buy this", line)
    for action, state in (("hold", "held"), ("show", "shown"), ("remove", "removed")):
        assert run(site, action, number) == 0
        assert kept(site)[0].state == state
        until = time.monotonic() + 60  # another process's change shows after a second
        while ("buy" in client.get(PAPER).text) != (state == "shown"):
            assert time.monotonic() < until
            time.sleep(0.1)
    assert run(site, "list", "--state", "shown") == 0
    assert capsys.readouterr().out.strip().endswith("No comments.")


def test_an_author_is_shut_out_and_let_in_again(
    site: Site, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    send(client, text="one")
    send(client, text="two")
    cookies = dict(client.cookies)
    author = kept(site)[0].author
    client.cookies.clear()
    send(client, text="of another", address="192.0.2.2")
    assert run(site, "ban", author[:12]) == 0
    assert "2 comments removed" in capsys.readouterr().out
    assert run(site, "ban", author[:12]) == 0  # a second time changes nothing
    assert [c.state for c in kept(site)] == ["shown", "removed", "removed"]
    made = send(client, text="fresh cookie")  # of the same network
    assert made.status_code == 403 and typed(made.text) == "fresh cookie"
    client.cookies.clear()
    client.cookies.update(cookies)
    assert send(client, text="other network", address="192.0.2.3").status_code == 403
    assert run(site, "list") == 0
    assert f"{author[:12]}" in capsys.readouterr().out.splitlines()[-1]
    assert run(site, "unban", author[:12]) == 0
    assert send(client, text="again", address="192.0.2.3").status_code == 303


def test_an_operator_is_told_what_was_wrong(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status, says in (
        (["hold", "999"], 1, "no such comment: 999"), (["ban", "0123456789ab"], 1, "no author"),
        (["ban", "xyz"], 2, "hexadecimal"), (["hold", "abc"], 2, "not the number of a comment"),
        (["hold", "9" * 40], 2, "not the number"), (["ban", "%%%%%%%%"], 2, "hexadecimal"),
        (["nothing"], 2, "invalid choice"), (["list", "--most", "0"], 2, "from 1"),
    ):  # fmt: skip
        assert run(site, *arguments) == status
        assert says in capsys.readouterr().err
    assert moderate.run([]) == 2


def test_a_folder_without_a_page_is_named(
    site: Site, tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELDOUT_DATABASE", raising=False)
    assert moderate.run(["list", "--data", str(tmp_path / "none")]) == 2
    assert "without a database" in capsys.readouterr().err
