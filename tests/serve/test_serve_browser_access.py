"""Every page for everybody: axe-core in a real browser, keyboard, a phone, and no scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import (
    MAIL,
    PHONE,
    QUICK_PAPER,
    answered,
    browser,
    focused,
    served,
    sideways,
    tabbed,
    visit,
)
from .furnished import FETCHED, furnish

__all__ = ["browser"]

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SLOW = pytest.mark.slow
LOOKS = [
    ("desktop", "light"),
    ("phone", "dark"),
    # What a size and what a scheme can break, the two above show.
    pytest.param("desktop", "dark", marks=SLOW),
    pytest.param("phone", "light", marks=SLOW),
]
PAGES = {
    "feed": "/",
    "trending": "/?sort=trending",
    "filtered": "/?package=measures&verdict=fails",
    "nothing like that": "/?package=nets&verdict=holds",
    "a month": "/?month=2026-11",
    "before a search": "/search",
    "results": "/search?q=is+my+model+memorizing",
    "no result": "/search?q=zzzqqq",
    "with records": "/papers/wide_cnn",
    "with a table": "/papers/no_tight_bounds",
    "without records": "/papers/ngame",
    "fetched": f"/papers/{FETCHED}",
    "runs": "/papers/wide_cnn/runs",
    "subscribe": "/subscribe",
    "asked": "/subscribe/asked",
    "not confirmed": "/subscribe/confirm?t=made-up",
    "about": "/about",
    "for programs": "/api",
    "404": "/nothing",
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("access")
    furnish(data)
    with served(data, stalled=True, **MAIL) as address:
        yield address


def examined(page: Page) -> list[str]:
    """Return what axe-core finds on the page that is shown, and what makes it too wide."""
    page.evaluate(AXE)
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": TAGS}}
    found = page.evaluate(f"axe.run(document, {json.dumps(options)})")
    assert len(found["passes"]) > 15  # it did look
    wrong = [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
    return wrong + [f"sideways: {text}" for text in sideways(page)]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_axe_finds_nothing_and_no_page_scrolls_sideways(
    browser: Browser, origin: str, size: str, scheme: str
) -> None:
    found: dict[str, list[str]] = {}
    statuses = (400, 404)
    options: dict[str, Any] = {"size": size, "color_scheme": scheme, "bypass_csp": True}
    with visit(browser, origin, None, statuses=statuses, **options) as page:
        for name, path in PAGES.items():
            answered(page.goto(path), statuses)
            if wrong := examined(page):
                found[name] = wrong
        page.goto("/papers/wide_cnn")
        for details in page.locator("details:visible").all():
            details.evaluate("one => { one.open = true; }")
        if wrong := examined(page):
            found["unfolded"] = wrong
        page.goto("/papers/ngame")
        page.get_by_label("Your comment").fill("*Before*")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("heading", name="Preview")).to_be_visible()
        if wrong := examined(page):
            found["preview"] = wrong
    assert not found, json.dumps(found, indent=1)


def test_a_run_is_found_good_too(browser: Browser, origin: str) -> None:
    found: dict[str, list[str]] = {}
    with visit(browser, origin, None, size="phone", bypass_csp=True) as page:
        run(page, QUICK_PAPER)
        expect(page.locator("#results")).to_be_visible(timeout=300_000)
        found["a run"] = examined(page)
        run(page, "wide_cnn")
        expect(page.get_by_role("log")).to_contain_text("Plan", timeout=300_000)
        found["as it runs"] = examined(page)
        page.get_by_role("button", name="Cancel this run").click()
    assert not any(found.values()), json.dumps(found, indent=1)


def test_refusals_are_found_good_too(browser: Browser, tmp_path: Path) -> None:
    found: dict[str, list[str]] = {}
    options: dict[str, Any] = {"size": "phone", "statuses": (429, 503), "bypass_csp": True}
    with served(tmp_path, **MAIL) as origin, visit(browser, origin, None, **options) as page:
        for _ in range(6):
            page.goto("/subscribe")
            page.get_by_label("E-mail address").fill("ada@example.com")
            page.get_by_role("button", name="Subscribe").click()
            page.wait_for_load_state()
        expect(page.get_by_role("heading", level=1)).to_have_text("Too many at once")
        found["429"] = examined(page)
        page.goto("/papers/ngame")
        (tmp_path / "heldout.db").rename(tmp_path / "away.db")
        page.get_by_label("Your comment").fill("Not lost.")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Your comment")).to_have_value("Not lost.")
        found["503 of a form"] = examined(page)
        page.goto("/runs")
        expect(page.get_by_role("heading", level=1)).to_have_text("Not available now")
        found["503"] = examined(page)
        (tmp_path / "away.db").rename(tmp_path / "heldout.db")
    assert not any(found.values()), json.dumps(found, indent=1)


def run(page: Page, slug: str) -> None:
    page.goto(f"/papers/{slug}/runs")
    page.locator("[name=scale]").select_option("tiny")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(re.compile(r"/runs/\d+"))


def test_axe_would_find_what_is_wrong(browser: Browser) -> None:
    """The check itself: a page with four faults has four findings."""
    bad = """<html lang="en"><title>t</title><main><h1>h</h1><img src="data:,">
      <p style="color:#999;background:#fff">pale</p><input><div style="width:200vw">wide</div>"""
    with visit(browser, "", None, bypass_csp=True) as page:
        page.set_content(bad)
        page.evaluate(AXE)
        told = page.evaluate("axe.run(document)")
        ids = {one["id"] for one in told["violations"]}
        assert {"image-alt", "color-contrast", "label"} <= ids
        assert sideways(page)


def test_all_is_reached_by_keyboard_in_reading_order(browser: Browser, origin: str) -> None:
    with visit(browser, origin) as page:
        page.keyboard.press("Tab")
        first = focused(page)
        assert first["text"] == "To the content" and first["shown"] and first["outlined"]
        page.keyboard.press("Enter")
        assert focused(page)["id"] == "main"
        page.keyboard.press("Tab")
        assert focused(page)["text"] == "Newest"
        page.goto("/")
        seen = tabbed(page, 26)
        assert not [one for one in seen if not (one["shown"] and one["outlined"])]
        names = [one["text"] or one["name"] for one in seen]
        wanted = ["To the content", "Heldout", "Search papers and claims", "Search", "Papers",
                  "By e-mail", "About", "Newest", "Oldest", "Trending"]  # fmt: skip
        assert names[:10] == wanted
        rest = [one["tag"] for one in seen[10:]]
        assert rest.index("SELECT") < rest.index("BUTTON") and "A" in rest[rest.index("BUTTON") :]
        page.locator("form.vote button").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("form.vote button").first).to_have_attribute("aria-pressed", "true")


def test_a_paper_is_read_by_keyboard(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/wide_cnn", size="phone") as page:
        page.locator(".claim summary").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".claim .controls").first).to_be_visible()
        page.locator("pre").first.focus()  # what scrolls takes the focus, to be scrolled by keys
        assert focused(page)["outlined"]
        page.get_by_label("Your comment").focus()
        after = tabbed(page, 3)
        assert [one["tag"] for one in after] == ["INPUT", "BUTTON", "BUTTON"]
        assert [one["text"] for one in after[1:]] == ["Send", "Preview"]


def test_without_scripts_all_can_be_read_searched_and_filtered(
    browser: Browser, origin: str
) -> None:
    with visit(browser, origin, size="phone", java_script_enabled=False) as page:
        page.get_by_label("Search papers and claims").fill("grokking")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("ol.results mark").first).to_be_visible()
        page.get_by_role("combobox", name="Package").select_option("dynamics")
        page.get_by_role("button", name="Show").click()
        page.locator("ol.results h2 a").first.click()
        expect(page.locator(".claim").first).to_be_visible()
        page.locator(".claim summary").first.click()
        expect(page.locator(".claim details[open]").first).to_be_visible()
        expect(page.locator("button[data-copy]:visible")).to_have_count(0)  # they need scripts
        page.get_by_role("link", name="Papers", exact=True).click()
        page.get_by_label("With a claim that").select_option("fails")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".count")).to_contain_text("each with a claim that fails")
        assert page.viewport_size == PHONE and page.locator("li.card").count() > 3
