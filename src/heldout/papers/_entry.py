"""A paper with what was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from heldout.core.errors import ArtifactError
from heldout.papers.card import Claim, Paper


@dataclass(frozen=True)
class Entry:
    """A paper with what was measured of it."""

    recipe: ModuleType | SimpleNamespace
    """Module with PAPER, CLAIMS, and once built `run` and `plot`; `table`, EXAMPLE and ALT if it
    likes."""
    records: Mapping[str, Mapping[str, Any]]
    """Records by claim id, in the order of the claims."""

    @property
    def paper(self) -> Paper:
        """The card."""
        card: Paper = self.recipe.PAPER
        return card

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims; none when not built."""
        found: tuple[Claim, ...] = self.recipe.CLAIMS
        return found


def shipped() -> Path:
    """Return the folder of the records that the package ships."""
    return Path(str(resources.files("heldout") / "records"))


def entries(recipes: Iterable[Any], records: Path) -> list[Entry]:
    """Return every paper with its records; built ones first, then by slug.

    Args:
        recipes: modules with PAPER and CLAIMS.
        records: folder with `<slug>/<claim>.json`.

    Raises:
        ArtifactError: a record is damaged, or of a claim that its paper does not make.
    """
    found = [Entry(r, _records(records / r.PAPER.slug, r.CLAIMS)) for r in recipes]
    return sorted(found, key=lambda e: (not e.claims, e.paper.slug))


def _records(folder: Path, claims: Sequence[Claim]) -> dict[str, dict[str, Any]]:
    from heldout.core.files import read_json

    known = [c.id for c in claims]
    if stray := sorted(p for p in folder.glob("*.json") if p.stem not in known):
        raise ArtifactError(f"{stray[0]} is of no claim of this paper ({', '.join(known)})")
    made = {i: read_json(folder / f"{i}.json") for i in known if (folder / f"{i}.json").is_file()}
    wanted = {"verdict", "effect", "seeds", "controls", "direction", "threshold", "scale"}
    for name, record in made.items():
        if not isinstance(record, dict) or wanted - set(record):
            raise ArtifactError(f"{folder / name}.json is no record; measure the claim again")
    return made
