"""Refusals, pauses, broken connections, TLS and logins, against a server that speaks SMTP."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from heldout.core.errors import InputError
from heldout.serve.mail import smtp
from heldout.serve.mail.background import Sender, make_issue
from heldout.serve.mail.pace import Pace
from heldout.serve.site import Site
from heldout.serve.storage import deliveries as queue
from heldout.serve.storage.tables import deliveries, subscribers

from .mail_server import (
    NOW,
    Mailbox,
    add_paper,
    head,
    ready,
    rows,
    send,
    serving,
    settings_with,
    site_with,
    states,
)


def hasty(patched: pytest.MonkeyPatch, who: str, step: float, final: float) -> None:
    """Let only the mail to one person have little time, whatever the machine is at besides."""
    real = smtp.hand_over

    def hand_over(server: Any, sender: str, to: str, *more: Any) -> None:
        if to.startswith(who):
            server.sock.settimeout(step)
            more = (*more[:-1], smtp.Timeouts(step, final))
        real(server, sender, to, *more)

    patched.setattr(smtp, "hand_over", hand_over)


def test_refused_for_now_is_tried_again_later_each_time(mail_site: Site, mailbox: Mailbox) -> None:
    ready(mail_site, 2)
    mailbox.rcpt = lambda to: "451 4.7.1 Greylisted" if to.startswith("s0") else None
    outcome = send(mail_site)
    assert (outcome.sent, outcome.later, outcome.stopped) == (1, 1, "")
    waits, at = [], NOW + 1
    for _ in range(3):
        row = rows(mail_site)[0]
        assert row.state == "waiting" and "Greylisted" in row.error
        waits.append(row.due_at - at)
        assert send(mail_site, at=row.due_at - 1).later == 0  # not before its time
        at = row.due_at
        assert send(mail_site, at=at).later == 1
    for number, wait in enumerate(waits):
        assert 0.75 * 300 * 2**number <= wait <= 1.25 * 300 * 2**number
    mailbox.rcpt = lambda _: None
    assert send(mail_site, at=rows(mail_site)[0].due_at).sent == 1
    assert set(mailbox.counts().values()) == {1}


def test_refused_too_often_is_given_up(mail_site: Site, mailbox: Mailbox) -> None:
    ready(mail_site, 1)
    mailbox.rcpt = lambda _: "452 Mailbox full"
    at = NOW + 1
    for _ in range(3):
        send(mail_site, Pace(attempts=3), at)
        at += 1e6
    assert states(mail_site) == {"failed": 1}
    assert rows(mail_site)[0].error == "given up after 3 attempts: 452 Mailbox full"


def test_refused_for_good_fails_one_and_sets_aside_after_some(
    mail_site: Site, mailbox: Mailbox
) -> None:
    ready(mail_site, 3)
    mailbox.rcpt = lambda to: "550 5.1.1 No such user" if to.startswith("s1") else None
    for day in range(3):
        now = NOW + 86400 * day
        if day:
            add_paper(mail_site, f"2611.0100{day}", at=now - 7200)
            assert make_issue(mail_site, "daily", now)[1] == 3
        outcome = send(mail_site, at=now + 1)
        assert (outcome.sent, outcome.failed) == (2, 1)
    with mail_site.database.read() as connection:
        found = connection.execute(select(subscribers.c.email, subscribers.c.state))
        assert {e: s for e, s in found}["s1@example.com"] == "aside"  # noqa: C416
    add_paper(mail_site, "2611.02000", at=NOW + 3 * 86400 - 7200)
    assert make_issue(mail_site, "daily", NOW + 3 * 86400)[1] == 2


def test_a_server_that_refuses_everybody_is_paused_and_nobody_fails(
    mail_site: Site, mailbox: Mailbox
) -> None:
    ready(mail_site, 8)
    mailbox.data = lambda _: "554 5.7.1 Your network is blocked"
    outcome = send(mail_site)
    assert "refuses everything" in outcome.stopped and not outcome.failed
    assert states(mail_site) == {"waiting": 8} and len(mailbox.asked) == 5
    mailbox.data = lambda _: None
    assert send(mail_site, at=NOW + 1e5).sent == 8


def test_a_sender_that_is_refused_stops_at_once(
    tmp_path: Path, database_url: str, mailbox: Mailbox
) -> None:
    async def no(*_: Any) -> str:
        return "550 5.7.1 Sender not allowed"

    mailbox.handle_MAIL = no  # type: ignore[attr-defined]
    with serving(mailbox) as port, site_with(tmp_path, database_url, port) as site:
        ready(site, 3)
        assert "Sender not allowed" in send(site).stopped
        # Not the mail's fault: its attempts are as before.
        assert [(r.state, r.attempts) for r in rows(site)] == [("waiting", 0)] * 3


def test_no_server_there(tmp_path: Path, database_url: str, mailbox: Mailbox) -> None:
    with serving(mailbox) as port:
        pass
    with site_with(tmp_path, database_url, port) as site:
        ready(site, 2)
        assert send(site).stopped and states(site) == {"waiting": 2}


def test_a_connection_that_breaks_before_the_dot_sends_later(
    mail_site: Site, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(mail_site, 5)
    mailbox.rcpt = lambda _: "hang up"
    outcome = send(mail_site)
    assert outcome.stopped and outcome.later == 3  # three broken ones in a row
    mailbox.rcpt = lambda to: "hang" if to.startswith("s0") else None
    hasty(monkeypatch, "s0", 0.5, 60.0)
    outcome = send(mail_site, at=NOW + 1e5)
    monkeypatch.undo()
    assert outcome.sent == 4 and outcome.later == 1
    mailbox.rcpt = lambda _: None
    assert send(mail_site, at=NOW + 2e5).sent == 1
    assert set(mailbox.counts().values()) == {1} and len(mailbox.mails) == 5


@pytest.mark.parametrize("how", ["hang", "hang up"])
def test_a_connection_that_breaks_after_the_dot_is_uncertain(
    mail_site: Site, mailbox: Mailbox, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(mail_site, 3)
    mailbox.data = lambda to: how if to.startswith("s1") else None
    hasty(monkeypatch, "s1", 60.0, 0.5)
    outcome = send(mail_site)
    assert (outcome.sent, outcome.uncertain) == (2, 1)
    mailbox.data = lambda _: None
    assert send(mail_site, at=NOW + 1e6).sent == 0
    with mail_site.database.read() as connection:
        (unsure,) = queue.handing_over(connection)
    assert unsure.email == "s1@example.com" and unsure.error


def test_who_leaves_while_the_text_is_sent_gets_nothing(mail_site: Site, mailbox: Mailbox) -> None:
    from heldout.serve.storage.subscribers import leave

    ready(mail_site, 1)

    def left(_: str) -> None:
        with mail_site.database.write() as connection:
            leave(connection, 1, "mark")

    mailbox.rcpt = left
    assert send(mail_site).sent == 0
    assert mailbox.asked and not mailbox.mails and not rows(mail_site)


def test_the_same_issue_is_told_again_to_the_end(mail_site: Site, mailbox: Mailbox) -> None:
    name = ready(mail_site, 2)
    mailbox.rcpt = lambda to: "451 Later" if to.startswith("s1") else None
    send(mail_site)
    add_paper(mail_site, "2611.00002", "Came meanwhile", at=NOW)
    mailbox.rcpt = lambda _: None
    send(mail_site, at=NOW + 1000)
    first, second = (mailbox.to(f"s{n}@example.com")[0] for n in range(2))
    assert first["subject"] == second["subject"] == "Heldout: 1 new paper"
    assert name == "daily-2026-11-22" and first["message-id"] != second["message-id"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def test_starttls_needs_a_certificate_that_is_trusted(
    tmp_path: Path, database_url: str, mailbox: Mailbox, certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with (
        serving(mailbox, tls_context=context, require_starttls=True) as port,
        site_with(tmp_path, database_url, port, security="starttls") as site,
    ):
        ready(site, 2)
        assert "certificate" in send(site).stopped.lower() and not mailbox.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert send(site).sent == 2


def test_starttls_is_never_left_out(tmp_path: Path, database_url: str, mailbox: Mailbox) -> None:
    with (
        serving(mailbox) as port,
        site_with(tmp_path, database_url, port, security="starttls") as site,
    ):
        ready(site, 1)
        assert "STARTTLS" in send(site).stopped and not mailbox.asked


def test_login(tmp_path: Path, database_url: str, mailbox: Mailbox) -> None:
    from aiosmtpd.smtp import AuthResult, LoginPassword

    def known(_: Any, __: Any, ___: Any, ____: Any, given: Any) -> AuthResult:
        good = isinstance(given, LoginPassword) and given.password == b"right"
        return AuthResult(success=good, handled=False)

    options = {"authenticator": known, "auth_required": True, "auth_require_tls": False}
    with (
        serving(mailbox, **options) as port,
        site_with(tmp_path, database_url, port, user="u", password="right") as site,
    ):
        ready(site, 1)
        wrong = settings_with(tmp_path, database_url, port, user="u", password="wrong")
        with pytest.raises(smtp.ServerError, match="535"):
            smtp.connect(wrong)
        assert send(site).sent == 1


def test_a_password_is_not_sent_in_clear(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "", 25, user="u", password="p")
    far = settings_with(tmp_path, "", 25, user="u", password="p")
    object.__setattr__(far.mail, "host", "mail.example.org")
    assert settings.mail.host == "127.0.0.1"
    with pytest.raises(InputError, match="HELDOUT_SMTP_SECURITY"):
        smtp.connect(far)


def test_the_thread_makes_and_sends_an_issue_that_is_due(mail_site: Site, mailbox: Mailbox) -> None:
    from .mail_server import subscribe

    subscribe(mail_site, 2)
    add_paper(mail_site, "2611.00001")
    sender = Sender(mail_site, head(mail_site), digests=True, clock=lambda: NOW)
    sender.start()
    try:
        mailbox.wait(2)
    finally:
        sender.stop()
    assert set(mailbox.counts().values()) == {1}


def test_what_is_old_is_forgotten(mail_site: Site) -> None:
    from heldout.serve.mail.background import tidy

    ready(mail_site, 2)
    with mail_site.database.write() as connection:
        connection.execute(
            update(subscribers).where(subscribers.c.id == 1).values(state="pending", asked_at=NOW)
        )
        connection.execute(update(deliveries).where(deliveries.c.id == 2).values(state="sent"))
    tidy(mail_site, NOW + 7 * 86400)
    assert len(rows(mail_site)) == 2
    tidy(mail_site, NOW + 9 * 86400)
    assert [r.subscriber for r in rows(mail_site)] == [2]
    tidy(mail_site, NOW + 91 * 86400)
    assert not rows(mail_site)
