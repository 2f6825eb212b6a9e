"""The command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_LISTING = ("papers", "where", "cite")
_VERBS = ("audit", "reproduce", "serve", *_LISTING)
_USAGE = """usage: heldout {audit,reproduce,serve,papers,where,cite} ...

  heldout audit [my_model.py] [--out DIR]   how well will this model generalize, why, what to do
  heldout reproduce SLUG ... | --all        measure a paper's claims here, with a verdict by rule
  heldout serve [--port N] [--static DIR]   the papers as a page, to read, search and re-run
  heldout papers [QUERY ...] [--json]       the papers, which are built, and their verdicts
  heldout papers fetch QUERY [--since DAY]  new papers from arXiv and Hugging Face, for the feed
  heldout where SLUG ...                    recipe, parts, records, page and tests of a paper
  heldout cite SLUG ...                     BibTeX of a paper

`heldout VERB --help` lists the options; `heldout audit` without a file audits the built-in example.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 gate exceeded, 2 bad input."""
    try:
        code = _main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # `heldout ... | head`: the reader left; Python must not try to flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(version("heldout"))
        return 0
    if given[0] not in _VERBS:
        from heldout.papers.catalogue import near_names

        near = near_names(given[0], _VERBS)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        print(f"unknown command {given[0]!r}{hint}\n{_USAGE}", end="", file=sys.stderr)
        return 2
    if given[:2] == ["papers", "fetch"]:
        from heldout.serve.fetch.command import run as fetch

        return fetch(given[2:])
    if given[0] in _LISTING:
        return _list(given[0], given[1:])
    # Late, each: --help must not wait for torch.
    if given[0] == "reproduce":
        from heldout.integrations import logger
        from heldout.papers.command import run as reproduce

        return reproduce(given[1:], open_log=logger)
    if given[0] == "serve":
        from heldout.serve.command import run as serve

        return serve(given[1:])
    from heldout.audit.command import run

    return run(given[1:])


def _list(verb: str, arguments: Sequence[str]) -> int:
    from heldout.core.errors import InputError
    from heldout.papers.listing import say, terminal_width

    try:
        print(say(verb, arguments, terminal_width(sys.stdout)), end="", flush=True)
    except InputError as error:
        print(f"heldout {verb}: {type(error).__name__}\n{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
