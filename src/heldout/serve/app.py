"""The application: middleware, routes, and what starts and stops with it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from heldout.serve.items import Library
from heldout.serve.settings import Settings, data_folder, secret_of
from heldout.serve.site import Site
from heldout.serve.storage.database import Database
from heldout.serve.web.errors import add_errors
from heldout.serve.web.headers import Guarded
from heldout.serve.web.kept import Kept

_LOG = logging.getLogger(__name__)
ROUTES = (
    "assets",
    "api",
    "atom",
    "badge",
    "meta",
    "feed",
    "about",
    "comments",
    "vote",
    "runs",
    "subscribe",
    "paper",
    "search",
)
"""Files in `routes`; their routers are asked in this order."""


THREADS = 12
"""Pages that are made at once. They take turns at one interpreter, so more of them make none of
them faster, and all of them slow for who only wants a page that is kept; those that wait for the
database need some to spare."""


def make_site(settings: Settings) -> Site:
    """Open the database, bring it up to date, and load the library.

    Raises:
        StorageError: the database cannot be reached.
        InputError: settings that cannot be used.
    """
    data_folder(settings)
    database = Database(settings.database_url)
    try:
        database.upgrade()
        return Site(settings, database, Library.load(), secret_of(settings))
    except Exception:
        database.close()
        raise


def _end(site: Site) -> None:
    site.leave()
    for stop in reversed(site.stopping):
        try:
            stop()
        except Exception:  # what is left must end all the same
            _LOG.exception("a part of the page could not be stopped")
    site.database.close()


def create_app(site: Site) -> FastAPI:
    """Return the ASGI application of a site.

    Each file in `routes` may have a function `prepare(site)`, which is called here and can add to
    `site.starting`, `site.leaving` and `site.stopping`.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        for start in site.starting:
            start()
        try:
            yield
        finally:  # also when the server itself is broken off
            _end(site)

    app = FastAPI(
        title="Heldout",
        version=version("heldout"),
        description="Papers on how models generalize, with what was measured of each claim.",
        servers=[{"url": site.settings.origin}],
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        middleware=[
            Middleware(Guarded, settings=site.settings),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
            Middleware(Kept, site=site),
        ],
    )
    app.state.site = site
    add_errors(app)
    for name in ROUTES:
        module = importlib.import_module(f"heldout.serve.routes.{name}")
        if hasattr(module, "prepare"):
            module.prepare(site)
        app.include_router(module.router)
    return app
