"""Stages that ask the model, one file each; what they store is all that checks see.

A collector module has `COLLECTOR: Collector`, `plan(task, speed, settings) -> Cost` and
`collect(context) -> None`, which stores through `context.keep`. It raises `NotApplicableError`
or `SkippedError` with a reason. Adding one = a file and a sorted line here.
"""

from __future__ import annotations

from types import ModuleType

from heldout.core.registry import Registry

COLLECTORS = Registry(
    "collector",
    __name__,
    (
        "canaries",
        "crossfit",
        "difficulty",
        "fingerprints",
        "gradients",
        "influence",
        "interventions",
        "learning_curve",
        "numerics",
        "overtraining",
        "perturbations",
        "predictions",
        "previews",
        "probes",
        "refits",
        "reliance",
        "stability",
        "units",
    ),
)


def ordered() -> list[ModuleType]:
    """Return the collector modules in the order in which they run."""
    return sorted(COLLECTORS.modules(), key=lambda m: (m.COLLECTOR.order, m.COLLECTOR.id))
