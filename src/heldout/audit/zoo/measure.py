"""What each check said of a case, beside what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import CheckResult
from heldout.audit.zoo.truth import flip_loss, leaving_out, stopping_gain
from heldout.bench.zoo import World
from heldout.bench.zoo_cases import Case
from heldout.core.inputs import from_native
from heldout.core.preparing import prepare
from heldout.core.statistics import softmax
from heldout.core.task import Task

Part = dict[str, Any]


@dataclass(frozen=True)
class Audited:
    """A case, and what an audit of it collected and said."""

    case: Case
    made: World
    task: Task
    checks: Mapping[str, CheckResult]
    artifacts: Artifacts


def measure(seen: Audited, names: Iterable[str]) -> Part:
    """Return, for some checks, what they said beside the truth; nothing of those it says not of.

    Cost: up to nine trainings of the case's model, by check.
    """
    found: Part = {}
    for name in names:
        if name in _MEASURED:
            found |= _MEASURED[name](seen)
    return found


def _accuracy(seen: Audited) -> Part:
    return {"accuracy": {s: n.value for s, n in seen.checks["accuracy"].numbers.items()}}


def _forecast(seen: Audited) -> Part:
    found, artifacts = [], seen.artifacts
    for name, n in seen.checks["shift_forecast"].numbers.items():
        split = f"shifted/{name}"
        if split in artifacts.splits and artifacts.labels(split) is not None:
            truth = float(artifacts.correct(split).mean())
            found.append(
                {
                    "set": name,
                    "value": n.value,
                    "low": n.ci_low,
                    "high": n.ci_high,
                    "truth": truth,
                    "same_as_test": float(artifacts.correct("test").mean()),
                    "confidence": float(artifacts.probabilities(split).max(axis=1).mean()),
                }
            )
    return {"forecast": found}


def _label_noise(seen: Audited) -> Part:
    if seen.case.defect != "label_noise":
        return {}
    labels = seen.made.arguments["train"][1]
    wrong = np.isin(np.arange(len(labels)), seen.made.wrong_rows)
    result = seen.checks["label_noise"]
    score = np.full(len(labels), -np.inf)
    for rank, example in enumerate(result.examples):
        score[example.row] = -rank
    score[~np.isfinite(score)] = -len(labels)
    rate = result.numbers.get("rate")
    peer = _self_confidence(seen.case, seen.made, labels)
    found = {
        "ap": float(average_precision_score(wrong, score)),
        "peer_ap": float(average_precision_score(wrong, -peer)),
        "rate": None if rate is None else rate.value,
        "true_rate": float(wrong.mean()),
    }
    return {"label_noise": found}


def _self_confidence(case: Case, made: World, labels: np.ndarray) -> np.ndarray:
    """Cleanlab's label-quality score: out-of-fold probability of the given label, five folds."""
    x = made.arguments["train"][0]
    quality = np.zeros(len(labels))
    folds = StratifiedKFold(5, shuffle=True, random_state=case.seed).split(x, labels)
    for fold, (rows, held) in enumerate(folds):
        task = prepare(
            made.arguments["fit"]((x[rows], labels[rows]), fold),
            (x[rows], labels[rows]),
            (x[held], labels[held]),
        )
        found = softmax(task.classifier(task.splits["test"].inputs).logits)
        quality[held] = found[np.arange(len(held)), labels[held]]
    return quality


def _leakage(seen: Audited) -> Part:
    if seen.case.defect not in ("leakage", "healthy"):
        return {}
    flagged = {e.row for e in seen.checks["leakage"].examples if e.split == "test"}
    truth = set(seen.made.leaked_rows.tolist())
    counts = {"flagged": len(flagged), "true": len(truth), "both": len(flagged & truth)}
    return {"leakage": counts}


def _cue_drop(seen: Audited) -> Part:
    if seen.made.without_cue is None:
        return {}
    x, y = seen.made.without_cue
    plain = float((seen.task.classifier(from_native(x)).logits.argmax(axis=1) == y).mean())
    return {"cue_drop": float(seen.artifacts.correct("test").mean()) - plain}


def _weakest_class(seen: Audited) -> Part:
    """How far the model's weakest class lies below the others, on rows that no check has seen."""
    if seen.made.twice is None or seen.case.defect != "healthy":
        return {}
    n = len(seen.made.arguments["train"][1])
    x, y = seen.made.twice[0][n:], seen.made.twice[1][n:]
    right = seen.task.classifier(from_native(x)).logits.argmax(axis=1) == y
    gaps = [right[y != c].mean() - right[y == c].mean() for c in np.unique(y)]
    return {"weakest_class_gap": float(max(gaps))}


def _twice(seen: Audited) -> Part:
    made, task = seen.made, seen.task
    if made.twice is None or task.fit is None or seen.case.defect not in ("healthy", "tiny"):
        return {}
    x, y = made.twice
    test = task.splits["test"]
    models = [prepare(task.fit((x, y), s), (x, y), made.arguments["test"]) for s in range(3)]
    hits = [t.classifier(test.inputs).logits.argmax(axis=1) == test.labels for t in models]
    found = seen.checks["data_size"].numbers.get("error_with_twice_the_data")
    said = None if found is None else [1 - found.value, 1 - found.ci_high, 1 - found.ci_low]
    return {"twice": {"truth": float(np.mean(hits)), "said": said}}


def _stopping(seen: Audited) -> Part:
    if seen.made.path is None or seen.task.fit:
        return {}
    return {"stopping": stopping_gain(seen.made, seen.task, seen.checks)}


def _flips(seen: Audited) -> Part:
    if not seen.task.fit or seen.case.defect not in ("healthy", "overtrained", "interpolating"):
        return {}
    return {"flips": flip_loss(seen.made, seen.task, seen.checks)}


def _leaving_out(seen: Audited) -> Part:
    if seen.checks["stability"].status == "not_applicable":
        return {}
    return {"leaving_out": leaving_out(seen.made, seen.task, seen.checks)}


def _blamed(seen: Audited) -> Part:
    """Share of truly wrong labels among the rows that influence puts first, and what was said."""
    result = seen.checks["influence"]
    said = result.numbers.get("suspects_among_first")
    if said is None or not len(seen.made.wrong_rows):
        return {}
    wrong = np.isin([e.row for e in result.examples], seen.made.wrong_rows)
    shares = {"first": float(wrong[: said.n].mean()), "all": float(wrong.mean())}
    return {"blamed": shares | {"said": said.value, "rows": said.n}}


def _rare(seen: Audited) -> Part:
    said = seen.checks["coverage"].numbers.get("rare_minus_rest")
    if said is None or "loss" not in seen.made.truth:
        return {}
    return {"rare": {"truth": seen.made.truth["loss"], "said": -said.value}}


_MEASURED: dict[str, Callable[[Audited], Part]] = {
    "accuracy": _accuracy,
    "canaries": _flips,
    "coverage": _rare,
    "data_size": _twice,
    "groups": _weakest_class,
    "influence": _blamed,
    "label_noise": _label_noise,
    "leakage": _leakage,
    "overtraining": _stopping,
    "shift_forecast": _forecast,
    "shortcuts": _cue_drop,
    "stability": _leaving_out,
}
