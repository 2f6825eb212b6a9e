"""A real `heldout serve` and a real browser: what they need, and what every visit must not show.

A visit fails when a page writes an error to the console, asks another origin for anything, or
throws. The browser is started anew for each test file: Playwright keeps an event loop running in
the thread that it was started from, and tests of other files need that thread without one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright

from .own_process import PATIENCE_S, running
from .requirements import required

CHROMIUM = Path(os.environ.get("HELDOUT_CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-default-apps", "--disable-dev-shm-usage",
    # One process for all pages, since they are few and a core is what there is.
    "--disable-site-isolation-trials", "--renderer-process-limit=1", "--no-zygote",
    "--in-process-gpu",
)  # fmt: skip
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
SIZES: Mapping[str, Any] = {"desktop": DESKTOP, "phone": PHONE}
MAIL = {
    "HELDOUT_SMTP_HOST": "127.0.0.1", "HELDOUT_SMTP_PORT": "1", "HELDOUT_SMTP_SECURITY": "none",
    "HELDOUT_MAIL_FROM": "Heldout <papers@example.org>",
}  # fmt: skip
"""A mail server that is never asked for anything."""
QUICK_PAPER = "benign_xor"
"""Its claims are measured in earnest also where runs are `stalled`; it takes seconds."""
_STEPS = """
import pathlib, sys, time
slug, seeds = sys.argv[1], int(sys.argv[2])
print("Plan", f"{slug}  a, b, c      {seeds} of {seeds}      0.01     0.01", sep="\\n", flush=True)
for seed in range(seeds):
    while not pathlib.Path(f"go{seed}").exists():
        time.sleep(0.05)
    print(f"{slug} group seed {seed}: 0.1 s", flush=True)
"""
_PROGRAM = f"""
import sys
from heldout.serve import app, command
from heldout.serve.jobs import queue
from heldout.serve.routes import paper
paper._LONGEST_WAIT_S = {PATIENCE_S}  # figures are drawn after everything else on the machine
make_site = app.make_site
def made(settings):
    site = make_site(settings)
    site.parts["run command"] = lambda wanted, folder: (
        queue.command(wanted, folder) if wanted.slug == "{QUICK_PAPER}" or not stalled else
        [sys.executable, "-c", {_STEPS!r}, wanted.slug, str(wanted.seeds)])
    return site
app.make_site = made
stalled = sys.argv[1] == "stalled"
sys.exit(command.run(sys.argv[2:]))
"""
_PATIENCE_MS = 1000 * PATIENCE_S


def browser_needed() -> None:
    """Skip where there is no Chromium, unless HELDOUT_TEST_REQUIRE names it."""
    if not CHROMIUM.exists():
        assert not required("chromium"), f"{CHROMIUM} is not there, and must be"
        pytest.skip(f"no browser at {CHROMIUM}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser_needed()
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            chromium_sandbox=False,
            timeout=_PATIENCE_MS,
        )
        yield made
        made.close()


@contextmanager
def served(data: Path, *arguments: str, stalled: bool = False, **environment: str) -> Iterator[str]:
    """Run `heldout serve` on a free port until the end; its log must not have an error.

    Args:
        data: its folder.
        arguments: for it.
        stalled: whether runs of all papers but one only say how far they are, and wait before
            seed n for the file <data>/runs/<run>/go<n>.
        environment: for it.
    """
    program = ["-c", _PROGRAM, "stalled" if stalled else "in earnest"]
    with running(program, data, *arguments, **environment) as page:
        yield page.origin
        page.process.terminate()
        assert page.process.wait(PATIENCE_S) == 0, page.log.read_text()
        assert "Traceback" not in page.log.read_text(), page.log.read_text()


@dataclass
class Seen:
    """What a browser did besides showing pages."""

    origin: str
    """All that it may ask; empty: files on disk only."""
    statuses: Collection[int] = ()
    """Of errors that a test provokes; the console tells of them."""
    errors: list[str] = field(default_factory=list)
    """Console errors and exceptions."""
    outside: list[str] = field(default_factory=list)
    """Requests to other origins."""

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._asked(request.url))
        context.on("console", lambda m: self._said(m.type, m.text, m.location.get("url", "")))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _asked(self, address: str) -> None:
        parts = urlsplit(address)
        own = f"{parts.scheme}://{parts.netloc}" == (self.origin or "file://")
        if not own and parts.scheme not in ("data", "blob", "about"):
            self.outside.append(address)

    def _said(self, kind: str, text: str, where: str) -> None:
        provoked = any(f"status of {status}" in text for status in self.statuses)
        if kind in ("error", "warning") and not provoked:
            self.errors.append(f"{kind}: {text} ({where})")

    def check(self) -> None:
        assert not self.errors, "\n".join(self.errors)
        assert not self.outside, "\n".join(self.outside)


@contextmanager
def visit(
    browser: Browser,
    origin: str,
    path: str | None = "/",
    *,
    size: str = "desktop",
    statuses: Collection[int] = (),
    **options: Any,
) -> Iterator[Page]:
    """Open a page as a visitor who was never here; at the end nothing may have gone wrong."""
    given: dict[str, Any] = {
        "viewport": SIZES[size], "has_touch": size == "phone", "is_mobile": size == "phone",
        "reduced_motion": "reduce", "base_url": origin or None, **options,
    }  # fmt: skip
    context = browser.new_context(**given)
    context.set_default_timeout(_PATIENCE_MS)
    seen = Seen(origin, statuses)
    seen.watch(context)
    try:
        page = context.new_page()
        if path is not None:
            answered(page.goto(path), statuses)
        yield page
        page.wait_for_load_state()
    finally:
        context.close()
    seen.check()


def answered(response: Response | None, statuses: Collection[int] = ()) -> None:
    """Check that a page came, or the error that was wanted."""
    assert response is not None
    assert response.ok or response.status in statuses, f"{response.status} {response.url}"


def sideways(page: Page) -> list[str]:
    """Return what makes a page wider than its window; elements that scroll within do not."""
    found: list[str] = page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= wide) return [];
          return [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > wide + 1)
            .map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`)
            .concat("the page");
        }"""
    )
    return found


def focused(page: Page) -> dict[str, Any]:
    """Return what has the focus: its words, its tag, and whether one sees that it has it."""
    found: dict[str, Any] = page.evaluate(
        """() => {
          const one = document.activeElement, style = getComputedStyle(one);
          const box = one.getBoundingClientRect();
          return {
            tag: one.tagName, id: one.id, name: one.name ?? "", href: one.getAttribute("href"),
            text: (one.labels?.[0]?.textContent ?? one.textContent).trim().slice(0, 60),
            outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
            shown: box.width > 1 && box.height > 1 && box.bottom > 0
              && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
          };
        }"""
    )
    return found


def tabbed(page: Page, times: int) -> Sequence[dict[str, Any]]:
    """Press Tab so many times; return what had the focus after each."""
    made = []
    for _ in range(times):
        page.keyboard.press("Tab")
        made.append(focused(page))
    return made
