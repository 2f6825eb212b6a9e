"""Sentences, rows and descriptions of the gallery, each made from a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from heldout.papers._entry import Entry
from heldout.papers._gallery_card import Bridge, Figure, Name
from heldout.papers._markdown import code, shown, text
from heldout.papers.card import Claim
from heldout.papers.log import duration
from heldout.papers.verdict import over_seeds

Library = Mapping[str, Entry]
"""Built papers by slug."""

_NUMBER = re.compile(r"\{(\w+)/(\w+)(?::([^{}]+))?\}")


def said(name: Name, library: Library) -> dict[str, Any]:
    """Return a claim's sentence, verdict and numbers."""
    claim, record = _found(name, library)
    limit = f"claimed: {claim.direction} {claim.threshold:g}"
    why = ""
    if record is not None and (record["direction"], record["threshold"]) != (
        claim.direction,
        claim.threshold,
    ):
        limit += f" (when recorded: {record['direction']} {record['threshold']:g})"
    if record is not None and record["verdict"] not in ("holds", "fails"):
        why = _why(claim, record)
    return {**also(name, library), "says": claim.says, "limit": limit, "why": why,
            "ours": _ours(claim, record)}  # fmt: skip


def also(name: Name, library: Library) -> dict[str, Any]:
    """Return a claim's id, paper and verdict."""
    claim, record = _found(name, library)
    word = "not measured" if record is None else str(record["verdict"])
    return {"id": claim.id, "slug": name.slug, "word": word}


def row(name: Name, library: Library) -> dict[str, Any]:
    """Return a claim's row of the table at the end."""
    claim, _ = _found(name, library)
    paper = library[name.slug].paper
    return {**said(name, library), "paper_value": claim.paper_value, "title": paper.title}


def seen(figure: Figure, library: Library) -> str:
    """Return what a figure shows in numbers: the claims that it is drawn from."""
    lines = []
    for name in figure.claims:
        claim, record = _found(name, library)
        word = also(name, library)["word"]
        lines.append(f"{claim.says.rstrip('.')}: {word}, {_ours(claim, record)}")
    return ". ".join(lines)


def again(figure: Figure, library: Library) -> dict[str, str]:
    """Return the command that measures what a figure shows, and how long it took."""
    slug = figure.claims[0].slug
    records = [library[slug].records[n.claim] for n in figure.claims]
    groups = {_found(n, library)[0].group: r for n, r in zip(figure.claims, records, strict=True)}
    seeds = max(len(r["seeds"]) for r in records)
    command = f"heldout reproduce {slug} --claim {' '.join(n.claim for n in figure.claims)}"
    # The command's own defaults are not repeated.
    command += f" --scale {records[0]['scale']}" if records[0]["scale"] != "small" else ""
    command += f" --seeds {seeds}" if seeds != 5 else ""
    seconds = sum(s.get("wall_s") or 0 for r in groups.values() for s in r["seeds"])
    return {"command": command, "time": duration(seconds)}


def bridge(asked: Bridge, library: Library) -> dict[str, Any]:
    """Return the sentences with their numbers, or why they are not said.

    They are said while each claim has the verdict that they rest on and each number is measured.
    """
    rests = [(Name(*k.split("/")), wanted) for k, wanted in asked.rests_on]
    words = {n: _word(n, library) for n, _ in rests}
    wrong = [(n, wanted) for n, wanted in rests if words[n] != wanted]
    numbers = {m[0]: number(m[0], library) for m in _NUMBER.finditer(asked.says)}
    absent = [k for k, v in numbers.items() if not v]
    if wrong or absent:
        lines = [f"{code(n.claim)} is {words[n]}, not {wanted}" for n, wanted in wrong]
        lines += [f"{code(k.strip('{}'))} is not measured" for k in absent]
        return {"says": "", "why": "; ".join(lines), "rests": []}
    says = _NUMBER.sub(lambda m: numbers[m[0]], asked.says)
    return {"says": says, "why": "", "rests": [(n.slug, n.claim, words[n]) for n, _ in rests]}


def number(asked: str, library: Library) -> str:
    """Return value, interval and n of `{slug/claim}` or `{slug/claim:metric}`; else nothing.

    >>> number("{wide_cnn/order_of_scales}", {})
    ''
    """
    match = _NUMBER.fullmatch(asked)
    slug, claim, metric = match.groups() if match else ("", "", None)
    entry = library.get(slug)
    record = entry.records.get(claim) if entry else None
    if record is None:
        return ""
    if metric is None:
        effect, n = record["effect"], record["effect"].get("n")
    else:
        values = [(s.get("metrics") or {}).get(metric) for s in record["seeds"]]
        found = over_seeds([v for v in values if v is not None])
        effect, n = {"value": found.value, "ci_low": found.low, "ci_high": found.high}, found.n
    if not n:
        return ""
    return text(shown(effect).replace("]", f"; n = {n}]"))


def _word(name: Name, library: Library) -> str:
    entry = library.get(name.slug)
    if entry is None or name.claim not in {c.id for c in entry.claims}:
        return "not built"
    return str(also(name, library)["word"])


def _found(name: Name, library: Library) -> tuple[Claim, Mapping[str, Any] | None]:
    entry = library[name.slug]
    return next(c for c in entry.claims if c.id == name.claim), entry.records.get(name.claim)


def _ours(claim: Claim, record: Mapping[str, Any] | None) -> str:
    if record is None or record["effect"].get("value") is None:
        return "not measured"
    effect = record["effect"]
    return f"{shown(effect)} {claim.unit}, n = {effect['n']} seeds"


def _why(claim: Claim, record: Mapping[str, Any]) -> str:
    """Why nothing is decided, with the number of a control that was not met."""
    for control in record["controls"]:
        if not control["met"]:
            wanted = f"{control['direction']} {control['threshold']:g}"
            return f"control not met: {control['says']} ({shown(control)}, wanted {wanted})"
    effect = record["effect"]
    ends = [effect.get("ci_low"), effect.get("ci_high")]
    if None not in ends and ends[0] <= record["threshold"] <= ends[1]:
        return f"the interval reaches both sides of {record['threshold']:g}"
    return str(record.get("reason", "")).rstrip(".")
