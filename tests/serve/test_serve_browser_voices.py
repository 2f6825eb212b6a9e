"""Votes and comments in a real browser, with scripts and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from .browsing import browser, served, visit
from .furnished import furnish

__all__ = ["browser"]

BAD = """**Bold** and `code`, [a link](https://example.org) <script>document.title="taken"</script>

<img src=x onerror="document.title='taken'"> ![picture](https://elsewhere.example/x.png)

[run](javascript:document.title='taken')

> a quote

1. first
2. second
"""
SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("voices")
    furnish(data, papers=0)
    with served(data) as address:
        yield address


def vote(page: Page) -> Locator:
    return page.locator("form.vote button").first


@SCRIPTS
def test_a_vote_is_given_counted_and_taken_back(
    browser: Browser, origin: str, scripts: bool
) -> None:
    paper = "/papers/benign_xor" if scripts else "/papers/ngame"
    with visit(browser, origin, paper, java_script_enabled=scripts) as page:
        expect(vote(page)).to_have_attribute("aria-pressed", "false")
        assert vote(page).locator("span").first.inner_text() == "0"
        vote(page).click()
        expect(vote(page)).to_have_attribute("aria-pressed", "true")
        assert vote(page).locator("span").first.inner_text() == "1"
        assert page.url == origin + paper
        page.reload()
        expect(vote(page)).to_have_attribute("aria-pressed", "true")
        with visit(browser, origin, paper, java_script_enabled=scripts) as other:
            expect(vote(other)).to_have_attribute("aria-pressed", "false")
            assert vote(other).locator("span").first.inner_text() == "1"
        vote(page).click()
        expect(vote(page)).to_have_attribute("aria-pressed", "false")
        assert vote(page).locator("span").first.inner_text() == "0"


def test_a_vote_on_the_feed_comes_back_to_its_card(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/?package=measures") as page:
        card = page.locator("li.card").last
        name = card.get_attribute("id") or ""
        card.locator("form.vote button").click()
        expect(card.locator("form.vote button")).to_have_attribute("aria-pressed", "true")
        assert page.url.endswith(f"/?package=measures#{name}")
        expect(card).to_be_in_viewport()
        page.goto("/?sort=trending")
        expect(page.locator(f"li.card#{name}")).to_be_visible()


def test_too_many_votes_are_refused_in_words(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/mgtfno", statuses=(429,)) as page:
        for given in range(6):
            page.context.clear_cookies()
            page.goto("/papers/mgtfno")
            vote(page).click()
            if given < 5:
                expect(vote(page).locator("span").first).to_have_text(str(given + 1))
        expect(page.get_by_role("heading", level=1)).to_have_text("Too many at once")
        expect(page.locator("main")).to_contain_text("Try again in")
        page.go_back()
        expect(vote(page).locator("span").first).to_have_text("5")


@SCRIPTS
def test_a_comment_is_previewed_sent_and_shown_as_markdown(
    browser: Browser, origin: str, scripts: bool
) -> None:
    key = "benign_xor" if scripts else "ngame"
    with visit(browser, origin, f"/papers/{key}", java_script_enabled=scripts) as page:
        expect(page.get_by_text("Nobody has commented yet.")).to_be_visible()
        page.get_by_label("Your comment").fill(BAD)
        page.get_by_label("Name").fill("Ada <b>")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("heading", name="Preview")).to_be_visible()
        checked(page.locator(".comment .text"))
        expect(page.get_by_label("Your comment")).to_have_value(BAD)  # nothing typed is lost
        page.get_by_role("button", name="Send").click()
        shown = page.locator("ol.comments li.comment")
        expect(shown).to_have_count(1)
        expect(shown.locator(".by strong")).to_have_text("Ada <b>")
        checked(shown.locator(".text"))
        assert "taken" not in page.title()
        assert "#comment" in page.url
        page.reload()  # sends nothing again
        expect(shown).to_have_count(1)
        expect(page.locator("a.said", has_text="1 comment")).to_be_visible()


def checked(text: Locator) -> None:
    expect(text.locator("strong")).to_have_text("Bold")
    expect(text.locator("code").first).to_have_text("code")
    expect(text.locator("blockquote")).to_contain_text("a quote")
    assert text.locator("ol > li").all_inner_texts() == ["first", "second"]
    link = text.get_by_role("link", name="a link")
    expect(link).to_have_attribute("href", "https://example.org")
    assert "nofollow" in (link.get_attribute("rel") or "")
    assert text.locator("script, img, [onerror], a[href^='javascript']").count() == 0


def test_a_comment_that_is_too_long_is_kept_in_its_form(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/wide_cnn", statuses=(422, 413)) as page:
        expect(page.locator("ol.comments li.comment")).to_have_count(2)
        page.get_by_label("Your comment").fill("word " * 1200)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_contain_text("5,000")
        assert page.get_by_label("Your comment").input_value().count("word") == 1200
        page.get_by_label("Your comment").fill("Shorter.")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("ol.comments li.comment").last).to_contain_text("Shorter.")


def test_an_empty_comment_is_not_sent(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/sharp_darts") as page:
        page.get_by_role("button", name="Send").click()
        missing = page.get_by_label("Your comment").evaluate("one => one.validity.valueMissing")
        assert missing and page.url.endswith("/papers/sharp_darts")
        expect(page.get_by_text("Nobody has commented yet.")).to_be_visible()
