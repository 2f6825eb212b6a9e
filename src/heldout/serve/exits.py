"""What a command's errors become: a few lines for a reader, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from heldout.core.errors import HeldoutError, InputError, MissingExtraError


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
