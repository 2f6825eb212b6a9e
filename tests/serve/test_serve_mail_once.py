"""Each subscriber gets an issue once, whenever a sender is killed, and however many there are."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import update

from heldout.serve.mail import sending
from heldout.serve.mail.background import make_issue
from heldout.serve.mail.pace import Pace
from heldout.serve.site import Site
from heldout.serve.storage import deliveries
from heldout.serve.storage.tables import subscribers

from .mail_server import (
    NOW,
    Mailbox,
    add_paper,
    another,
    forked,
    ready,
    rows,
    send,
    states,
    subscribe,
)


def send_apart(site: Site, pace: Pace | None = None) -> None:
    send(another(site), pace)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def once(site: Site, work: Callable[[], None]) -> int:
    """Let a process do something, and return by which signal it died."""
    status = os.waitpid(forked(work), 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_killed_at_random_moments_nobody_gets_two(mail_site: Site, mailbox: Mailbox) -> None:
    ready(mail_site, 50)
    rng, kills = random.Random(7), 0
    while states(mail_site).keys() & {"waiting", "sending"}:
        # Killed within some milliseconds of the first or second message that it begins.
        begun = len(mailbox.asked) + rng.choice([1, 2])
        number, until = forked(partial(send_apart, mail_site)), time.monotonic() + 60
        ended = 0
        while len(mailbox.asked) < begun and not ended and time.monotonic() < until:
            time.sleep(0.001)
            ended, status = os.waitpid(number, os.WNOHANG)
        if not ended:
            time.sleep(rng.uniform(0.0, 0.03))
            os.kill(number, signal.SIGKILL)
            status = os.waitpid(number, 0)[1]
        kills += os.WIFSIGNALED(status)
        assert kills < 200
    mailbox.idle()  # it may still be at the last one
    assert kills >= 20
    counts = mailbox.counts()
    assert set(counts.values()) == {1}
    found = rows(mail_site)
    sent = {r.email for r in found if r.state == "sent"}
    unsure = {r.email for r in found if r.state == "handing over"}
    assert len(sent) + len(unsure) == 50 and not sent & unsure
    assert sent <= counts.keys() <= sent | unsure
    # Nobody touches the uncertain ones, until the operator does.
    assert send(mail_site).sent == 0
    lost = [r.id for r in found if r.email not in counts]
    with mail_site.database.write() as connection:
        chosen = [d for d in deliveries.handing_over(connection) if d.id in lost]
        assert deliveries.resend(connection, chosen, NOW) == len(lost)
    assert send(mail_site).sent == len(lost)
    assert mailbox.counts() == {f"s{n}@example.com": 1 for n in range(50)}


def test_killed_before_the_commit_the_server_discards_the_text(
    mail_site: Site, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(mail_site, 1)
    with monkeypatch.context() as patched:
        patched.setattr(sending, "_commit", lambda *_: kill_myself())
        assert once(mail_site, partial(send_apart, mail_site)) == signal.SIGKILL
    mailbox.idle()
    assert mailbox.asked == ["s0@example.com"] and not mailbox.mails
    assert states(mail_site) == {"sending": 1}
    assert send(mail_site).sent == 1
    assert len(mailbox.mails) == 1 and states(mail_site) == {"sent": 1}


def test_killed_between_commit_and_dot_it_is_uncertain(
    mail_site: Site, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(mail_site, 1)
    commit = sending._commit

    def committed(*given: object) -> bool:
        commit(*given)  # type: ignore[arg-type]
        kill_myself()
        return True

    with monkeypatch.context() as patched:
        patched.setattr(sending, "_commit", committed)
        assert once(mail_site, partial(send_apart, mail_site)) == signal.SIGKILL
    mailbox.idle()
    assert send(mail_site).sent == 0
    assert not mailbox.mails and states(mail_site) == {"handing over": 1}
    with mail_site.database.write() as connection:
        (unsure,) = deliveries.handing_over(connection)
        assert sending.gone(unsure.owner)
        deliveries.resend(connection, [unsure], NOW)
    assert send(mail_site).sent == 1
    assert [m["message-id"] for m in mailbox.to("s0@example.com")] == [unsure.message_id]


def test_killed_after_the_dot_it_is_never_sent_again(
    mail_site: Site, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(mail_site, 1)
    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "sent", lambda *_, **__: kill_myself())
        assert once(mail_site, partial(send_apart, mail_site)) == signal.SIGKILL
    assert len(mailbox.mails) == 1 and states(mail_site) == {"handing over": 1}
    assert send(mail_site).sent == 0
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("lease", [300.0, 0.0])
def test_two_senders_at_once(mail_site: Site, mailbox: Mailbox, lease: float) -> None:
    # With claims that end at once, several hold the same row.
    ready(mail_site, 30)
    numbers = [forked(partial(send_apart, mail_site, Pace(lease=lease))) for _ in range(3)]
    for number in numbers:
        os.waitpid(number, 0)
    send(mail_site, Pace(lease=lease), NOW + 1000)
    assert mailbox.counts() == {f"s{n}@example.com": 1 for n in range(30)}
    assert states(mail_site) == {"sent": 30}


def test_two_who_make_an_issue_at_once_make_it_once(mail_site: Site) -> None:
    subscribe(mail_site, 5)
    add_paper(mail_site, "2611.00001")

    def make() -> None:
        make_issue(another(mail_site), "daily", NOW)

    for number in [forked(make) for _ in range(4)]:
        os.waitpid(number, 0)
    assert len(rows(mail_site)) == 5
    with mail_site.database.write() as connection:
        connection.execute(update(subscribers).values(period="weekly"))
    subscribe(mail_site, 7, first=5)
    assert make_issue(mail_site, "daily", NOW + 60)[1] == 0  # who comes later gets the next one
    assert len(rows(mail_site)) == 5
