"""The report as one HTML file that needs no script, no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from heldout.audit.report.budget import BUDGETS
from heldout.audit.report.view import view

MAX_BYTES = 2_000_000
"""Largest page that `render` aims at."""

_FOLDER = "template"


def render(report: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> str:
    """Render a report as one self-contained HTML page.

    Everything on the page comes from the report's dict. Strings of the user's are escaped, and
    the page forbids scripts and outside resources by its content policy. A page over `max_bytes`
    is rendered again with fewer examples, smaller thumbnails and thinner figures, at last with
    none (`budget.BUDGETS`); what is left out is counted on the page and is in the JSON.

    Args:
        report: the report's dict; see `heldout.audit.report.schema`.
        max_bytes: size in bytes, as UTF-8.

    Cost: some milliseconds for each budget tried.

    >>> from heldout.audit.report.html import render
    >>> report = {"title": "<b>", "headline": {"word": "ready", "sentence": "", "rule": ""},
    ...           "checks": {}, "actions": []}
    >>> "<title>&lt;b&gt;" in render(report)
    True
    """
    template = environment().get_template("report.html")
    page = ""
    for budget in BUDGETS:
        page = template.render(view(report, budget))
        if len(page.encode("utf-8")) < max_bytes:
            break
    return page


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the Jinja2 environment of the templates that ship in the wheel; it escapes."""
    folder = files("heldout.audit.report").joinpath(_FOLDER)
    texts = {f.name: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".html")}
    made = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The style sheet is ours, so it may stand in the page as it is.
    made.globals["style"] = Markup(folder.joinpath("style.css").read_text("utf-8"))
    return made
