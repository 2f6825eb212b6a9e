"""What a run is made of: groups of claims, and units of one seed each."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heldout.papers.card import Claim

PACKAGE = "heldout.papers"
"""The package that the recipes are modules of, unless another one is named."""


@dataclass(frozen=True)
class Group:
    """Claims of one paper that the same runs answer, at one scale."""

    slug: str
    """Of the paper."""
    name: str
    """`Claim.group` of every claim."""
    claims: tuple[Claim, ...]
    """Those that were asked for."""
    scale: str
    """tiny, small or full."""
    seeds: int
    """How many were asked for: seeds 0 to `seeds - 1`."""
    out: Path
    """Folder of the records."""
    code_hash: str
    """Of the recipe as it is now."""
    package: str = PACKAGE
    """Package that holds the recipe."""
    data: str = ""
    """Folder of data that is not shipped, for recipes that need one."""
    settings: dict[str, Any] = field(default_factory=dict, compare=False)
    """The recipe's `SETTINGS[scale]`, if it has one."""

    def unit(self, seed: int, seen: int = 0) -> Unit:
        """Return the unit of one seed; `seen` as in `Unit`."""
        return Unit(
            self.slug,
            self.name,
            self.claims[0].id,
            self.scale,
            seed,
            self.code_hash,
            str(self.out),
            self.package,
            _root(self.package),
            seen,
            self.data,
        )

    def command(self, extra: str = "") -> str:
        """Return the command that measures this group."""
        claims = " ".join(c.id for c in self.claims)
        words = f"heldout reproduce {self.slug} --claim {claims} --scale {self.scale}"
        data = f" --data {self.data}" if self.data else ""
        return f"{words} --seeds {self.seeds} --out {self.out}{data}{extra}"


@dataclass(frozen=True)
class Unit:
    """One seed of one group: what is run, kept and resumed as a whole."""

    slug: str
    """Of the paper."""
    group: str
    """Name of the group."""
    claim: str
    """Any claim of the group, for `run`."""
    scale: str
    """tiny, small or full."""
    seed: int
    """0 or more."""
    code_hash: str
    """Of the recipe when the run was planned."""
    out: str
    """Folder of the records."""
    package: str = PACKAGE
    """Package that holds the recipe."""
    root: str = ""
    """Folder that holds a package from elsewhere, for workers that do not know it."""
    seen: int = 0
    """Time stamp (ns) of the failed try that is there already; 0: none."""
    data: str = ""
    """Folder of data that is not shipped; the recipe finds it in the variable HELDOUT_DATA."""

    @property
    def path(self) -> Path:
        """File of the finished unit.

        >>> Unit("p", "g", "c", "tiny", 3, "", "out").path.as_posix()
        'out/p/seeds/g-tiny-3.json'
        """
        return Path(self.out, self.slug, "seeds", f"{self.group}-{self.scale}-{self.seed}.json")

    @property
    def lock(self) -> Path:
        """File that is locked while the unit is run."""
        return Path(self.out, ".locks", self.slug, f"{self.path.stem}.lock")

    @property
    def module(self) -> str:
        """Dotted name of the recipe."""
        return f"{self.package}.{self.slug}"


def make_known(unit: Unit) -> None:
    """Let this process find a unit's package, when it is not an installed one."""
    if unit.root and importlib.util.find_spec(unit.package.split(".")[0]) is None:
        sys.path.append(unit.root)


def _root(package: str) -> str:
    if package == PACKAGE:
        return ""
    top = importlib.import_module(package.split(".")[0])
    return str(Path(top.__file__ or "").parent.parent) if top.__file__ else ""
