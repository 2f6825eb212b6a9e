"""What a fetch has done, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heldout.serve.fetch.entry import Listed
    from heldout.serve.fetch.merge import Stored

_SHOWN = 10
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


@dataclass
class Report:
    """What became of every entry that was read."""

    dry: bool = False
    """Whether nothing was stored."""
    stored: list[Stored] = field(default_factory=list)
    """For each page."""
    lines: list[str] = field(default_factory=list)
    """One for each source."""
    refused: list[Listed] = field(default_factory=list)
    """Items that could not be read."""
    failed: list[str] = field(default_factory=list)
    """Sources that broke off, and why."""

    def said(self, seconds: float) -> list[str]:
        """Return the lines for the user.

        >>> Report().said(1.0)
        ['New 0, updated 0, known 0, in the library 0, refused 0 (1.0 s)']
        """
        new, updated, known, library = (
            sum(getattr(s, name) for s in self.stored)
            for name in ("new", "updated", "known", "library")
        )
        refused = [f"{item.key or 'an entry'}: {item.reason}" for item in self.refused]
        for number in dict.fromkeys(n for s in self.stored for n in s.withdrawn):
            refused.append(f"{number}: withdrawn by its authors")
        found = [
            *self.lines,
            f"{'Would be new' if self.dry else 'New'} {new}, updated {updated}, known {known}, "
            f"in the library {library}, refused {len(refused)} ({seconds:.1f} s)",
            *(f"  {line}" for line in refused[:_SHOWN]),
        ]
        if len(refused) > _SHOWN:
            found.append(f"  and {len(refused) - _SHOWN} more")
        return found


def counted(n: int, what: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "page"), counted(0, "page")
    ('1 page', '0 pages')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def without_password(text: str) -> str:
    """Return an address without its password.

    >>> without_password("postgresql://me:secret@host/db"), without_password("cat:cs.LG")
    ('postgresql://me:***@host/db', 'cat:cs.LG')
    """
    return _PASSWORD.sub(r"\1***@", text)
