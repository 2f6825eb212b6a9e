"""`heldout serve`: serves the page, or writes it as files; and the operator's other commands."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Any

import tyro

from heldout.core.errors import HeldoutError, InputError, MissingExtraError

OTHERS = ("digest", "moderate")
"""Words after `heldout serve` that are commands of their own."""


@dataclass(frozen=True)
class Options:
    """The papers as a page: search, measured claims, plots, comments, and a digest by e-mail.

    Also: `heldout serve digest` sends the digest, `heldout serve moderate` hides comments.

    In the environment: HELDOUT_SMTP_HOST, _PORT, _USER, _PASSWORD, _SECURITY and HELDOUT_MAIL_FROM
    (mail server and sender), HELDOUT_SECRET (signs links and forms), HELDOUT_RUN_TOKEN (who knows
    it may start runs from other machines), HELDOUT_PROXIES (how many stand in front),
    HELDOUT_DATABASE and HELDOUT_URL. Exit codes: 0 stopped, 1 what is needed cannot be reached or
    is not installed, 2 bad input.
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
    """Run the command; returns 0, 1 when something is missing or out of reach, 2 for bad input."""
    return exit_code("heldout serve", lambda: _run(arguments))


def exit_code(name: str, work: Callable[[], int], stopped: str = "Stopped.") -> int:
    """Do a command's work, and return its exit code; errors of ours are told without a traceback.

    Args:
        name: of the command, before what is told.
        work: returns the exit code where nothing goes wrong.
        stopped: said when it is ended by hand.

    Returns:
        What `work` returns; 2 for bad input, 1 for all else that is missing or out of reach, and
        130 when it is ended by hand.

    >>> exit_code("heldout serve", lambda: 0)
    0
    """
    try:
        return work()
    except SystemExit as error:  # of what reads the command line
        return int(error.code or 0)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except InputError as error:
        print(f"{name}: {type(error).__name__}\n{error}", file=sys.stderr)
        return 2
    except HeldoutError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        if package == "heldout":
            raise  # a mistake of ours, and nothing that could be installed
        print(f"{name}: {MissingExtraError(package, 'serve')}", file=sys.stderr)
        return 1


def _run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in OTHERS:
        return _other(arguments[0], arguments[1:])
    said = cleandoc(Options.__doc__ or "")
    options = tyro.cli(Options, args=list(arguments), prog="heldout serve", description=said)
    with _stopped_gently():
        return _export(options) if options.static else _serve(options)


@contextmanager
def _stopped_gently() -> Iterator[None]:
    # What ends services and containers ends this as Ctrl-C does: all is closed, and code 0 if the
    # page was being served.
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears of signals
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        from heldout.serve.web.arenas import few_arenas
        from heldout.serve.web.leaving import STOPPING_S, Leaving
        from heldout.serve.web.patience import Impatient

        few_arenas()
        settings = _settings(options, listening.getsockname()[1])
        site = make_site(settings)
        app = create_app(site)
        _greet(settings)
        config = uvicorn.Config(
            app, http=Impatient, log_level="warning", server_header=False, proxy_headers=False,
            timeout_keep_alive=5, limit_concurrency=500, h11_max_incomplete_event_size=16 * 1024,
            timeout_graceful_shutdown=STOPPING_S,
        )  # fmt: skip
        server = Leaving(config, site)
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return 0
    finally:
        listening.close()
    return 0 if server.started else 1  # the server's log has why


def _greet(settings: Any) -> None:
    print(f"Heldout is at {settings.origin}/  (Ctrl-C stops it; data in {settings.data})")
    if not settings.loopback and not settings.url:
        print("Other machines can reach it; --url says under which address, for links in mail.")
    sys.stdout.flush()


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol: asyncio sets TCP_NODELAY only where that says TCP, and an answer of
        # two writes waits 40 ms for the visitor's delayed acknowledgement without it.
        listening = socket.socket(*found[:3])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        # At once: of two that start together the second is told now, and early visitors wait.
        listening.listen(2048)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host} --port {port} ({said})",
            "an address of this machine and a port that is free",
            "--port 0 takes any free port",
        ) from error
    return listening
