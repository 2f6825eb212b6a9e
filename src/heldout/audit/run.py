"""Run every check on what was collected; none is ever left out."""

from __future__ import annotations

import logging
import time
from typing import Any

from heldout.audit.artifacts import Artifacts
from heldout.audit.checks import CHECKS
from heldout.audit.failure import said
from heldout.audit.result import (
    Check,
    CheckResult,
    Finding,
    NotApplicableError,
    SkippedError,
)
from heldout.audit.track import track_records

_LOG = logging.getLogger("heldout")


def run_checks(artifacts: Artifacts) -> dict[str, CheckResult]:
    """Return the result of every known check, by id."""
    records = track_records()
    results = {}
    for module in CHECKS.modules():
        start = time.monotonic()
        finding = _finding(module, artifacts)
        seconds = time.monotonic() - start
        drawn_on = (*module.CHECK.needs, *module.CHECK.uses)
        seconds += sum(artifacts.state(name)["seconds"] for name in drawn_on)
        record = records.get(module.CHECK.id)
        results[module.CHECK.id] = CheckResult(module.CHECK, finding, record, seconds)
    return results


def _finding(module: Any, artifacts: Artifacts) -> Finding:
    check: Check = module.CHECK
    for need in check.needs:
        state = artifacts.state(need)
        if state["state"] == "not_applicable":
            return Finding("not_applicable", state["reason"])
        if state["state"] != "done":
            return Finding("could_not_run", f"{need}: {state['reason']}")
    try:
        found = module.run(artifacts)
        assert isinstance(found, Finding)
        return found
    except NotApplicableError as error:
        return Finding("not_applicable", str(error))
    except SkippedError as error:
        return Finding("could_not_run", str(error))
    except Exception as error:  # one broken check must not cost the user the other results
        _LOG.debug("check %s failed", check.id, exc_info=True)
        return Finding("could_not_run", said(error))
