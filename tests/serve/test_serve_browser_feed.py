"""Reading in a real browser: the feed, its filters, search, and a paper with what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import browser, served, visit
from .furnished import FETCHED, HOSTILE, furnish

__all__ = ["browser"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("feed")
    furnish(data)
    with served(data) as address:
        yield address


def query(page: Page) -> str:
    return page.evaluate("location.pathname + location.search")


def titles(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("ol.cards h2").all_text_contents()]


def test_filters_live_in_the_address_and_the_back_button_undoes_them(
    browser: Browser, origin: str
) -> None:
    with visit(browser, origin) as page:
        everything = titles(page)
        assert len(everything) == 20
        page.get_by_role("combobox", name="Package").select_option("measures")
        page.get_by_label("With a claim that").select_option("fails")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".count")).to_contain_text("each with a claim that fails")
        assert {"package=measures", "verdict=fails"} <= set(query(page).lstrip("/?").split("&"))
        narrow = titles(page)
        assert 0 < len(narrow) < 20
        assert page.locator("ol.cards li .badge.fails").count() == len(narrow)
        page.get_by_role("link", name="Oldest").click()
        expect(page.get_by_role("link", name="Oldest")).to_have_attribute("aria-current", "page")
        assert titles(page) == narrow[::-1]
        page.go_back()
        page.go_back()
        expect(page.get_by_role("combobox", name="Package")).to_have_value("")
        assert query(page) == "/" and titles(page) == everything
        page.go_forward()
        assert titles(page) == narrow
        expect(page.get_by_role("combobox", name="Package")).to_have_value("measures")


def test_pages_dates_and_trending_lead_on_and_back(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as page:
        first = titles(page)
        page.get_by_role("link", name="Page 2 →").click()
        expect(page.get_by_role("navigation", name="Pages")).to_contain_text("Page 2 of")
        assert not set(first) & set(titles(page))
        page.get_by_role("link", name="Trending").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Trending papers")
        assert titles(page)[0].startswith("What Can Be Learnt With Wide")  # five votes, the most
        page.get_by_text("How papers trend").click()
        expect(page.locator(".formula").first).to_be_visible()
        page.goto("/")
        page.get_by_label("Dates").get_by_role("link").first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("20 November 2026")
        assert titles(page) == [HOSTILE]
        page.get_by_label("Dates").locator("[rel=prev]").click()
        page.wait_for_url(re.compile(r"day=2026-(0|10)"))
        assert titles(page)


def test_search_by_typing_finds_marks_and_forgives(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as page:
        page.keyboard.press("/")  # moves to the search box
        page.keyboard.type("is my model memorizing?")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("is my model memorizing?")
        assert query(page).startswith("/search?q=is")
        found = page.locator("ol.results .card", has_text="To grok or not to grok")
        expect(found.locator("mark", has_text="memorization")).to_be_visible()
        assert page.locator("ol.results mark").count() > 3
        expect(page.locator(".count")).to_contain_text("by words")
        page.get_by_label("Search papers and claims").fill("influense functoins")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("link", name="influence functions").first).to_be_visible()
        expect(page.locator("ol.results h2", has_text="with Influence Functions")).to_be_visible()
        page.get_by_label("With a claim that").select_option("holds")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(re.compile("verdict=holds"))
        expect(page.get_by_label("Search papers and claims")).to_have_value("influense functoins")
        cards = page.locator("ol.results .card").count()
        assert cards and page.locator("ol.results .card ul .badge.holds").count() == cards
        page.locator("ol.results h2 a", has_text="with Influence Functions").click()
        page.wait_for_url(re.compile("/papers/influence_llm$"))


def test_a_search_that_finds_nothing_leads_on(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/search?q=zzzqqq") as page:
        expect(page.locator(".empty")).to_contain_text("No paper here is about that")
        page.get_by_role("link", name="grokking").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("grokking")
        assert page.locator("ol.results .card").count() > 2
    with visit(browser, origin, "/search?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E") as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text("<script>alert(1)")


def test_a_paper_shows_claims_numbers_plot_and_command(browser: Browser, origin: str) -> None:
    with visit(browser, origin, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("complementary").get_by_role("link", name="What Can Be Learnt").click()
        page.wait_for_url(re.compile("/papers/wide_cnn$"))
        claim = page.locator("#claim-local_targets_are_easier")
        expect(claim.locator("h3 .badge")).to_have_text("holds")
        expect(claim.locator("dl")).to_contain_text("n = 5 seeds")
        drawn = claim.get_by_role("img")
        assert re.search(r"0\.\d+", drawn.get_attribute("aria-label") or "")
        claim.get_by_text("controls met").click()
        expect(claim.locator(".controls li").first).to_be_visible()
        page.locator("#again ~ .copied button").first.click()
        expect(page.locator("#again ~ .copied button").first).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == "heldout reproduce wide_cnn --scale small --seeds 5"
        with page.expect_download() as waiting:
            claim.get_by_role("link", name="record").click()
        record = waiting.value.path().read_text()
        assert '"claim": "local_targets_are_easier"' in record
        page.get_by_text("BibTeX", exact=True).click()
        expect(page.locator("#bibtex")).to_contain_text("@misc{")
        page.get_by_role("complementary").locator("#related + ul a").first.click()
        page.wait_for_url(re.compile("/papers/(?!wide_cnn)"))


def test_the_plot_of_the_records_is_drawn(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/data_diet") as page:
        for _ in range(60):  # drawn in the background when first asked for
            if page.locator("figure.plot img").count():
                break
            page.wait_for_timeout(500)
            page.reload()
        image = page.locator("figure.plot img")
        expect(image).to_be_visible()
        wide, said = image.evaluate("one => [one.naturalWidth, one.alt]")
        assert wide > 100 and len(said) > 40


def test_what_was_fetched_is_text_and_never_markup(browser: Browser, origin: str) -> None:
    with visit(browser, origin, f"/papers/{FETCHED}v1") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        assert page.title().startswith("Robust <script>")
        assert page.locator("main img, main script").count() == 0
        expect(page.locator(".badge.not-built")).to_be_visible()
        page.goto("/search?q=robust+onerror+taken")
        expect(page.locator("ol.results h2").first).to_contain_text("<script>")
        assert page.title() != "taken"


def test_an_address_that_is_none_leads_to_the_papers(browser: Browser, origin: str) -> None:
    with visit(browser, origin, None, statuses=(404,)) as page:
        for path in ("/nothing", "/papers/none", "/papers/..%2f..%2fetc", "/?page=999"):
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_have_text("No such page")
            assert page.locator("main p").first.inner_text() != "Not Found"
        page.get_by_role("link", name="To the papers").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Papers on how models")
