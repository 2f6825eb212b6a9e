"""Jinja templates, with what every page needs."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from heldout.serve.site import Site
from heldout.serve.web.forms import FIELD, MARK

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"


@cache
def templates() -> jinja2.Environment:
    """Return the templates: everything is escaped, and a name that is missing is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"asset": asset, "form_field": FIELD, "form_mark": MARK}
    return made


@cache
def asset(name: str) -> str:
    """Return the address of a file of ours below the root, with its hash so that it can be kept.

    Raises:
        FileNotFoundError: no such file.
    """
    digest = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()[:12]
    return f"assets/{digest}/{name}"


def render(site: Site, template: str, **values: Any) -> str:
    """Return a page's HTML.

    `root` is what every address on a page begins with: "/" or the path of the public address.
    """
    return templates().get_template(template).render(
        site=site, settings=site.settings, root=root_of(site), **values
    )  # fmt: skip


def page(
    site: Site, template: str, *, kept: bool = False, status: int = 200, **values: Any
) -> HTMLResponse:
    """Return a rendered page as a response.

    Args:
        site: the site.
        template: file in `templates`.
        kept: whether it is the same for every visitor but for form tokens, and changes only when
            the database says so or within the hour.
        status: HTTP status.
        values: for the template.
    """
    headers = {"x-kept": "yes"} if kept else {"cache-control": "private, no-store"}
    return HTMLResponse(render(site, template, **values), status, headers)


def root_of(site: Site) -> str:
    """Return the path under which the page lies, with a slash at its end.

    >>> from types import SimpleNamespace as N
    >>> root_of(N(settings=N(origin="https://a.org/p")))
    '/p/'
    """
    from urllib.parse import urlsplit

    return urlsplit(site.settings.origin).path.rstrip("/") + "/"
