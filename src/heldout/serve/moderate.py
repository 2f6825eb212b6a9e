"""`heldout serve moderate`: what an operator can do about comments, while the page is served."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from heldout.core.errors import InputError
from heldout.serve.command import exit_code
from heldout.serve.settings import from_environment
from heldout.serve.storage import comments
from heldout.serve.storage.database import Database

_SHORT = 12
"""Characters of an author's hash in a list; `ban` takes so many, or more."""
_WIDTH = 60
_INTO = {"show": "shown", "hold": "held", "remove": "removed"}


def run(arguments: Sequence[str]) -> int:
    """Do what an operator asks and say what was done.

    Args:
        arguments: such as ["list"], ["hold", "12", "13"], ["ban", "1f09c2d4e5a6"].

    Returns:
        0, 1 when there is no such comment or author, or the database cannot be reached, 2 when the
        command cannot be read.
    """
    return exit_code("heldout serve moderate", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(list(arguments))
    settings = from_environment(os.environ, data=asked.data, database=asked.database)
    if not settings.database and not (settings.data / "heldout.db").exists():
        raise InputError(
            f"folder {settings.data}, without a database", "the page's data folder", "--data DIR"
        )
    database = Database(settings.database_url)
    try:
        database.upgrade()
        return _done(database, asked)
    finally:
        database.close()


def _done(database: Database, asked: argparse.Namespace) -> int:
    if asked.action == "list":
        with database.read() as connection:
            return _listed(connection, asked)
    with database.write() as connection:
        if asked.action in _INTO:
            return _put(connection, asked.ids, _INTO[asked.action])
        return _banned(connection, asked.author, asked.action == "unban")


def _listed(connection: Connection, asked: argparse.Namespace) -> int:
    found = comments.listed(connection, asked.most, asked.state, asked.paper)
    for c in found:
        words = " ".join(c.text.split())
        words = words if len(words) <= _WIDTH else words[: _WIDTH - 1] + "…"
        at = datetime.fromtimestamp(c.at, UTC).strftime("%Y-%m-%d %H:%M")
        name = c.name or "-"
        print(f"{c.id:>6}  {c.state:<7}  {at}  {c.paper}  {c.author[:_SHORT]}  {name}: {words}")
    if not found:
        print("No comments.")
    for author, since in comments.banned(connection):
        if len(author) == 32:  # networks are shut out for a day only, and say nothing to a reader
            day = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d")
            print(f"banned since {day}: {author[:_SHORT]}")
    return 0


def _put(connection: Connection, ids: Sequence[int], state: str) -> int:
    found = comments.put(connection, ids, state)
    missing = sorted(set(ids) - set(found))
    if found:
        print(f"{state}: {', '.join(map(str, found))}")
    if missing:
        print(f"no such comment: {', '.join(map(str, missing))}", file=sys.stderr)
    return 1 if missing else 0


def _banned(connection: Connection, beginning: str, undo: bool) -> int:
    known = {a for a, _ in comments.banned(connection) if a.startswith(beginning)}
    found = sorted({*comments.authors(connection, beginning), *(known if undo else ())})
    if len(found) != 1:
        told = "no author" if not found else f"{len(found)} authors or more"
        print(f"{told} whose hash begins with {beginning}; see `list`", file=sys.stderr)
        return 1
    author = found[0]
    if undo:
        done = comments.unban(connection, author)
        print(f"{author[:_SHORT]} may write again" if done else f"{author[:_SHORT]} was not banned")
        return 0
    many = comments.ban(connection, author, time.time())
    print(f"{author[:_SHORT]} may write no more; {many} comments removed")
    return 0


def _hash(text: str) -> str:
    text = text.lower()
    if not 8 <= len(text) <= 32 or any(c not in "0123456789abcdef" for c in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 8 to 32 hexadecimal digits; see `list`")
    return text


def _id(text: str) -> int:
    plain = text.removeprefix("#")
    if not (plain.isascii() and plain.isdigit() and 0 < len(plain) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a comment; see `list`")
    return int(plain)


def _many(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:7]) <= 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100,000")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data", type=Path, help="the page's data folder")
    where.add_argument("--database", help="URL of the database, if it is not in that folder")
    made = argparse.ArgumentParser(
        prog="heldout serve moderate", description="Comments, while the page is served: pages "
        "show a change within a second.",
    )  # fmt: skip
    actions = made.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", parents=[where], help="newest first")
    listing.add_argument("--state", choices=comments.STATES, default="", help="only these")
    listing.add_argument("--paper", default="", help="slug or arXiv number")
    listing.add_argument("--most", type=_many, default=50, metavar="N")
    for name, says in (
        ("show", "let visitors see comments"),
        ("hold", "hide comments until they are shown again"),
        ("remove", "take comments away; they can be shown again"),
    ):
        action = actions.add_parser(name, parents=[where], help=says)
        action.add_argument("ids", nargs="+", type=_id, metavar="ID")
    for name, says in (
        ("ban", "take no more comments of an author, and remove all there are"),
        ("unban", "let an author write again"),
    ):
        action = actions.add_parser(name, parents=[where], help=says)
        action.add_argument("author", type=_hash, help="beginning of the hash that `list` shows")
    return made
