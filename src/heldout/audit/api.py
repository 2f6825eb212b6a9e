"""`heldout.audit(...)`: from a model and its data to a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heldout.audit.actions import measure_gains
from heldout.audit.artifacts import Artifacts
from heldout.audit.collect import Planned, collect, measure_speed, plan
from heldout.audit.context import Settings
from heldout.audit.outcome import Report, make_report
from heldout.audit.run import run_checks
from heldout.core.borrow import borrowed
from heldout.core.errors import InputError
from heldout.core.preparing import prepare
from heldout.core.task import Fit, Task

ARTIFACTS = "artifacts"
"""Folder under `out` that holds what was collected."""


def audit(
    model: Any,
    train: Any,
    test: Any,
    shifted: Mapping[str, Any] | None = None,
    fit: Fit | None = None,
    *,
    groups: Mapping[str, Any] | None = None,
    class_names: list[str] | None = None,
    seed: int = 0,
    budget_minutes: float = 10.0,
    out: str | Path | None = None,
    settings: Settings | None = None,
    title: str = "",
) -> Report:
    """Audit how well a classifier will generalize, why, and what to do next.

    Args:
        model: an `nn.Module` that returns logits, a fitted scikit-learn classifier, or a
            callable that returns logits or probabilities. It comes back as it was.
        train: labelled training data: a DataLoader, a Dataset, `(X, y)`, a frame with a label
            column, or an iterable of tuples or dicts.
        test: labelled held-out data.
        shifted: data from elsewhere by name, with or without labels.
        fit: `fit(dataset, seed) -> model`; with it, gains of actions are measured by retraining.
            `dataset` is a torch dataset that also unpacks as `X, y`.
        groups: metadata per split, such as `{"test": {"hospital": [...]}}`.
        class_names: names of the class ids, in order.
        seed: seed of everything random.
        budget_minutes: time for the whole audit.
        out: folder for artifacts, `report.json` and `report.html`; nothing is kept when None.
        settings: further settings; `seed` and `budget_minutes` above take precedence.
        title: of the report.

    Returns:
        A `Report` with `headline`, `checks`, `actions`, `to_dict()` and `to_html()`.

    Raises:
        InputError: model or data cannot be used; it says what to change.
        ArtifactError: the folder cannot be written.
    """
    _positive("budget_minutes", budget_minutes)
    made = replace(settings or Settings(), seed=seed, budget_minutes=budget_minutes)
    task = prepare(
        model,
        train,
        test,
        shifted,
        fit,
        groups=groups,
        class_names=class_names,
        seed=seed,
        batch_size=made.batch_size,
        max_examples=made.max_examples,
    )
    if out is not None:
        return audit_task(task, made, Path(out), title=title)
    with tempfile.TemporaryDirectory() as folder:
        return audit_task(task, made, Path(folder), title=title)


def audit_task(
    task: Task,
    settings: Settings,
    out: Path,
    title: str = "",
    command: str = "",
    show_plan: Callable[[list[Planned]], None] = lambda planned: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Audit a prepared task into a folder; see `audit`.

    Args:
        task: from `heldout.core.preparing.prepare`.
        settings: of the audit.
        out: folder for artifacts and report.
        title: of the report.
        command: that made it, for the report.
        show_plan: called with the plan before anything runs.
        tell: called with progress in words.
    """
    with borrowed(task.classifier.model, evaluating=False):
        speed = measure_speed(task)
        planned = plan(task, speed, settings)
        show_plan(planned)
        context = collect(task, out / ARTIFACTS, settings, speed, planned, tell)
        results = run_checks(context.artifacts)
        tell("Gains of actions")
        context.tell = tell
        measure_gains(context, results)
    manifest = context.artifacts.manifest
    manifest |= {"title": title, "command": command}
    manifest["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    context.artifacts.save_manifest()
    report = make_report(context.artifacts, results)
    report.save(out)
    return report


def recheck(folder: str | Path) -> Report:
    """Check again what an earlier audit collected, without the model.

    Args:
        folder: the `out` of that audit.

    Raises:
        ArtifactError: the folder holds no artifacts, or those of another version.
    """
    return make_report(Artifacts.open(Path(folder) / ARTIFACTS))


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name}={value}", "a number above 0", f"{name}=10")
