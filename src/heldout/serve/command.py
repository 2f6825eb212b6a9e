"""`heldout serve`: serves the page, or writes it as files; and the operator's other commands."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from heldout.core.errors import HeldoutError, InputError, MissingExtraError

OTHERS = ("digest", "moderate")
"""Words after `heldout serve` that are commands of their own."""


@dataclass(frozen=True)
class Options:
    """The papers as a page: search, measured claims, plots, comments, and a digest by e-mail.

    Mail server, secrets and the like are set in the environment (HELDOUT_SMTP_HOST, _PORT, _USER,
    _PASSWORD, HELDOUT_MAIL_FROM, HELDOUT_SECRET, HELDOUT_RUN_TOKEN). Also: `heldout serve digest`
    sends the digest, `heldout serve moderate` hides comments.
    """

    port: int = 8000
    """Port to listen on; 0: any that is free."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    data: Path | None = None
    """Folder of the database, figures and runs; in your home if not given."""
    database: str | None = None
    """sqlite:///FILE or postgresql://USER@HOST/NAME; SQLite in the data folder if not given."""
    url: str | None = None
    """Address under which visitors reach the page, when a proxy stands before it."""
    static: Path | None = None
    """Write the page as plain files into this folder, and stop."""


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns 0, 1 when something is missing or taken, 2 for bad input."""
    try:
        if arguments and arguments[0] in OTHERS:
            return _other(arguments[0], arguments[1:])
        options = tyro.cli(Options, args=list(arguments), prog="heldout serve")
        return _export(options) if options.static else _serve(options)
    except SystemExit as error:
        return int(error.code or 0)
    except InputError as error:
        print(f"heldout serve: {type(error).__name__}\n{error}", file=sys.stderr)
        return 2
    except HeldoutError as error:
        print(f"heldout serve: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(MissingExtraError(error.name or "a package", "serve"), file=sys.stderr)
        return 1


def _other(name: str, arguments: Sequence[str]) -> int:
    if name == "digest":
        from heldout.serve.mail.command import run as other
    else:
        from heldout.serve.moderate import run as other
    return other(arguments)


def _settings(options: Options, port: int) -> Any:
    from heldout.serve.settings import from_environment

    return from_environment(
        os.environ, data=options.data, database=options.database, url=options.url,
        host=options.host, port=port,
    )  # fmt: skip


def _export(options: Options) -> int:
    from heldout.serve.app import make_site
    from heldout.serve.static_site import export

    assert options.static
    site = make_site(_settings(options, options.port))
    try:
        print(export(site, options.static))
    finally:
        site.database.close()
    return 0


def _serve(options: Options) -> int:
    import uvicorn

    _settings(options, options.port)  # wrong ones are told before a port is taken
    listening = _listen(options.host, options.port)
    try:
        from heldout.serve.app import create_app, make_site
        from heldout.serve.web.patience import Impatient

        settings = _settings(options, listening.getsockname()[1])
        app = create_app(make_site(settings))
        print(f"Heldout is at {settings.origin}/  (Ctrl-C stops it; data in {settings.data})")
        sys.stdout.flush()
        config = uvicorn.Config(
            app, http=Impatient, log_level="warning", server_header=False, proxy_headers=False,
            timeout_keep_alive=5, limit_concurrency=500, h11_max_incomplete_event_size=16 * 1024,
            timeout_graceful_shutdown=10,
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return 0
    finally:
        listening.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port} ({error.strerror or error})",
            "an address of this machine and a port that is free",
            "--port 0 takes any free port",
        ) from error
    return listening
