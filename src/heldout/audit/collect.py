"""Ask the model once, and store what the checks need; survives being killed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heldout.audit.artifacts import VERSION, fresh
from heldout.audit.collectors import ordered
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.failure import said
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.environment import environment
from heldout.core.task import Split, Task

GAINS_SHARE = 0.30
"""Share of the retraining budget kept for measuring what each action gains."""

_LOG = logging.getLogger("heldout")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """One line of the plan."""

    collector: Collector
    cost: Cost


def measure_speed(task: Task) -> Speed:
    """Time a forward pass on up to 512 training examples, after one that warms up."""
    train = task.splits["train"]
    probe = train.inputs.take(np.arange(min(512, len(train))))
    task.classifier(probe)
    start = time.perf_counter()
    task.classifier(probe)
    seconds = time.perf_counter() - start
    size = sum(v.nbytes for v in probe.columns.values()) / len(probe)
    return Speed(seconds / len(probe), size)


def plan(task: Task, speed: Speed, settings: Settings) -> list[Planned]:
    """Return what each collector will take, in the order in which they run."""
    planned = []
    for module in ordered():
        cost = module.plan(task, speed, settings)
        if not cost.skip and cost.megabytes > 1000 * settings.memory_gb:
            cost = Cost(
                0, 0, skip=f"needs {cost.megabytes / 1000:.1f} GB of {settings.memory_gb} GB"
            )
        planned.append(Planned(module.COLLECTOR, cost))
    return planned


def collect(
    task: Task,
    folder: Path,
    settings: Settings,
    speed: Speed | None = None,
    planned: list[Planned] | None = None,
    tell: Tell = lambda text: None,
) -> Context:
    """Run every collector that is not done yet, and return the context with its artifacts.

    Args:
        task: what is audited.
        folder: where artifacts go; one of the same task is continued, another is emptied.
        settings: of the audit.
        speed: from `measure_speed`.
        planned: from `plan`.
        tell: called with progress in words.

    A collector that raises is marked as failed with the reason, and the others go on.
    """
    speed = speed or measure_speed(task)
    planned = planned or plan(task, speed, settings)
    artifacts = fresh(folder, describe(task, settings))
    context = Context(task, artifacts, settings, speed)
    start = time.monotonic()
    end = start + 60 * settings.budget_minutes
    shares = GAINS_SHARE + sum(p.collector.share for p in planned)
    for item in planned:
        share = item.collector.share
        now = time.monotonic()
        context.deadline = end if share == 0 else now + max(0.0, end - now) * share / shares
        shares -= share
        context.tell = lambda text, title=item.collector.title: tell(f"{title}: {text}")  # type: ignore[misc]
        tell(item.collector.title)
        _run(context, item)
    context.deadline = end
    return context


def _run(context: Context, item: Planned) -> None:
    from heldout.audit.collectors import COLLECTORS

    name, artifacts = item.collector.id, context.artifacts
    before = artifacts.state(name)
    budget = context.settings.budget_minutes
    if before["state"] == "done" and before.get("budget", 0) >= budget:
        return
    start = time.monotonic()
    state, reason = "done", ""
    if item.cost.skip:
        state, reason = (
            ("not_applicable" if "no fit" in item.cost.skip else "skipped"),
            item.cost.skip,
        )
    else:
        try:
            COLLECTORS[name].collect(context)
        except NotApplicableError as error:
            state, reason = "not_applicable", str(error)
        except SkippedError as error:
            state, reason = "skipped", str(error)
        except Exception as error:  # a collector must not take the others down with it
            _LOG.debug("collector %s failed", name, exc_info=True)
            state, reason = "failed", said(error)
    artifacts.mark(name, state, reason, time.monotonic() - start)
    artifacts.manifest["collectors"][name]["budget"] = budget
    artifacts.save_manifest()


def describe(task: Task, settings: Settings) -> dict[str, Any]:
    """Return the manifest: everything about the task that a report says."""
    module = task.classifier.module
    return {
        "version": VERSION,
        "fingerprint": fingerprint(task, settings),
        "splits": {
            name: {"n": len(s), "total": s.total, "labelled": s.labels is not None}
            for name, s in task.splits.items()
        },
        "class_names": task.class_names,
        "inputs": task.splits["train"].inputs.kind,
        "shape": [list(v.shape[1:]) for v in task.splits["train"].inputs.columns.values()][:8],
        "feature_names": task.splits["train"].inputs.feature_names()[:4096],
        "model": type(task.classifier.model).__name__,
        "model_kind": task.classifier.kind,
        "parameters": None if module is None else sum(p.numel() for p in module.parameters()),
        "has_fit": task.fit is not None,
        "settings": asdict(settings),
        "environment": environment(),
    }


def fingerprint(task: Task, settings: Settings) -> str:
    """Return a hash of model, data and the settings on which artifacts depend.

    The model enters through its weights, or else through its rounded answers on a probe.
    """
    digest = hashlib.sha256()
    digest.update(repr((settings.seed, settings.max_examples, settings.exclude_kinds)).encode())
    digest.update(repr((task.class_names, task.fit is not None)).encode())
    for split in task.splits.values():
        _digest_split(digest, split)
    module = task.classifier.module
    if module is not None:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    else:
        train = task.splits["train"]
        probe = train.inputs.take(np.arange(min(256, len(train))))
        digest.update(np.round(task.classifier(probe).logits, 3).tobytes())
    return digest.hexdigest()


def _digest_split(digest: Any, split: Split) -> None:
    digest.update(split.name.encode())
    for name, column in split.inputs.columns.items():
        digest.update(name.encode())
        plain = column.astype(np.str_) if column.dtype.hasobject else column
        digest.update(np.ascontiguousarray(plain).tobytes())
    for array in (split.labels, split.index, *split.groups.values()):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
