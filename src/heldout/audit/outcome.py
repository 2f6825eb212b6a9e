"""The report as an object: what `heldout.audit` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from heldout.audit.actions import ranked
from heldout.audit.artifacts import Artifacts
from heldout.audit.headline import headline
from heldout.audit.result import Action, CheckResult
from heldout.audit.run import run_checks
from heldout.core.files import plain, write_json, write_text

SCHEMA_VERSION = 1
_PREVIEWED = 12  # examples per check that carry a picture or a row


@dataclass(frozen=True)
class Report:
    """Result of an audit."""

    headline: Mapping[str, Any]
    """`word`, `sentence`, `rule`, `because`, `shifted_accuracy`, `test_accuracy`, `gap`."""
    checks: Mapping[str, CheckResult]
    """Every known check by id."""
    actions: list[Action]
    """What to do, largest gain first."""
    manifest: Mapping[str, Any]
    """What was audited, with which settings, in which environment."""
    previews: Mapping[str, Mapping[int, Any]]
    """Pictures or rows of the examples pointed at, by split and row."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values, following `report/schema.json`."""
        m = self.manifest
        data = {
            k: m[k] for k in ("splits", "class_names", "inputs", "model", "parameters", "has_fit")
        }
        checks = {name: self._check(result) for name, result in self.checks.items()}
        return dict(
            plain(
                {
                    "schema_version": SCHEMA_VERSION,
                    "heldout_version": m["environment"]["versions"]["heldout"],
                    "created": m["created"],
                    "title": m.get("title") or f"Audit of {m['model']}",
                    "headline": {k: _numbers(v) for k, v in self.headline.items()},
                    "data": data,
                    "checks": checks,
                    "actions": [_action(a) for a in self.actions],
                    "settings": {**m["settings"], "command": m.get("command") or None},
                    "environment": m["environment"],
                    "timings": {k: v["seconds"] for k, v in m.get("collectors", {}).items()},
                }
            )
        )

    def _check(self, result: CheckResult) -> dict[str, Any]:
        made = result.to_dict()
        made["actions"] = [a.id for a in result.actions]
        for example in made["examples"][:_PREVIEWED]:
            found = self.previews.get(example["split"], {}).get(example["row"])
            if found is not None:
                example["preview"] = found
        return made

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one HTML page, and write it when a path is given."""
        from heldout.audit.report.html import render

        page = render(self.to_dict())
        if path is not None:
            write_text(Path(path), page)
        return page

    def save(self, folder: str | Path) -> None:
        """Write `report.json` and `report.html`."""
        write_json(Path(folder) / "report.json", self.to_dict())
        self.to_html(Path(folder) / "report.html")


def make_report(artifacts: Artifacts, results: Mapping[str, CheckResult] | None = None) -> Report:
    """Check what was collected, and put the report together; needs no model.

    Args:
        artifacts: what `collect` stored.
        results: of `run_checks`, when they are at hand.
    """
    results = run_checks(artifacts) if results is None else results
    manifest = dict(artifacts.manifest)
    manifest.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    return Report(
        headline(artifacts, results),
        results,
        ranked(artifacts, results),
        manifest,
        _previews(artifacts, results),
    )


def _previews(
    artifacts: Artifacts, results: Mapping[str, CheckResult]
) -> dict[str, dict[int, Any]]:
    if artifacts.state("previews")["state"] != "done":
        return {}
    shown = [e for r in results.values() for e in r.examples[:_PREVIEWED]]
    found: dict[str, dict[int, Any]] = {}
    for split in {e.split for e in shown} & set(artifacts.splits):
        stored = artifacts.read(f"previews/{split}")
        rows = {e.row for e in shown if e.split == split and e.row >= 0}
        found[split] = {r: _preview(stored, r, artifacts.manifest["feature_names"]) for r in rows}
    return found


def _preview(stored: Mapping[str, np.ndarray], row: int, names: list[str]) -> dict[str, Any]:
    if "images" in stored:
        image = stored["images"][row]
        return {"image": (image[..., 0] if image.shape[-1] == 1 else image).tolist()}
    if "rows" in stored:
        return {"row": {n: float(v) for n, v in zip(names, stored["rows"][row], strict=False)}}
    return {"row": dict(zip(stored["names"].tolist(), stored["text"][row].tolist(), strict=True))}


def _numbers(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _action(action: Action) -> dict[str, Any]:
    return {"check": action.id.split(".")[0], **asdict(action)}
