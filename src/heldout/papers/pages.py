"""Pages of the papers: `python -m heldout.papers.pages` writes docs/papers/ and README's table.

The gallery, docs/gallery.md and its figures, is written with them.

With `--check` nothing is written, and the exit code is 1 when something on disk differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heldout.core.errors import HeldoutError, InputError
from heldout.papers._entry import Entry, entries, shipped
from heldout.papers._figure import figure
from heldout.papers._markdown import code, text, url
from heldout.papers._page import page
from heldout.papers.card import Claim
from heldout.papers.gallery import FIGURES, PAGE, gallery

BEGIN = "<!-- papers:start -->"
END = "<!-- papers:end -->"
FOLDER = "docs/papers"
"""Where the pages are, below the repository's root."""

_WORDS = ("holds", "fails", "inconclusive", "toy", "not measured")


@dataclass(frozen=True)
class Options:
    """Write a page for each paper, their index, and the table in README.md."""

    check: bool = False
    """Write nothing; exit with 1 when something on disk differs."""
    root: Path = Path()
    """The repository: holds README.md and docs/."""


def contents(every: Sequence[Entry], readme: str) -> dict[str, bytes]:
    """Return every generated file by its path below the repository's root.

    Args:
        every: see `entries`.
        readme: README.md as it is, with both markers.

    Raises:
        InputError: README.md lacks a marker.
    """
    made = {"README.md": with_table(readme, every).encode()}
    made[f"{FOLDER}/README.md"] = _index(every).encode()
    for entry in every:
        slug, alt = entry.paper.slug, ""
        if not entry.claims:
            continue
        if entry.records:
            made[f"{FOLDER}/{slug}.svg"], alt = figure(entry.recipe, entry.records)
        made[f"{FOLDER}/{slug}.md"] = page(entry, alt).encode()
    return made | gallery(every)


def table(every: Sequence[Entry], pages: str = f"{FOLDER}/") -> str:
    """Return the Markdown table of all papers.

    Args:
        every: see `entries`.
        pages: where the pages are, seen from the file that holds the table.
    """
    lines = ["| paper | package | reusable part | verdicts |", "|---|---|---|---|"]
    for entry in every:
        paper = entry.paper
        there = (
            f"{pages}{paper.slug}.md"
            if entry.claims
            else f"https://arxiv.org/abs/{url(paper.arxiv)}"
        )
        cells = (
            f"[{text(paper.title)}]({there})",
            code(paper.package),
            text(paper.part),
            _verdicts(entry),
        )
        lines.append(f"| {' | '.join(cells)} |")
    words = Counter(_word(e, c) for e in every for c in e.claims)
    said = ", ".join(f"{words[w]} {w}" for w in sorted(words, key=_order)) or "none yet"
    built = sum(bool(e.claims) for e in every)
    return "\n".join([*lines, "", f"{built} of {len(every)} papers built; their claims: {said}."])


def with_table(readme: str, every: Sequence[Entry]) -> str:
    """Return README.md with the part between the markers replaced.

    Raises:
        InputError: the markers are not there once each, in order.
    """
    start, end = readme.find(BEGIN), readme.find(END)
    if not 0 <= start < end or readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise InputError("README.md without both markers", f"{BEGIN} ... {END}", "put them back")
    return f"{readme[:start]}{BEGIN}\n{table(every)}\n{readme[end:]}"


def differing(root: Path, made: Mapping[str, bytes]) -> list[str]:
    """Return the generated files that differ on disk: changed, missing, or no longer made."""
    changed = [
        n for n, c in made.items() if not (root / n).is_file() or (root / n).read_bytes() != c
    ]
    return sorted([*changed, *_left(root, made)])


def write(root: Path, made: Mapping[str, bytes]) -> None:
    """Write what differs, and remove pages that are no longer made."""
    from heldout.core.files import write_bytes

    for name in differing(root, made):
        if name in made:
            write_bytes(root / name, made[name])
        else:
            (root / name).unlink()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the pages.

    Raises:
        SystemExit: with `--check`, something differs; or README.md or a record is amiss.
    """
    import tyro

    from heldout.papers import SLUGS
    from heldout.papers.catalogue import recipe

    options = tyro.cli(Options, args=arguments, prog="python -m heldout.papers.pages")
    readme = options.root / "README.md"
    if not readme.is_file():
        raise SystemExit(f"{readme} does not exist; run it in a clone, or say --root")
    try:
        every = entries([recipe(slug) for slug in SLUGS], shipped())
        made = contents(every, readme.read_text(encoding="utf-8"))
    except HeldoutError as error:
        raise SystemExit(str(error)) from error
    if not options.check:
        write(options.root, made)
    elif found := differing(options.root, made):
        raise SystemExit(f"run `make pages`; these differ: {', '.join(found)}")


def _index(every: Sequence[Entry]) -> str:
    made = "<!-- made by `make pages` from the recipes and their records; edit those instead -->"
    return f"{made}\n# The papers\n\n{table(every, '')}\n"


def _left(root: Path, made: Mapping[str, bytes]) -> list[str]:
    there = [root / PAGE, *(root / FOLDER).glob("*"), *(root / FIGURES).glob("*")]
    pages = [p.relative_to(root).as_posix() for p in there if p.suffix in (".md", ".svg")]
    return [n for n in pages if n not in made and (root / n).is_file()]


def _verdicts(entry: Entry) -> str:
    if not entry.claims:
        return "not built"
    ids: dict[str, list[str]] = {}
    for claim in entry.claims:
        ids.setdefault(_word(entry, claim), []).append(code(claim.id))
    return "; ".join(f"{text(w)}: {', '.join(ids[w])}" for w in sorted(ids, key=_order))


def _word(entry: Entry, claim: Claim) -> str:
    record = entry.records.get(claim.id)
    return "not measured" if record is None else str(record["verdict"])


def _order(word: str) -> tuple[int, str]:
    return (_WORDS.index(word) if word in _WORDS else len(_WORDS), word)


if __name__ == "__main__":
    main()
