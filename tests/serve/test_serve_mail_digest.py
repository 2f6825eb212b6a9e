"""What an issue tells, and the command that shows and sends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert

from heldout.serve.mail import command, digest
from heldout.serve.mail.background import make_issue
from heldout.serve.site import Site
from heldout.serve.storage.tables import verdicts, votes

from .mail_server import NOW, Mailbox, add_paper, rows, send, serving, site_with, states, subscribe

DAY = 86400.0


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port(mailbox: Mailbox) -> Iterator[int]:
    with serving(mailbox) as found:
        yield found


@pytest.fixture
def mail_site(tmp_path: Path, database_url: str, port: int) -> Iterator[Site]:
    with site_with(tmp_path, database_url, port) as site:
        yield site


def see(site: Site, slug: str, claim: str, word: str, at: float) -> None:
    row = {"slug": slug, "claim": claim, "verdict": word, "code_hash": f"{word}{at}", "version": "",
           "scale": "small", "seen_at": at}  # fmt: skip
    with site.database.write() as connection:
        connection.execute(insert(verdicts).values(**row))


def test_an_issue_tells_what_came_since_the_last_one(mail_site: Site, mailbox: Mailbox) -> None:
    subscribe(mail_site, 1)
    see(mail_site, "data_diet", "el2n_keeps_accuracy", "holds", NOW - 50 * DAY)
    add_paper(mail_site, "2611.00001", "Before the first", at=NOW - 2 * DAY)
    add_paper(mail_site, "2611.00002", "In the first", at=NOW - DAY / 2)
    add_paper(mail_site, "2611.00003", "While it was made", at=NOW - 60)
    first, count = make_issue(mail_site, "daily", NOW)
    assert [i.title for i in first.new] == ["In the first"] and count == 1
    see(mail_site, "data_diet", "el2n_keeps_accuracy", "fails", NOW + DAY / 2)
    # Nothing is told twice or left out, also when issues were missed.
    second, _ = make_issue(mail_site, "daily", NOW + 3 * DAY)
    assert second.since == first.until and second.name == "daily-2026-11-25"
    assert [i.title for i in second.new] == ["While it was made"]
    assert [(t.before, t.after) for t in second.changed] == [("holds", "fails")]
    assert second.subject == "Heldout: 1 new paper, 1 changed verdict"
    assert digest.named(mail_site, first.name, NOW + 9 * DAY).new == first.new
    send(mail_site, at=NOW + 4 * DAY)
    assert [m["subject"] for _, m in mailbox.mails] == ["Heldout: 1 new paper", second.subject]


def test_an_empty_issue_is_not_sent(mail_site: Site) -> None:
    subscribe(mail_site, 2)
    made, count = make_issue(mail_site, "daily", NOW)
    assert made.empty and count == 0 and not rows(mail_site)
    add_paper(mail_site, "2611.00001", at=NOW)  # later on the same day: told tomorrow
    assert make_issue(mail_site, "daily", NOW + 3600)[1] == 0
    assert make_issue(mail_site, "daily", NOW + DAY)[1] == 2


def test_what_was_there_at_the_first_start_is_not_new(mail_site: Site) -> None:
    for slug in ("data_diet", "grokking"):
        see(mail_site, slug, "any", "holds", NOW - 7200)
    assert digest.issue(mail_site, "daily", NOW).empty
    slug = next(s for s in mail_site.library.items if s not in ("data_diet", "grokking"))
    see(mail_site, slug, "any", "holds", NOW + DAY)
    made = digest.issue(mail_site, "daily", NOW + DAY + 1800)
    assert [i.key for i in made.new] == [slug] and not made.changed
    see(mail_site, "data_diet", "el2n_keeps_accuracy", "fails", NOW + DAY)
    made = digest.issue(mail_site, "daily", NOW + DAY + 1800)
    assert [(t.before, t.after) for t in made.changed] == [("", "fails")]


def test_what_trends_makes_an_issue_when_it_was_voted_for(mail_site: Site) -> None:
    with mail_site.database.write() as connection:
        connection.execute(insert(votes).values(paper="data_diet", voter="v", at=NOW - 3 * DAY))
    assert digest.issue(mail_site, "daily", NOW).empty
    made = digest.issue(mail_site, "weekly", NOW)
    assert [i.key for i, _ in made.trending] == ["data_diet"] and not made.empty
    assert made.subject.startswith("Heldout: what trends, 15 to 22 November 2026")


def test_many_papers_are_a_number_and_a_link(mail_site: Site) -> None:
    for number in range(30):
        add_paper(mail_site, f"2611.{number:05d}", f"Paper {number}")
    made = digest.issue(mail_site, "daily", NOW)
    assert len(made.new) == 12 and made.new_total == 30 and made.new[0].title == "Paper 29"


@pytest.fixture
def told(
    mail_site: Site, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    for name, value in {
        "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "SMTP_SECURITY": "none",
        "MAIL_FROM": "Heldout <papers@example.org>", "URL": "https://papers.example.org",
        "SECRET": "test secret 0123456789",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HELDOUT_{name}", value)
    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: NOW))
    settings = mail_site.settings
    places = ["--data", str(settings.data), "--database", settings.database_url]

    def run(*words: str) -> tuple[int, str, str]:
        code = command.run([*words, *places])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command(
    mail_site: Site, mailbox: Mailbox, told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(mail_site, 3)
    add_paper(mail_site, "2611.00001", "A paper to look at")
    page = tmp_path / "digest.html"
    code, out, _ = told("--preview", "--period", "daily", "--html", str(page))
    assert code == 0 and "A paper to look at" in out and out.startswith("Subject: Heldout: 1 new")
    assert "A paper to look at" in page.read_text() and not rows(mail_site)
    mailbox.data = lambda to: "hang up" if to.startswith("s1") else None
    mailbox.rcpt = lambda to: "451 Later" if to.startswith("s2") else None
    code, out, err = told("--send", "--period", "daily")
    assert code == 1 and "daily-2026-11-22: Heldout: 1 new paper; 3 subscribers" in out
    assert "1 handing over, 1 sent, 1 waiting" in out and "--uncertain" in err and "next try" in err
    code, out, _ = told("--uncertain")
    assert code == 1 and "s1@example.com" in out and len(out.splitlines()) == 1
    number = out.split("\t")[0]
    assert told("--resend", "999")[0] == 2
    mailbox.data = mailbox.rcpt = lambda _: None
    code, out, _ = told("--resend", number)
    assert code == 0 and "1 queued" in out and len(mailbox.to("s1@example.com")) == 1
    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: NOW + 7200))
    code, out, _ = told("--send", "--period", "daily")
    assert code == 0 and states(mail_site) == {"sent": 3} and "3 subscribers" not in out
    assert set(mailbox.counts().values()) == {1}
    code, out, _ = told("--uncertain")
    assert code == 0 and out.startswith("None")


def test_the_command_keeps_trying_when_it_is_asked_to(
    mail_site: Site, mailbox: Mailbox, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [NOW]
    slept = SimpleNamespace(
        time=lambda: clock[0], sleep=lambda s: clock.__setitem__(0, clock[0] + s)
    )
    monkeypatch.setattr(command, "time", slept)
    subscribe(mail_site, 2)
    add_paper(mail_site, "2611.00001")
    mailbox.rcpt = lambda _: "451 Later" if len(mailbox.asked) < 6 else None
    assert told("--send", "--period", "daily", "--keep-trying", "120")[0] == 0
    assert set(mailbox.counts().values()) == {1} and clock[0] > NOW + 900


def test_bad_input(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told()[0] == 2 and told("--preview", "--send")[0] == 2
    assert told("--send", "--html", "x.html")[0] == 2
    assert told("--preview", "--html", "/nowhere/x.html")[0] == 2
    assert told("--preview", "--keep-trying", "5")[0] == 2
    monkeypatch.setenv("HELDOUT_SMTP_HOST", "")
    code, _, err = told("--send")
    assert code == 2 and "HELDOUT_SMTP_HOST" in err
