"""The top line: expected accuracy on shifted data, the gap, and one word by a printed rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import CheckResult, Number

RULE = (
    "not ready: at least one check failed. caution: no check failed, but one warned, or one of "
    "accuracy, gap, leakage or shift_forecast could not run. ready: neither."
)
_ESSENTIAL = ("accuracy", "gap", "leakage", "shift_forecast")


def headline(artifacts: Artifacts, results: Mapping[str, CheckResult]) -> dict[str, Any]:
    """Return word, sentence, rule, the checks that decided, and the three leading numbers."""
    failed = [i for i, r in results.items() if r.status == "failed"]
    warned = [i for i, r in results.items() if r.status == "warning"]
    blind = [i for i in _ESSENTIAL if i in results and results[i].status == "could_not_run"]
    word = "not ready" if failed else "caution" if warned or blind else "ready"
    test = results["accuracy"].numbers.get("test")
    gap = results["gap"].numbers.get("gap") if "gap" in results else None
    shifted, source = _shifted_accuracy(artifacts, results)
    return {
        "word": word,
        "sentence": _sentence(
            test, shifted, source, {"failed": failed, "warned": warned, "could not run": blind}
        ),
        "rule": RULE,
        "because": failed or warned or blind,
        "shifted_accuracy": shifted,
        "test_accuracy": test,
        "gap": gap,
    }


def _shifted_accuracy(
    artifacts: Artifacts, results: Mapping[str, CheckResult]
) -> tuple[Number | None, str]:
    """Mean over the shifted sets: measured where there are labels, else the forecast."""
    measured = results["accuracy"].numbers
    forecast = results["shift_forecast"].numbers if "shift_forecast" in results else {}
    found = []
    known = 0
    for split in artifacts.shifted:
        name = split.removeprefix("shifted/")
        if split in measured:
            found.append(measured[split])
            known += 1
        elif name in forecast:
            found.append(forecast[name])
    if not found:
        return None, ""
    k = len(found)
    source = f"{known} measured, {k - known} forecast without labels"
    return Number(
        sum(x.value for x in found) / k,
        # Errors of shifted sets are not independent: the mean of the ends is the safe interval.
        sum(x.ci_low for x in found) / k,
        sum(x.ci_high for x in found) / k,
        sum(x.n for x in found),
        "accuracy (0-1)",
        "lower",
        level=min(x.level for x in found),
        method=f"mean over {k} shifted sets ({source}); ends are means of their ends",
        guide="Accuracy to expect on data like the shifted sets.",
    ), source


def _sentence(
    test: Number | None,
    shifted: Number | None,
    source: str,
    complaints: Mapping[str, list[str]],
) -> str:
    parts = []
    if test is not None:
        parts.append(f"{test.value:.1%} on test data")
    if shifted is not None:
        low, high = max(0.0, shifted.ci_low), min(1.0, shifted.ci_high)
        parts.append(
            f"{shifted.value:.1%} expected on shifted data ({low:.1%} to {high:.1%}; {source})"
        )
    why = "; ".join(f"{what}: {', '.join(ids)}" for what, ids in complaints.items() if ids)
    return f"{', '.join(parts)}. {why[:1].upper() + why[1:] if why else 'No check complains'}."
