"""What an audit says of an error that cost it a part: whose code failed, and where."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from heldout.core.errors import HeldoutError, InputError

_OTHERS = (  # beginnings of the names of files that are not the user's own
    str(Path(__file__).parents[1]),
    *map(sysconfig.get_path, ("purelib", "platlib", "stdlib")),
    "<frozen ",
)
_LONGEST = 300  # characters of an error's own words


class FitError(HeldoutError):
    """The user's `fit` raised an error when it was called."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the fit that was passed raised {_words(error)}{_place(error)}")


def said(error: BaseException) -> str:
    """Return an error in one line: in words where it is Heldout's own, else with its type.

    >>> said(InputError("3 labels", "4 labels", "pass all")), said(KeyError("lr"))
    ('3 labels; expected 4 labels; try pass all', "KeyError: 'lr'")
    """
    if isinstance(error, InputError):
        return f"{error.given}; expected {error.expected}; try {error.hint}"
    return str(error) if isinstance(error, HeldoutError) else _words(error)


def _words(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:_LONGEST]}" if words else type(error).__name__


def _place(error: BaseException) -> str:
    # The last line of the user's own: what it calls in a library says less.
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_OTHERS)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
