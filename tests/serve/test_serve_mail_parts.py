"""Addresses, links and messages: what is let in, what cannot be forged, what a head may hold."""

from __future__ import annotations

from email import message_from_bytes, policy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heldout.core.errors import InputError
from heldout.serve.items import Item
from heldout.serve.mail import addresses, compose, links, periods, smtp
from heldout.serve.mail.digest import Digest, Turn
from heldout.serve.storage.subscribers import Subscriber

from .mail_server import NOW, settings_with

ADA = Subscriber(7, "ada@example.org", "daily", "pending", "ab" * 16)
KEY = b"test secret 0123456789"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("Ada+x@Example.ORG", "ada+x@example.org"),
        ("a.b-c_d@mail.example.co.uk", "a.b-c_d@mail.example.co.uk"),
        ("o'neil@example.ie", "o'neil@example.ie"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        (f"{'l' * 64}@example.org", f"{'l' * 64}@example.org"),
    ],
)
def test_addresses_that_are_taken(text: str, wanted: str) -> None:
    assert addresses.checked(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "ada", "@example.org", "ada@", "ada@localhost", "a@b@example.org",
        "Ada <ada@example.org>", "ada@example.org, bob@example.org", "ada@example.org;b@b.org",
        "ada(comment)@example.org", '"a b"@example.org', "a b@example.org", "ada@exam ple.org",
        "ada@example.org\r\nBcc: x@example.org", "ada@example.org\n", "\nada@example.org",
        "ada\x00@example.org", ".ada@example.org", "ada.@example.org", "a..b@example.org",
        "ada@[127.0.0.1]", "ada@127.0.0.1", "ada@example..org", "ada@-example.org",
        "ada@example-.org", "ada@.org", "ada@example.org.", "äda@example.org",
        f"{'l' * 65}@example.org", f"a@{'d' * 64}.org", f"a@{'d.' * 130}org",
        f"a@{'.'.join(['d' * 62] * 4)}.org", "a@exa_mple.org", "a@ex\u202eample.org",
        "a@\ud800.org",
        "ada@example.org\u2028", "ada%0d%0a@@example.org", "x" * 100_000,
    ],
)  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        addresses.checked(text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds("{}@{}.{}".format, *[st.text(max_size=12)] * 2, st.sampled_from(["org", "рф", ""]))
)
def test_what_is_taken_is_plain_and_taken_again(text: str) -> None:
    try:
        made = addresses.checked(text)
    except InputError:
        return
    assert made.isascii() and made.isprintable() and made == made.lower() and len(made) <= 254
    assert not set(made) & set(' <>()[],;:\\"') and made.count("@") == 1
    assert addresses.checked(made) == made


def test_confirm_links_expire_and_cannot_be_changed() -> None:
    token = links.confirm_token(KEY, ADA, NOW)
    assert links.read_confirm(KEY, token, NOW + 3 * 86400 - 1).subscriber == 7
    with pytest.raises(links.ExpiredError):
        links.read_confirm(KEY, token, NOW + 3 * 86400 + 1)
    number, nonce, until, signature = token.split(".")
    changed = [
        f"8.{nonce}.{until}.{signature}", f"7.{'cd' * 16}.{until}.{signature}",
        f"7.{nonce}.{int(until) + 9}.{signature}", token[:-1], token + "0", token.upper(), "",
        "...",
        f"7.{nonce}.{until}.", "x" * 10_000, "\ud800.a.b.c", f"7.{until}.{signature}",
    ]  # fmt: skip
    for text in changed:
        with pytest.raises(links.LinkError):
            links.read_confirm(KEY, text, NOW)
    with pytest.raises(links.LinkError):
        links.read_confirm(b"another secret", token, NOW)


def test_lasting_links_are_of_one_address_and_one_purpose() -> None:
    token = links.lasting_token(KEY, "leave", ADA)
    left = Subscriber(7, f"left:{links.mark(KEY, ADA.email)}", "daily", "left", "another nonce")
    other = Subscriber(7, "bob@example.org", "daily", "confirmed", ADA.nonce)
    assert links.is_of(KEY, "leave", token, ADA) and links.is_of(KEY, "leave", token, left)
    assert not links.is_of(KEY, "leave", token, other)  # a number that was given again
    assert not links.is_of(KEY, "period", token, ADA)
    assert not links.is_of(b"another", "leave", token, ADA)
    assert not links.is_of(KEY, "leave", token + "\ud800", ADA)
    for text in ("", "x.ab", "²." + "0" * 32, "-7.ab", "9" * 30 + ".ab", "7" * 200):
        with pytest.raises(links.LinkError):
            links.number_in(text)


EVIL = "Grokking <script>alert(1)</script>\r\nBcc: victim@example.org\r\n\r\n\x00\u202eünïcode 模型"


def site() -> Any:
    return SimpleNamespace(settings=settings_with(Path("x"), "", 25), secret=KEY)


def made_up() -> Digest:
    item = Item("2611.00001", EVIL, "2026-11-20", "2611.00001", EVIL * 9, 3, organization=EVIL)
    own = Item("data_diet", "Data diet", "2021-07-15", "", "S", counts={"holds": 2, "fails": 1})
    turn = Turn(own, "a", "The claim\r\n.\r\nsays", "holds", "fails")
    return Digest("daily-2026-11-22", "daily", NOW - 86400, NOW, (own, item), 1234, (turn,), 1,
                  ((item, 2.0),), True)  # fmt: skip


def read(made: Any) -> Any:
    return message_from_bytes(made.as_bytes(), policy=policy.default)


def test_a_digest_has_the_headers_that_mail_programs_need() -> None:
    letter = compose.Letterhead(addresses.sender("Heldout, Inc <p@example.org>"), "r@example.org",
                                "leave@example.org")  # fmt: skip
    made = compose.digest(site(), letter, ADA, made_up(), "<1@example.org>", NOW)
    found = read(made)
    assert found["from"] == '"Heldout, Inc" <p@example.org>' and found["to"] == ADA.email
    assert found["reply-to"] == "r@example.org" and found["message-id"] == "<1@example.org>"
    assert found["date"] == "Sun, 22 Nov 2026 08:00:00 +0000"
    assert found["subject"] == "Heldout: 1,234 new papers, 1 changed verdict"
    assert found["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    link = f"https://papers.example.org/unsubscribe?t={links.lasting_token(KEY, 'leave', ADA)}"
    head = made.as_bytes().partition(b"\r\n\r\n")[0]
    written = f"List-Unsubscribe: <{link}>,\r\n <mailto:leave@example.org?subject=unsubscribe>"
    assert written.encode() in head
    assert b"\n" not in made.as_bytes().replace(b"\r\n", b"") and made.as_bytes().isascii()
    assert max(map(len, made.as_bytes().split(b"\r\n"))) < 998


def test_titles_can_neither_break_heads_nor_pages() -> None:
    found = read(
        compose.digest(
            site(), compose.letterhead(site().settings, {}), ADA, made_up(), "<1@b>", NOW
        )
    )
    assert found["bcc"] is None and [p.get_content_type() for p in found.walk()] == [
        "multipart/alternative", "text/plain", "text/html"]  # fmt: skip
    text = found.get_body(("plain",)).get_content()
    page = found.get_body(("html",)).get_content()
    assert "ünïcode 模型" in text and "ünïcode 模型" in page
    assert "<script>" in text and "<script" not in page and "&lt;script&gt;" in page
    assert "\u202e" not in text + page and "\x00" not in text + page
    assert "src=" not in page and "http://" not in page and "<img" not in page
    for part in (text, page):
        assert links.lasting_token(KEY, "leave", ADA) in part
        assert links.lasting_token(KEY, "period", ADA) in part
    assert max(map(len, text.splitlines())) < 200
    assert smtp.dotted(b"a\n.\nb") == b"a\r\n..\r\nb\r\n"


@pytest.mark.parametrize("known", [False, True])
def test_a_confirmation_says_what_to_do(known: bool) -> None:
    who = Subscriber(7, ADA.email, "daily", "confirmed" if known else "pending", ADA.nonce)
    letter = compose.letterhead(site().settings, {})
    found = read(compose.confirmation(site(), letter, who, "<1@b>", NOW))
    text = found.get_body(("plain",)).get_content()
    assert ("/subscribe/confirm?t=" in text) is not known
    assert ("25 November 2026" in text) is not known
    assert "/unsubscribe?t=" in text and found["subject"]


def test_message_ids_are_the_same_at_each_attempt_and_tell_nothing() -> None:
    one = compose.message_id(site(), "7", "daily-2026-11-22")
    assert one == compose.message_id(site(), "7", "daily-2026-11-22") and len(one) < 120
    assert one != compose.message_id(site(), "8", "daily-2026-11-22")
    assert one.endswith("@example.org>") and "2026" not in one


@pytest.mark.parametrize("name", ["HELDOUT_MAIL_REPLY_TO", "HELDOUT_MAIL_UNSUBSCRIBE"])
def test_the_operators_addresses_are_checked(name: str) -> None:
    with pytest.raises(InputError):
        compose.letterhead(site().settings, {name: "a@b.org\r\nBcc: c@d.org"})
    with pytest.raises(InputError):
        addresses.sender("Heldout\r\nBcc: x@example.org <p@example.org>")


def test_issues_are_named_by_day_and_week() -> None:
    assert periods.issue_name("daily", NOW) == "daily-2026-11-22"
    assert periods.issue_name("weekly", NOW) == "weekly-2026-W47"
    assert all(len(periods.issue_name(p, NOW)) <= 20 for p in periods.PERIODS)
    assert periods.issue_name("weekly", 1_609_632_000) == "weekly-2020-W53"  # 3 January 2021
