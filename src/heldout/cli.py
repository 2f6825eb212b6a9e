"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_VERBS = ("audit",)
_USAGE = """usage: heldout {audit} ...

  heldout audit [my_model.py] [--out DIR]   how well will this model generalize, why, what to do

`heldout audit --help` lists the options; without a file it audits the built-in example.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 gate exceeded, 2 bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(version("heldout"))
        return 0
    if given[0] not in _VERBS:
        print(f"unknown command {given[0]!r}\n{_USAGE}", end="", file=sys.stderr)
        return 2
    from heldout.audit.command import run  # late: --help must not wait for torch

    return run(given[1:])


if __name__ == "__main__":
    raise SystemExit(main())
