"""Lazy look-up of modules by short name, with suggestions for near misses."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from types import ModuleType


class Registry:
    """Names that are modules of one package, imported when first asked for.

    Args:
        what: singular word for errors, such as "check".
        package: dotted package that holds the modules.
        names: module names, sorted.

    >>> list(Registry("part", "heldout.core", ("errors", "files")))
    ['errors', 'files']
    """

    def __init__(self, what: str, package: str, names: tuple[str, ...]) -> None:
        self.what, self.package, self.names = what, package, names

    def __getitem__(self, name: str) -> ModuleType:
        """Import and return the module.

        Raises:
            KeyError: no such name; near ones are suggested.
        """
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names) or self.names
            raise KeyError(f"unknown {self.what} {name!r}; did you mean {', '.join(near)}?")
        return importlib.import_module(f"{self.package}.{name}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Whether the name is known."""
        return name in self.names

    def modules(self) -> list[ModuleType]:
        """Import and return every module."""
        return [self[name] for name in self.names]
