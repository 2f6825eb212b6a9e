"""Subscribing in a real browser: the form, the mails as a mail server got them, and their links."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from html import unescape
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import Seen, browser, served, visit
from .furnished import furnish
from .mail_server import Mailbox, serving

__all__ = ["browser"]

ASKED = "Look into your mailbox"


@dataclass(frozen=True)
class Post:
    """A server, and the mailbox that it sends to."""

    origin: str
    box: Mailbox
    data: Path
    environment: dict[str, str]

    def digest(self, period: str) -> None:
        """Send the issue of a period, as an operator's timer does."""
        command = [sys.executable, "-m", "heldout.cli", "serve", "digest", "--send"]
        given = {**os.environ, **self.environment, "HELDOUT_URL": self.origin}
        subprocess.run(
            [*command, "--period", period, "--data", str(self.data)], env=given, check=True,
            capture_output=True, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    data, box = tmp_path_factory.mktemp("mail"), Mailbox()
    furnish(data, papers=30)
    with serving(box) as port:
        environment = {
            "HELDOUT_SMTP_HOST": "127.0.0.1", "HELDOUT_SMTP_PORT": str(port),
            "HELDOUT_SMTP_SECURITY": "none", "HELDOUT_MAIL_FROM": "Heldout <papers@example.org>",
        }  # fmt: skip
        with served(data, **environment) as origin:
            yield Post(origin, box, data, environment)


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def link(mail: EmailMessage, words: str) -> str:
    found = re.search(rf'href="([^"]+)"[^>]*>{words}</a>', part(mail, "html"))
    assert found, words
    return unescape(found[1])


def last(post: Post, address: str, count: int) -> EmailMessage:
    post.box.wait(count)
    return post.box.to(address)[-1]


def subscribe(page: Page, address: str, often: str) -> None:
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label(often).check()
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(ASKED)


def confirm(post: Post, page: Page, address: str, often: str) -> str:
    """Subscribe and follow the link of the mail that comes; return the link."""
    sent = len(post.box.mails)
    page.goto("/subscribe")
    subscribe(page, address, often)
    asked = last(post, address, sent + 1)
    found = link(asked, "Confirm the subscription")
    assert found in part(asked, "plain") and found.startswith(post.origin)
    page.goto(found)
    expect(page.locator("main")).to_contain_text(f"{address} will get")  # opening does nothing
    page.get_by_role("button", name="Yes, subscribe").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed")
    return found


@pytest.mark.parametrize(("scripts", "size"), [(True, "desktop"), (False, "phone")])
def test_subscribe_confirm_read_change_and_leave(
    browser: Browser, post: Post, scripts: bool, size: str
) -> None:
    ada, bo = f"ada-{size}@example.com", f"bo-{size}@example.com"
    period, often, other = (
        ("daily", "each day", "each week") if scripts else ("weekly", "each week", "each day")
    )
    options = {"size": size, "statuses": (410,), "java_script_enabled": scripts}
    with visit(browser, post.origin, None, **options) as page:
        first = confirm(post, page, ada, often)
        second = confirm(post, page, bo, often)
        page.goto(first)  # once more does no harm
        expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed")
        sent = len(post.box.mails)
        post.digest(period)
        post.box.wait(sent + 2)
        digest = post.box.to(ada)[-1]
        page.goto(re.findall(rf'href="({post.origin}/papers/[^"]+)"', part(digest, "html"))[0])
        expect(page.locator("article.paper h1")).to_be_visible()
        page.goto(link(digest, "Change how often"))
        expect(page.get_by_label(often)).to_be_checked()
        page.get_by_label(other).check()
        page.get_by_role("button", name="Save").click()
        expect(page.locator("main")).to_contain_text(other)
        left_by_button(page, digest)
        left_by_one_click(page, post.box.to(bo)[-1], second)
    read_as_mail(browser, digest)


def left_by_button(page: Page, digest: EmailMessage) -> None:
    page.goto(link(digest, "Unsubscribe"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Leave?")
    page.get_by_role("button", name="Unsubscribe").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have left")
    page.goto(link(digest, "Change how often"))
    expect(page.locator("main")).to_contain_text("has ended")
    page.get_by_role("link", name="Subscribe again").click()
    expect(page.get_by_label("E-mail address")).to_be_visible()


def left_by_one_click(page: Page, digest: EmailMessage, confirmed: str) -> None:
    """As a mail program's own button does it: a POST by a program that has no cookie of ours."""
    assert digest["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    target = re.findall(r"<(http[^>]+)>", digest["List-Unsubscribe"])[0]
    answer = httpx.post(target, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    page.goto(link(digest, "Unsubscribe"))  # the mail's link knows of it
    expect(page.get_by_role("heading", level=1)).to_have_text("You have left")
    page.goto(confirmed)  # and an old one brings nobody back
    expect(page.locator("main")).to_contain_text("has ended")


def read_as_mail(browser: Browser, digest: EmailMessage) -> None:
    """The mail itself: readable on a phone, in light and dark, and asks nobody for anything."""
    seen = Seen("about://")
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": 390, "height": 844}, color_scheme=scheme, java_script_enabled=False
        )
        seen.watch(context)
        page = context.new_page()
        page.set_content(part(digest, "html"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("new papers")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        inks = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        assert inks == ("rgb(29, 36, 39)" if scheme == "light" else "rgb(230, 232, 230)")
        assert "<script>" not in page.content()
        context.close()
    seen.check()


def test_what_is_no_address_is_said_beside_the_field(browser: Browser, post: Post) -> None:
    with visit(browser, post.origin, "/subscribe", statuses=(422, 400)) as page:
        field = page.get_by_label("E-mail address")
        field.fill("nobody")
        page.get_by_role("button", name="Subscribe").click()
        assert not field.evaluate("one => one.validity.valid")  # the browser itself says so
        assert page.url.endswith("/subscribe")
        page.locator("form:has(#email)").evaluate("one => one.noValidate = true")
        page.get_by_role("button", name="Subscribe").click()
        expect(page.get_by_role("alert")).to_contain_text("cannot get mail")
        expect(field).to_have_value("nobody")
        expect(field).to_have_attribute("aria-invalid", "true")
        page.goto("/subscribe/confirm?t=made-up")
        expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work")
        assert not post.box.to("nobody")
