"""What a run would do: which seeds are left, what they cost, and what stands in the way."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from heldout.core.errors import InputError
from heldout.papers import records
from heldout.papers.card import SCALES, Claim
from heldout.papers.catalogue import near_names
from heldout.papers.code_hash import code_hash
from heldout.papers.units import PACKAGE, Group, Unit


@dataclass(frozen=True)
class Work:
    """What is left of one group."""

    group: Group
    """Which claims, at which scale."""
    units: tuple[Unit, ...]
    """Seeds that are still to be measured."""
    minutes: float | None
    """Of one seed: from seeds in the folder, else from the claim; None when not known."""
    blocked: str = ""
    """Why nothing of this group may be run, or empty."""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    works: tuple[Work, ...]
    """One for each group of claims."""
    skipped: tuple[str, ...]
    """Papers without claims ("not built")."""
    notes: tuple[str, ...]
    """What was found in the folder that a reader should know."""


def plan(
    slugs: Sequence[str],
    *,
    claims: Sequence[str] = (),
    scale: str = "small",
    seeds: int = 5,
    out: Path = Path("reproduced"),
    again: bool = False,
    package: str = PACKAGE,
    data: Path | None = None,
) -> Plan:
    """Look at the folder and say what is left; damaged files (and with `again` all) are set aside.

    Args:
        slugs: papers; none means all of the package, those not built then being skipped.
        claims: ids to keep; all when empty.
        scale: tiny, small or full.
        seeds: how many seeds every claim should have.
        out: folder of the records.
        again: measure anew what is there.
        package: package that holds the recipes.
        data: folder of data that is not shipped, for recipes that need one.

    A recipe may have `SCALES = {group: scales}` for runs that make sense at some scales only, such
    as those on data that the authors released; at another scale they are left out, with a note.

    Raises:
        InputError: something that was asked for does not exist, the folder cannot be written, or
            it holds numbers of another version of the code.
    """
    if seeds < 1:
        raise InputError(f"--seeds {seeds}", "at least 1 (a verdict needs 3)", "--seeds 5")
    if scale not in SCALES:
        raise InputError(f"--scale {scale}", f"one of {', '.join(SCALES)}", "--scale small")
    if data is not None and not Path(data).is_dir():
        raise InputError(f"--data {data}, which is no folder", "a folder", "check the path")
    chosen, skipped = select(slugs, claims, package)
    out = Path(out).absolute()
    _check_folder(out)
    works: list[Work] = []
    notes: list[str] = []
    for slug, groups in chosen.items():
        recipe, now = _recipe(slug, package), code_hash(f"{package}.{slug}")
        settings = getattr(recipe, "SETTINGS", {}).get(scale, {})
        scales = getattr(recipe, "SCALES", {})
        for name, members in groups.items():
            if scale not in scales.get(name, SCALES):
                notes.append(f"{slug} {name}: not at scale {scale}, only {', '.join(scales[name])}")
                continue
            folder = "" if data is None else str(Path(data).absolute())
            known = dict(_plain(settings))
            group = Group(slug, name, members, scale, seeds, out, now, package, folder, known)
            work, said = _survey(group, again)
            works.append(work)
            notes += said
    return Plan(tuple(works), skipped, tuple(notes))


def select(
    slugs: Sequence[str], claims: Sequence[str] = (), package: str = PACKAGE
) -> tuple[dict[str, dict[str, tuple[Claim, ...]]], tuple[str, ...]]:
    """Return the claims by paper and group, and the papers that are skipped as not built.

    Raises:
        InputError: an unknown paper or claim, or a paper by name that is not built.
    """
    known: tuple[str, ...] = importlib.import_module(package).SLUGS
    for slug in slugs:
        if slug not in known:
            near = ", ".join(near_names(slug, known))
            hint = f"did you mean {near}?" if near else "`heldout papers` lists them"
            raise InputError(f"paper {slug!r}", f"one of the {len(known)} papers", hint)
    found = {s: tuple(_recipe(s, package).CLAIMS) for s in dict.fromkeys(slugs or known)}
    empty = tuple(slug for slug, members in found.items() if not members)
    if slugs and empty:
        raise InputError(
            f"paper {empty[0]!r}, which is not built: no claim of it is measured yet",
            "a paper with claims",
            "`heldout papers` says which are built; `--all` takes those",
        )
    ids = {c.id for members in found.values() for c in members}
    for claim in claims:
        if claim not in ids:
            near = ", ".join(near_names(claim, ids) or sorted(ids))
            raise InputError(f"--claim {claim}", f"a claim of {', '.join(found)}", f"one of {near}")
    chosen: dict[str, dict[str, tuple[Claim, ...]]] = {}
    for slug, members in found.items():
        for c in members:
            if not claims or c.id in claims:
                groups = chosen.setdefault(slug, {})
                groups[c.group] = (*groups.get(c.group, ()), c)
    return chosen, empty


def _recipe(slug: str, package: str) -> ModuleType:
    return importlib.import_module(f"{package}.{slug}")


def _plain(settings: object) -> dict[str, object]:
    if hasattr(settings, "__dataclass_fields__"):
        return dict(vars(settings))
    return dict(settings) if isinstance(settings, dict) else {"settings": repr(settings)}


def _check_folder(out: Path) -> None:
    probe = out / f".{uuid.uuid4().hex}.tmp"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"--out {out}, which cannot be written ({error.strerror or error})",
            "a folder that can be made and written",
            "--out reproduced, or another folder of yours",
        ) from error


def _survey(group: Group, again: bool) -> tuple[Work, list[str]]:
    notes: list[str] = []
    if again:
        _set_all_aside(group)
    broken = _check_records(group, notes)
    done, left = [], []
    # Seeds beyond those asked for count too: what is there is never left out of a record.
    for seed in sorted({*range(group.seeds), *records.units_in(group)}):
        unit = group.unit(seed)
        content = _check_unit(group, seed)
        if content is not None and "metrics" in content:
            done.append(content)
        elif copies := records.damaged_copies(unit.path):
            command = group.command(" --again")
            notes.append(
                f"{unit.path} is damaged, and set aside as {copies[-1].name}. Seed {seed} counts "
                f"as missing: remove that file to measure this seed, or measure all with: {command}"
            )
        else:
            stamp = unit.path.stat().st_mtime_ns if content is not None else 0
            left.append(group.unit(seed, stamp))
    known = next(
        (c.minutes[group.scale] for c in group.claims if c.minutes and group.scale in c.minutes),
        None,
    )
    minutes = records.minutes_of(done)
    blocked = ""
    if broken and left:
        command = group.command(" --again")
        blocked = f"{broken} was damaged and is measured anew only when asked: {command}"
    work = Work(group, tuple(left), known if minutes is None else minutes, blocked)
    return work, notes


def _check_records(group: Group, notes: list[str]) -> Path | None:
    """Return a record that is damaged, with no sound one in its place."""
    broken = None
    for claim in group.claims:
        path = records.record_path(group.out, group.slug, claim.id)
        record = records.read_record(path, group.slug, claim.id)
        if record is None:
            if path.exists():
                aside = records.set_aside(path, "damaged")
                notes.append(f"{path} is damaged: set aside as {aside.name}")
            broken = path if records.damaged_copies(path) else broken
            continue
        if record["code_hash"] != group.code_hash:
            raise records.other_code(path, record["code_hash"], group.code_hash)
        if record["scale"] == group.scale:
            records.unpack(group, record)
        elif _larger(record["scale"], group.scale):
            raise InputError(
                f"{path}, a record at scale {record['scale']}",
                f"no smaller scale ({group.scale}) in its place",
                "another --out, or --again to set it aside",
            )
    return broken


def _check_unit(group: Group, seed: int) -> records.Content | None:
    unit = group.unit(seed)
    if not unit.path.exists():
        return None
    content = records.read_unit(unit.path, unit)
    if content is None:
        records.set_aside(unit.path, "damaged")
    elif content["code_hash"] != group.code_hash:
        raise records.other_code(unit.path, content["code_hash"], group.code_hash)
    return content


def _set_all_aside(group: Group) -> None:
    paths = [records.record_path(group.out, group.slug, c.id) for c in group.claims]
    units = {*records.units_in(group).values(), *(group.unit(s).path for s in range(group.seeds))}
    for path in [*paths, *sorted(units)]:
        for old in [path, *records.damaged_copies(path)]:
            if old.exists():
                records.set_aside(old, "old")


def _larger(one: str, other: str) -> bool:
    order: dict[str, int] = {s: i for i, s in enumerate(SCALES)}
    return order.get(one, 0) > order[other]
