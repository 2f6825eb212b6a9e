"""The record of `serve.py`: rounded, written whole or not at all, and as a table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

JUDGED = "fresh, a pause of 1 s"
"""The load on which the goals are judged: 50 readers, and no page that was made before."""


def rounded(value: Any) -> Any:
    """Return numbers with two places behind the point, wherever they are."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 2) if isinstance(value, float) else value


def written(path: Path, record: dict[str, Any]) -> None:
    """Write a record in place of the old one; a reader finds one of the two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    os.replace(beside, path)


def goals(record: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Return (what, goal, measured, whether it is reached) for all that was measured."""
    made: list[tuple[str, str, str, bool]] = []

    def goal(what: str, most: float, value: float, unit: str) -> None:
        made.append((what, f"< {most:g} {unit}", f"{value:.3g} {unit}", value < most))

    if load := record.get("load"):
        both = load[JUDGED]["feed and paper"]
        goal("feed and paper page, median", 20, both["p50_ms"], "ms")
        goal("feed and paper page, p99", 100, both["p99_ms"], "ms")
        goal("memory of all processes, peak (PSS)", 600, load["memory_peak_mb"]["pss"], "MB")
        goal("memory of all processes, peak (RSS)", 600, load["memory_peak_mb"]["rss"], "MB")
    if search := record.get("search"):
        for name in ("words", "words and meaning"):
            goal(f"search by {name}, p50", 50, search[name]["p50_ms"], "ms")
    if weights := record.get("weights"):
        pages = [told["whole_kb"] for told in weights.values() if isinstance(told, dict)]
        goal("heaviest page, unpacked, with styles and scripts", 150, max(pages), "kB")
    if start := record.get("start"):
        goal("start to first page, median of 5", 2, start["with_papers"]["median_s"], "s")
        made.append(("torch loaded", "no", str(start["torch_mapped"]), not start["torch_mapped"]))
    return made


def table(record: dict[str, Any]) -> str:
    """Return the record as Markdown."""
    lines = ["| what | goal | measured | reached |", "|---|---|---|---|"]
    lines += [f"| {a} | {b} | {c} | {'yes' if d else 'NO'} |" for a, b, c, d in goals(record)]
    lines += ["", "| 50 clients | answers/s | server's cores | feed p50, p99 | paper p50, p99 | "
              "search p50, p99 (ms) |", "|---|---|---|---|---|---|"]  # fmt: skip
    for part in ("load", "postgresql"):
        told = record.get(part)
        for name, way in told.items() if isinstance(told, dict) else ():
            if isinstance(way, dict) and "feed" in way:
                spreads = " | ".join(
                    f"{way[k]['p50_ms']:.1f}, {way[k]['p99_ms']:.1f}"
                    for k in ("feed", "paper", "search")
                )
                where = f"{name} ({part})" if part != "load" else name
                lines.append(
                    f"| {where} | {way['answers_per_s']:.0f} | {way['server_cores']:.2f} | "
                    f"{spreads} |"
                )
    if svm := record.get("svm"):
        lines += ["", f"TF-IDF and SVM: {svm['p50_ms']:.0f} ms a query, {svm['index_s']:.0f} s "
                  "to fit."]  # fmt: skip
    return "\n".join(lines)
