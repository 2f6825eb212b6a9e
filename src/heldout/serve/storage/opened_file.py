"""Whether the file of an SQLite database is still the one that was opened."""

from __future__ import annotations

import logging
from pathlib import Path

_LOG = logging.getLogger(__name__)


class OpenedFile:
    """SQLite goes on writing into a file that was deleted or replaced, and all of that is lost."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._opened: tuple[int, int] | None = None
        self._told = False

    def note(self) -> None:
        """Remember which file was opened; called with each connection, and the first one counts."""
        if self.path and self._opened is None:
            found = self.path.stat()
            self._opened = found.st_dev, found.st_ino

    def lost(self) -> str:
        """Return what is wrong, or an empty text; it is fine again once the file is back.

        >>> OpenedFile().lost()
        ''
        """
        if self.path is None or self._opened is None:
            return ""
        try:
            found = self.path.stat()
            there = (found.st_dev, found.st_ino) == self._opened
        except OSError:
            there = False
        said = f"the file {self.path} was deleted or replaced while it was in use"
        if not there and not self._told:
            _LOG.error("%s; put it back, or start the page again", said)
        self._told = not there
        return "" if there else said
