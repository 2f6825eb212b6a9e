"""One paper's page: card and records as Markdown, and the figure beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os.path import commonprefix
from pathlib import Path
from typing import Any

from heldout.core.errors import HeldoutError
from heldout.papers._entry import Entry
from heldout.papers._markdown import code, shown, text, url
from heldout.papers.card import Claim
from heldout.papers.code_hash import reached

_RULE = (
    "Each number is a mean over seeds with its 95 % Student t interval. A claim **holds** when the "
    "whole interval lies on the claimed side of a threshold fixed beforehand, **fails** when it "
    "lies on the other, and is **inconclusive** when it reaches both, when a seed raised or a "
    "control was not met; below the smallest scale that can judge it, it is only a **toy**."
)


def page(entry: Entry, alt: str = "") -> str:
    """Return a built paper's page as Markdown.

    Args:
        entry: the paper and its records.
        alt: what its figure shows, in words; empty without a figure.
    """
    import jinja2

    made = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    made.filters |= {"text": text, "code": code, "url": url, "upper_first": _upper_first}
    template = Path(__file__).with_name("page.md.jinja").read_text(encoding="utf-8")
    measured = bool(entry.records)
    return made.from_string(template).render(
        paper=entry.paper,
        rule=_RULE,
        measured=measured,
        rows=[_row(c, entry.records.get(c.id)) for c in entry.claims],
        differs=_differs(entry.claims),
        used=_settings(entry.records),
        alt=alt,
        table=table(entry),
        snippet=snippet(entry),
        runs=_runs(entry),
    )


def table(entry: Entry) -> str:
    """Return the table that the recipe makes of its records as Markdown; empty without one.

    Raises:
        HeldoutError: the recipe's `table` raised, or a row has more or fewer cells than the header.
    """
    make = getattr(entry.recipe, "table", None)
    if make is None or not entry.records:
        return ""
    slug = entry.paper.slug
    try:
        header, rows = make(dict(entry.records))
        found = [[text(cell) for cell in row] for row in (header, *rows)]
    except Exception as error:
        raise HeldoutError(f"the table of {slug} raised {error!r}") from error
    if ragged := [row for row in found if len(row) != len(found[0])]:
        raise HeldoutError(f"the table of {slug} has {len(found[0])} columns, a row {ragged[0]}")
    if len(found) == 1:
        return ""
    found.insert(1, ["---"] * len(found[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in found)


def snippet(entry: Entry) -> str:
    """Return the lines that import the reusable part, and the recipe's example if it has one."""
    example = getattr(entry.recipe, "EXAMPLE", "").strip("\n")
    found = [use.rpartition(".") for use in entry.paper.uses]
    names = {m: [n for o, _, n in found if o == m] for m, _, _ in found}
    lines = [_import(m, n) for m, n in names.items()]
    # The example brings the imports that it needs.
    lines = [line for line in lines if line not in example]
    if not lines and not example:
        return "Nothing to import yet."
    body = "\n".join(lines) + ("\n\n" if lines and example else "") + example
    fence = "`" * max(3, *(len(f) + 1 for f in re.findall("`+", body) or [""]))
    return f"{fence}python\n{body}\n{fence}"


def _import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= 88:
        return line
    return f"from {module} import (\n" + "".join(f"    {n},\n" for n in names) + ")"


def _row(claim: Claim, record: Mapping[str, Any] | None) -> dict[str, Any]:
    threshold = f"{claim.direction} {claim.threshold:g} {claim.unit}"
    row: dict[str, Any] = {"claim": claim, "threshold": threshold, "controls": []}
    row["ours"] = row["verdict"] = "not measured"
    if record is None:
        return row
    effect = record["effect"]
    if effect.get("value") is not None:
        row["ours"] = f"{shown(effect)} {claim.unit}, n = {effect['n']} seeds"
    row["verdict"] = f"**{text(record['verdict'])}**: {text(record.get('reason', ''))}"
    measured = (record["direction"], record["threshold"])
    if measured != (claim.direction, claim.threshold):
        row["threshold"] += f" (when recorded: {measured[0]} {measured[1]:g}; to be judged anew)"
    row["controls"] = [
        f"{'met' if c['met'] else '**not met**'}: {text(c['says'])} "
        f"({text(shown(c))}, {c['direction']} {c['threshold']:g})"
        for c in record["controls"]
    ]
    return row


def _differs(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    said = {c.differs: [code(d.id) for d in claims if d.differs == c.differs] for c in claims}
    # Sentences that every claim begins with are said once.
    shared = next(iter(said)) if len(said) == 1 else commonprefix([f"{d} " for d in said])
    shared = shared if shared in said else shared[: shared.rfind(". ") + 1]
    rest = [(what.removeprefix(shared).strip(), ", ".join(ids)) for what, ids in said.items()]
    found = [(shared, "")] * bool(shared) + [(what, ids) for what, ids in rest if what]
    return found or [("Not stated.", "")]


def _settings(records: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the recorded runs were set to, by scale."""
    used = {}
    for record in records.values():
        if recipe := record.get("settings", {}).get("recipe"):
            used[record["scale"]] = [f"{text(k)}: {code(_said(v))}" for k, v in recipe.items()]
    return used


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _runs(entry: Entry) -> list[dict[str, Any]]:
    """One per scale and number of seeds: the command, and what to expect of it."""
    asked = {(r["scale"], len(r["seeds"])) for r in entry.records.values()}
    runs = [_run(entry, scale, seeds) for scale, seeds in sorted(asked)]
    minutes = {c.group: (c.minutes or {}).get("small", 0) for c in entry.claims}
    total = sum(minutes.values())
    guess = f" A seed takes about {total:.3g} min on one core." if total else ""
    command = f"heldout reproduce {entry.paper.slug} --scale small --seeds 5"
    return runs or [
        {"command": command, "expected": f"Not recorded yet.{guess}", "lines": []},
    ]


def _run(entry: Entry, scale: str, seeds: int) -> dict[str, Any]:
    chosen = {
        k: r for k, r in entry.records.items() if (r["scale"], len(r["seeds"])) == (scale, seeds)
    }
    groups = {c.group: chosen[c.id] for c in entry.claims if c.id in chosen}
    seconds = sum(s.get("wall_s") or 0 for r in groups.values() for s in r["seeds"])
    where = next(iter(chosen.values())).get("environment") or {}
    machine = f"{where.get('system', '?')} {where.get('machine', '?')}, {where.get('cpus')} CPUs"
    versions = where.get("versions") or {}
    with_ = ", ".join(f"{k} {versions[k]}" for k in ("heldout", "torch", "numpy") if k in versions)
    return {
        "command": command(entry, scale, seeds, list(chosen)),
        "expected": f"Expect, after {_time(seconds)} on one core ({text(machine)}; "
        f"{text(with_)}):\n",
        "lines": [
            f"{code(k)}: {text(shown(r['effect']))} {text(r['effect'].get('unit', ''))}, "
            f"{text(r['verdict'])}"
            for k, r in chosen.items()
        ],
    }


def command(entry: Entry, scale: str, seeds: int, claims: Sequence[str]) -> str:
    """Return the command that measures these claims again, and no others."""
    # without names it would measure those claims, too, that took another number of seeds
    rest = [r for k, r in entry.records.items() if r["scale"] == scale and k not in claims]
    named = f" --claim {' '.join(claims)}" if rest else ""
    data = " --data FOLDER" if scale == "full" and _reads_folder(entry) else ""
    return f"heldout reproduce {entry.paper.slug}{named} --scale {scale} --seeds {seeds}{data}"


def _reads_folder(entry: Entry) -> bool:
    # what --data says is in this variable, which only recipes with data that is not shipped read
    recipe = getattr(entry.recipe, "__name__", "")
    found = (find_spec(n) for n in (reached(recipe) if recipe else ()) if ".papers._" in n)
    files = (Path(spec.origin) for spec in found if spec is not None and spec.origin is not None)
    return any("HELDOUT_DATA" in file.read_text(encoding="utf-8") for file in files)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _upper_first(line: str) -> str:
    return line[:1].upper() + line[1:]
