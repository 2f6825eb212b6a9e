"""Measuring claims again from their page, in a real browser: real runs at tiny scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import browser, served, visit
from .furnished import furnish

__all__ = ["browser"]

LONG_MS = 300_000
SLOW = "/papers/no_tight_bounds"
"""Whose runs sleep here, so that they can be cancelled."""
TOKEN = "a token of the operator"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    furnish(made, papers=0)
    return made


@pytest.fixture(scope="module")
def origin(data: Path) -> Iterator[str]:
    with served(data, stalled=True) as address:
        yield address


def ask(page: Page, seeds: int, claim: str = "") -> None:
    form = page.locator("form.run-form")
    if claim:
        form.get_by_label("Claims").select_option(claim)
    form.locator("[name=scale]").select_option("tiny")
    form.get_by_label("Seeds").fill(str(seeds))
    form.get_by_role("button", name="Run").click()
    page.wait_for_url(re.compile(r"/runs/\d+$"))


def test_progress_is_told_as_it_comes(browser: Browser, origin: str, data: Path) -> None:
    with visit(browser, origin, SLOW) as page:
        ask(page, 3)
        page.evaluate("window.untouched = true")
        bar = page.get_by_role("progressbar")
        box = bar.bounding_box()
        assert box and 5 < box["height"] < 20 and box["width"] > 200
        folder = data / "runs" / page.url.rpartition("/")[2]
        for seed in range(2):
            expect(page.locator("[data-far]")).to_have_text(f"{seed} of 3")
            assert bar.evaluate("one => [one.value, one.max]") == [seed, 3]
            (folder / f"go{seed}").touch()
            expect(page.get_by_role("log")).to_contain_text(f"seed {seed}: ")
        expect(page.locator("[data-state]")).to_have_text("running")
        assert page.evaluate("window.untouched")  # told by the stream, not by loading it again
        (folder / "go2").touch()
        expect(bar).to_have_count(0)  # loaded again at the end, and only then
        expect(page.locator("[data-state]")).not_to_have_text("running")


def test_a_claim_is_measured_and_stands_beside_its_record(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "/papers/benign_xor") as page:
        ask(page, 2)
        expect(page.locator("[data-state]")).to_have_text("finished", timeout=LONG_MS)
        expect(page.get_by_role("log")).to_contain_text("seed 1: ")
        results = page.get_by_role("region", name="Results, claim by claim")
        expect(results.locator("tbody tr")).to_have_count(6)
        expect(results.locator("tbody td:nth-child(2) .badge.toy")).to_have_count(6)
        expect(results.locator("tbody td:nth-child(3) .badge.holds")).to_have_count(6)
        expect(page.get_by_role("progressbar")).to_have_count(0)
        expect(page.locator("main")).to_contain_text("heldout reproduce benign_xor")
        results.get_by_role("link").first.click()
        expect(page.locator(".claim:target h3")).to_be_in_viewport()
        page.go_back()
        page.get_by_role("link", name="All runs of this paper").click()
        expect(page.get_by_role("region", name="Runs")).to_contain_text("6 toy")


def test_a_run_is_cancelled_and_one_that_waits_says_so(browser: Browser, origin: str) -> None:
    with visit(browser, origin, SLOW) as page:
        ask(page, 5)
        expect(page.locator("[data-state]")).to_have_text("running", timeout=LONG_MS)
        first = page.url
        page.goto("/papers/benign_xor/runs")
        ask(page, 1)
        expect(page.locator("[data-state]")).to_have_text("waiting")
        expect(page.locator("[data-ahead]")).to_have_text("1 run is before it.")
        page.get_by_role("button", name="Cancel this run").click()
        expect(page.locator("[data-state]")).to_have_text("cancelled")
        page.goto(first)
        page.get_by_role("button", name="Cancel this run").click()
        expect(page.locator("[data-state]")).to_have_text("cancelled", timeout=LONG_MS)
        expect(page.get_by_role("button", name="Cancel this run")).to_have_count(0)
        page.get_by_role("link", name="All runs", exact=True).click()
        expect(page.locator("tbody .badge", has_text="cancelled")).to_have_count(2)


def test_without_scripts_the_page_of_a_run_loads_itself_again(
    browser: Browser, origin: str
) -> None:
    with visit(browser, origin, "/papers/benign_xor", java_script_enabled=False) as page:
        ask(page, 1, "one_step_is_harmful")
        expect(page.locator("[data-state]")).to_have_text("finished", timeout=LONG_MS)
        expect(page.locator("#results")).to_be_visible()
        expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_elsewhere_a_run_needs_the_operators_token(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("token")
    with (
        served(data, stalled=True, HELDOUT_RUN_TOKEN=TOKEN, HELDOUT_PROXIES="1") as address,
        visit(browser, address, "/papers/benign_xor", statuses=(403,)) as page,
    ):
        form = page.locator("form.run-form")
        form.get_by_label("Token").fill("a wrong one of some length")
        form.get_by_role("button", name="Run").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
        expect(page.locator("main")).to_contain_text("heldout reproduce benign_xor")
        page.goto(SLOW)
        form.get_by_label("Token").fill(TOKEN)
        ask(page, 5)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Cancel this run").click()
        expect(page.locator("[data-state]")).to_have_text("cancelled", timeout=LONG_MS)
