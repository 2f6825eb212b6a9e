"""Subscribing from the page to the mailbox and back, and who tries to misuse it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from heldout.serve.app import create_app
from heldout.serve.mail import links
from heldout.serve.mail.background import make_issue
from heldout.serve.mail.sending import send_due
from heldout.serve.site import Site
from heldout.serve.storage import subscribers as people
from heldout.serve.storage.subscribers import Subscriber
from heldout.serve.storage.tables import deliveries, subscribers

from .conftest import post_form
from .mail_server import Mailbox, add_paper, another, head, rows

ADA = "ada@example.com"


@pytest.fixture
def visitor(mail_site: Site) -> Iterator[TestClient]:
    origin = mail_site.settings.origin
    with TestClient(create_app(mail_site), base_url=origin, raise_server_exceptions=False) as made:
        yield made


def ask(visitor: TestClient, email: str = ADA, period: str = "daily") -> Any:
    return post_form(visitor, "/subscribe", page="/subscribe", email=email, period=period)


def person(site: Site, number: int = 1) -> Any:
    with site.database.read() as connection:
        return connection.execute(select(subscribers).where(subscribers.c.id == number)).first()


def set_person(site: Site, **values: Any) -> None:
    with site.database.write() as connection:
        connection.execute(update(subscribers).values(**values))


def link_in(mail: Any, path: str) -> str:
    found = re.search(rf"https://papers\.example\.org({path}\?t=\S+)", text_of(mail))
    assert found, text_of(mail)
    return found[1]


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content())


def press(visitor: TestClient, link: str, **more: str) -> Any:
    """Open a link and press its button, as a browser does."""
    shown = visitor.get(link).text
    form = re.search(r'<form method="post" action="([^"]+)">(.*?)</form>', shown, re.DOTALL)
    assert form, shown
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[2]))
    return visitor.post(unescape(form[1]), data={**hidden, **more}, follow_redirects=False)


def subscribed(site: Site, visitor: TestClient, mailbox: Mailbox) -> str:
    """Ask and confirm; return the link that confirmed."""
    ask(visitor)
    mailbox.wait(1)
    link = link_in(mailbox.to(ADA)[-1], "/subscribe/confirm")
    assert press(visitor, link).status_code == 200 and person(site).state == "confirmed"
    return link


def digest_to(site: Site, mailbox: Mailbox) -> Any:
    now = time.time()
    add_paper(site, "2611.00001", "Grokking & <b>more</b>", at=now - 3600)
    make_issue(site, "daily", now)
    send_due(site, head(site))
    mailbox.wait(2)
    return mailbox.to(ADA)[-1]


def test_from_the_form_to_the_digest_and_out(
    mail_site: Site, visitor: TestClient, mailbox: Mailbox
) -> None:
    answer = ask(visitor, " Ada@Example.COM ")
    assert answer.status_code == 303 and answer.headers["location"] == "/subscribe/asked"
    assert "Look into your mailbox" in visitor.get("/subscribe/asked").text
    mailbox.wait(1)
    link = link_in(mailbox.to(ADA)[0], "/subscribe/confirm")
    # A program that only opens the link changes nothing.
    shown = visitor.get(link)
    assert shown.status_code == 200 and ADA in shown.text and "<button>" in shown.text
    assert shown.headers["cache-control"] == "private, no-store"
    assert person(mail_site).state == "pending"
    for _ in range(2):
        assert "You are subscribed" in press_again(visitor, link).text
    assert "You are subscribed" in visitor.get(link).text
    mail = digest_to(mail_site, mailbox)
    assert mail["subject"] == "Heldout: 1 new paper" and "Grokking & <b>more</b>" in text_of(mail)
    assert mail["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    leave = link_in(mail, "/unsubscribe")
    assert f"<https://papers.example.org{leave}>" in mail["list-unsubscribe"]
    assert "<button>" in visitor.get(leave).text and person(mail_site).state == "confirmed"
    assert "You have left" in press(visitor, leave).text
    assert person(mail_site).email == f"left:{links.mark(mail_site.secret, ADA)}"
    assert "You have left" in visitor.get(leave).text
    assert visitor.get(link).status_code == 410
    assert ADA not in str(rows(mail_site)) and ADA not in str(person(mail_site))


def press_again(visitor: TestClient, link: str) -> Any:
    # The button of a page that was opened before: its link shows no button any more.
    path, _, token = link.partition("?t=")
    return post_form(visitor, path, page="/subscribe", t=token)


@pytest.mark.parametrize("kind", ["form", "multipart"])
def test_one_click_by_a_mail_program(
    mail_site: Site, visitor: TestClient, mailbox: Mailbox, kind: str
) -> None:
    subscribed(mail_site, visitor, mailbox)
    leave = link_in(digest_to(mail_site, mailbox), "/unsubscribe")
    visitor.cookies.clear()
    assert visitor.post(leave, data={"x": "y"}).status_code == 400
    assert visitor.post(leave, content=b"\xff=%zz").status_code == 400
    assert person(mail_site).state == "confirmed"
    elsewhere = {"origin": "https://mail.example.net", "sec-fetch-site": "cross-site"}
    for _ in range(2):
        if kind == "form":
            answer = visitor.post(leave, data={"List-Unsubscribe": "One-Click"}, headers=elsewhere)
        else:
            body = (b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
                    b"One-Click\r\n--b--\r\n")  # fmt: skip
            answer = visitor.post(
                leave, content=body, headers={"content-type": "multipart/form-data; boundary=b"}
            )
        assert answer.status_code == 200 and "You have left" in answer.text
        assert person(mail_site).state == "left"
    # Back again: bounds are as before, and the link of the old mail ends this one, too.
    count = len(mailbox.mails)
    ask(visitor)
    assert person(mail_site).state == "left"
    set_person(mail_site, asked_at=time.time() - 3700)
    ask(visitor)
    mailbox.wait(count + 1)
    press(visitor, link_in(mailbox.to(ADA)[-1], "/subscribe/confirm"))
    assert person(mail_site).state == "confirmed" and person(mail_site).email == ADA
    assert visitor.post(leave, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert person(mail_site).state == "left"


def test_links_that_are_forged_altered_or_old(
    mail_site: Site, visitor: TestClient, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(visitor)
    mailbox.wait(1)
    link = link_in(mailbox.to(ADA)[0], "/subscribe/confirm")
    token = link.partition("=")[2]
    forged = links.confirm_token(b"not the secret", Subscriber(1, ADA, "", "", "n"), time.time())
    bad = ["", "x", token[:-1], "2" + token[1:], forged, token + "%00", "<script>", "9" * 5000]
    for text in bad:
        for path in ("/subscribe/confirm", "/subscribe/period", "/unsubscribe"):
            answer = visitor.get(f"{path}?t={text}")
            assert answer.status_code == 400 and "<script>" not in answer.text
        for path in ("/subscribe/confirm", "/subscribe/period"):
            fields = {"t": text, "period": "daily"}
            sent = post_form(visitor, path, page="/subscribe", **fields)
            assert sent.status_code == 400 or "\0" in text
        assert visitor.post(
            f"/unsubscribe?t={text}", data={"List-Unsubscribe": "One-Click"}
        ).status_code == 400  # fmt: skip
    assert person(mail_site).state == "pending"
    # Links of one purpose do nothing for another.
    leave = link_in(mailbox.to(ADA)[0], "/unsubscribe").partition("=")[2]
    assert visitor.get(f"/subscribe/period?t={leave}").status_code == 400
    # Without the token of a form of this page nothing is confirmed.
    assert visitor.post("/subscribe/confirm", data={"t": token}).status_code == 403
    late = time.time() + links.CONFIRM_S + 60
    monkeypatch.setattr("heldout.serve.routes.subscribe.time.time", lambda: late)
    answer = visitor.get(link)
    assert answer.status_code == 410 and "too old" in answer.text
    assert person(mail_site).state == "pending"


def test_the_answer_does_not_tell_who_subscribes(
    mail_site: Site, visitor: TestClient, mailbox: Mailbox
) -> None:
    subscribed(mail_site, visitor, mailbox)
    known, unknown = ask(visitor), ask(visitor, "bob@example.com")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    assert {k: v for k, v in known.headers.items() if k not in ("set-cookie", "date")} == {
        k: v for k, v in unknown.headers.items() if k not in ("set-cookie", "date")
    }
    mailbox.wait(2)
    set_person(mail_site, asked_at=time.time() - 3700)
    ask(visitor, period="weekly")
    mailbox.wait(3)
    mail = mailbox.to(ADA)[-1]
    assert mail["subject"] == "You subscribe to Heldout" and person(mail_site).period == "daily"
    change = link_in(mail, "/subscribe/period")
    assert "<button>" in visitor.get(change).text
    assert "each week" in press(visitor, change, period="weekly").text
    assert person(mail_site).period == "weekly"
    assert press(visitor, change, period="hourly").status_code == 422


def test_an_address_cannot_be_flooded(mail_site: Site) -> None:
    now, mark = 1e9, links.mark(mail_site.secret, ADA)

    def queued(at: float) -> bool:
        with mail_site.database.write() as connection:
            return people.ask(connection, ADA, "daily", mark, at, "<1@example.org>")

    made = [queued(now + 600 * n) for n in range(6 * 24 * 6)]  # each ten minutes for six days
    assert sum(made) == 3 and [n for n, good in enumerate(made) if good] == [0, 6, 12]
    assert queued(now + 8 * 86400)
    with mail_site.database.read() as connection:
        assert len(connection.execute(select(deliveries.c.issue)).all()) == 4
        assert len(connection.execute(select(subscribers.c.id)).all()) == 1


def test_one_network_cannot_flood_many(mail_site: Site, visitor: TestClient) -> None:
    codes = [ask(visitor, f"a{n}@example.com").status_code for n in range(7)]
    assert codes[:5] == [303] * 5 and codes[5:] == [429] * 2


def test_all_together_are_bounded(
    mail_site: Site, visitor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "PER_HOUR", 2)
    codes = [ask(visitor, f"a{n}@example.com").status_code for n in range(3)]
    assert codes == [303, 303, 429]


@pytest.mark.parametrize("email", ["", "ada", "a@b@c.org", "x\r\nBcc: y@example.org", "<b>@x.org"])
def test_what_is_no_address_is_said(visitor: TestClient, mailbox: Mailbox, email: str) -> None:
    answer = ask(visitor, email)
    assert answer.status_code == 422 and 'role="alert"' in answer.text
    assert "<b>" not in answer.text and not mailbox.asked
    assert ask(visitor, ADA, "hourly").status_code == 422


def test_forms_of_other_pages_do_nothing(mail_site: Site, visitor: TestClient) -> None:
    assert visitor.post("/subscribe", data={"email": ADA}).status_code == 403
    assert person(mail_site) is None


def test_a_mail_that_waits_survives_a_restart(
    mail_site: Site, visitor: TestClient, mailbox: Mailbox
) -> None:
    mail_site.parts["mail"].stop()
    assert ask(visitor).status_code == 303 and not mailbox.mails
    with TestClient(create_app(another(mail_site)), base_url=mail_site.settings.origin):
        mailbox.wait(1)


def test_without_a_mail_server_nothing_is_offered(client: TestClient) -> None:
    assert client.get("/subscribe").status_code == 404
    assert "/subscribe" not in client.get("/").text
