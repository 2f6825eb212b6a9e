"""The site as files, opened from disk in a real browser; and the pictures that the README shows."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from heldout.serve import history
from heldout.serve.app import make_site
from heldout.serve.items import Library
from heldout.serve.settings import Settings
from heldout.serve.static_site import export

from .browsing import MAIL, browser, served, sideways, visit
from .furnished import FETCHED, HOSTILE, furnish

__all__ = ["browser"]

ROOT = Path(__file__).resolve().parents[2]
OWN = ("data_diet", "wide_cnn", "ngame", "generalization_mystery")
LARGEST_KB = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("disk")
    furnish(base / "data", papers=30)
    site = make_site(Settings(base / "data", secret="test secret 0123456789"))
    history.remember(site)
    items = {k: v for k, v in site.library.items.items() if k in OWN}
    site.library = Library(items, {i.arxiv: k for k, i in items.items()})
    with ThreadPoolExecutor(1) as other:  # Playwright's event loop runs in this thread
        other.submit(export, site, base / "site").result()
    site.database.close()
    yield base / "site"


def opened(page: Page, folder: Path, name: str = "index.html") -> None:
    page.goto((folder / name).as_uri())


def test_the_feed_is_read_and_filtered_from_disk(browser: Browser, folder: Path) -> None:
    with visit(browser, "", None) as page:
        opened(page, folder)
        expect(page.locator("li.card")).to_have_count(20)
        assert HOSTILE in page.locator("li.card h2").all_text_contents()
        page.get_by_role("link", name="measures", exact=True).first.click()
        expect(page.locator("li.card")).to_have_count(2)
        page.get_by_role("link", name="fails", exact=True).first.click()
        for card in page.locator("li.card").all():
            expect(card.locator(".badge.fails")).to_be_visible()
        page.go_back()
        expect(page.locator("li.card")).to_have_count(2)
        page.get_by_role("link", name="Papers", exact=True).click()
        page.get_by_role("link", name="Page 2 →").click()
        expect(page.locator("li.card").first).to_be_visible()
        page.get_by_role("link", name="Trending", exact=True).click()
        expect(page.locator("li.card h2").first).to_contain_text("Wide Convolutional")
        assert page.locator("form:not([role=search])").count() == 0  # nothing that needs a server


def test_search_works_from_disk_also_with_a_typo(browser: Browser, folder: Path) -> None:
    with visit(browser, "", None, size="phone") as page:
        opened(page, folder)
        page.get_by_label("Search papers and claims").fill("important exmaples early in training")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("important exmaples")
        expect(page.locator("ol.results h2").first).to_contain_text("Deep Learning on a Data Diet")
        assert not sideways(page)
        page.get_by_label("Search papers and claims").fill("onerror taken")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("ol.results h2").first).to_have_text(HOSTILE)
        assert page.title().startswith("Papers on") and not page.locator("main img").count()
        page.locator("ol.results a").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        opened(page, folder, "search.html")
        page.get_by_label("Search papers and claims").fill("zzzqqq")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("status")).to_contain_text("No paper has these words")


def test_a_paper_is_whole_on_disk(browser: Browser, folder: Path) -> None:
    with visit(browser, "", None) as page:
        opened(page, folder)
        page.get_by_role("link", name="What Can Be Learnt With Wide").first.click()
        expect(page.locator(".claim")).to_have_count(4)
        image = page.locator("figure.plot img")
        expect(image).to_be_visible()
        assert image.evaluate("one => one.complete && one.naturalWidth") > 100
        expect(page.locator("ol.comments li.comment")).to_have_count(2)
        expect(page.locator("#comment-form")).to_have_count(0)
        page.get_by_role("link", name="a rule").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("How verdicts are made")
        page.go_back()
        page.locator("#related + ul a").first.click()
        expect(page.locator("article.paper h1")).to_be_visible()


def test_without_scripts_all_but_search_works_from_disk(browser: Browser, folder: Path) -> None:
    with visit(browser, "", None, java_script_enabled=False) as page:
        opened(page, folder)
        page.get_by_role("link", name="data", exact=True).first.click()
        page.locator("li.card h2 a").first.click()
        expect(page.locator("article.paper h1")).to_be_visible()
        opened(page, folder, "search.html")
        expect(page.locator("noscript p")).to_contain_text("This search needs JavaScript.")
        page.locator("noscript a").click()
        expect(page.locator("li.card").first).to_be_visible()
        assert (folder / "papers" / f"{FETCHED}.html").exists()


def pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Return width, height, and what kinds of rows a picture has, without decoding it whole."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    at, packed = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        packed += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw = zlib.decompress(packed)
    row = len(raw) // height
    return width, height, {raw[n * row : (n + 1) * row] for n in range(height)}


def test_the_readmes_pictures_are_of_the_page_as_it_is(browser: Browser, tmp_path: Path) -> None:
    wanted = os.environ.get("HELDOUT_SCREENSHOTS") == "1"
    target = ROOT / "docs" / "images" if wanted else tmp_path
    target.mkdir(parents=True, exist_ok=True)
    with (
        served(tmp_path / "data", **MAIL) as origin,
        visit(browser, origin, None, color_scheme="light") as page,
    ):
        page.goto("/papers/data_diet")  # the first visit has the plot drawn
        for _ in range(120):
            if page.locator("figure.plot img").count():
                break
            page.wait_for_timeout(500)
            page.reload()
        page.locator("figure.plot img").evaluate("one => one.decode()")
        page.screenshot(path=target / "serve_paper.png")
        page.goto("/")
        page.screenshot(path=target / "serve.png")
    for name in ("serve.png", "serve_paper.png"):
        picture = (target / name).read_bytes()
        width, height, rows = pixels(picture)
        assert (width, height) == (1280, 800)
        assert len(rows) > 300  # a page that is blank has some twenty kinds of rows
        assert len(picture) < LARGEST_KB * 1000
