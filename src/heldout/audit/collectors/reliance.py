"""Parts without which the model dies, asked again: is their complement idle though it predicts."""

from __future__ import annotations

from functools import partial

import numpy as np

from heldout.audit.artifacts import Arrays, Artifacts, packed, unpacked
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError, SkippedError
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Task
from heldout.dynamics.feature_reliance import GroupReliance
from heldout.dynamics.part_reliance import part_reliance
from heldout.dynamics.regions import Region
from heldout.dynamics.row_scores import Metric

# After the interventions, whose few draws say which parts are worth many.
COLLECTOR = Collector("reliance", "Parts that the model may hang on alone", order=22)

LARGEST_SHARE = 0.45
"""Share of the input above which a group is no part."""

_MOST = 4  # parts
_DRAWS = (10, 5)  # permutations, and the fewest that are worth it
_SHARE = 0.05  # of the budget
_FEWEST = 50  # test examples
_PROBE_ROWS = 2000
_SECONDS_PER_PART = 1.0  # two forests of 100 trees
_LEFT, _KEPT = 0.3, 0.8  # skill left and kept, wider than what the check asks for
_UNEVEN = 0.7  # largest class above which accuracy says little, and AUC is taken
_FIELDS = ("standard", "randomized", "complement_randomized", "probe_group", "probe_complement")


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """21 passes over at most 1,000 test examples per part that qualifies; often there is none."""
    if task.splits["train"].inputs.kind == "tokens":
        return Cost(0, skip="token ids have no regions")
    rows = min(1000, len(task.splits["test"]))
    draws = _draws(speed, settings, rows)
    seconds = _MOST * (rows * speed.forward * (1 + 2 * draws) + _SECONDS_PER_PART)
    note = f"at most {_MOST} parts, {draws} permutations; nothing where no part qualifies"
    return Cost(seconds, rows * speed.input_bytes * 4 / 1e6, note)


def collect(context: Context) -> None:
    """Store `reliance/parts` (`parts`, `auc`) and `reliance/part-<k>`, intervals by field.

    Asked about are parts of the input (not of its spectrum) of at most 45 % that by the draws
    of `interventions` keep at most 0.3 of the skill when randomized and at least 0.8 when all
    else is; at most four, the smallest first. An interval is (value, low, high, n).
    """
    task, artifacts = context.task, context.artifacts
    if not artifacts.has("interventions/regions"):
        state = artifacts.state("interventions")
        kind = NotApplicableError if state["state"] == "not_applicable" else SkippedError
        raise kind(f"interventions: {state['reason']}")
    rows = artifacts.read("interventions/sample")["rows"]
    labels = task.labels("test")[rows]
    if len(rows) < _FEWEST or len(np.unique(labels)) < 2:
        raise SkippedError(f"fewer than {_FEWEST} test examples of two classes")
    metric: Metric = "auc" if np.bincount(labels).max() > _UNEVEN * len(labels) else "accuracy"
    parts = context.keep(
        "reliance/parts",
        lambda: {"parts": np.array(_candidates(artifacts, labels), int), "auc": metric == "auc"},
    )["parts"]
    for k in parts.tolist():
        context.tell(f"part {k + 1}")
        context.keep(f"reliance/part-{k}", partial(_asked, context, k, rows, metric))


def found_of(artifacts: Artifacts) -> dict[int, GroupReliance]:
    """Return what was stored, by number of the part in `interventions/regions`.

    Empty where nothing was collected.
    """
    if not artifacts.has("reliance/parts"):
        return {}
    out = {}
    for k in artifacts.read("reliance/parts")["parts"].tolist():
        stored = artifacts.read(f"reliance/part-{k}")
        ends = {name: unpacked(stored[name], str(stored["method"])) for name in _FIELDS}
        out[k] = GroupReliance(**ends, chance=float(stored["chance"]), share=float(stored["share"]))
    return out


def _candidates(artifacts: Artifacts, labels: np.ndarray) -> list[int]:
    about = artifacts.read("interventions/regions")
    right = artifacts.correct("test")[artifacts.read("interventions/sample")["rows"]]
    chance = float(np.bincount(labels).max() / len(labels))
    room = float(right.mean()) - chance
    stored: Arrays = {}
    for key in artifacts.keys("interventions"):
        if key.startswith("interventions/asked-"):
            stored |= artifacts.read(key)
    found = []
    for k in np.argsort(about["share"], kind="stable").tolist():
        left, kept = (stored[f"{k}/{name}"].mean() - chance for name in ("randomized", "alone"))
        part = about["space"][k] == "input" and about["share"][k] <= LARGEST_SHARE
        if part and room > 0 and left <= _LEFT * room and kept >= _KEPT * room:
            found.append(k)
    return found[:_MOST]


def _asked(context: Context, k: int, rows: np.ndarray, metric: Metric) -> dict[str, np.ndarray]:
    task, seed = context.task, context.settings.seed
    about = context.artifacts.read("interventions/regions")
    cells = tuple(about["cells"][about["start"][k] : about["start"][k + 1]].tolist())
    region = Region(
        str(about["name"][k]), str(about["kind"][k]), "input", cells, float(about["share"][k])
    )
    train, test = task.splits["train"], task.splits["test"].take(rows)
    order = stream(seed, "reliance", "train").permutation(len(train))
    some = train.take(np.sort(order[:_PROBE_ROWS]))
    assert test.labels is not None and some.labels is not None
    found = part_reliance(
        task.classifier,
        (test.inputs, test.labels),
        region,
        stream(seed, "reliance", region.name),
        train=(some.inputs, some.labels),
        metric=metric,
        n_perm=_draws(context.speed, context.settings, len(rows)),
        seed=derived_seed(seed, "reliance", region.name),
    )
    kept = {name: getattr(found, name) for name in _FIELDS}
    return {n: packed(i) for n, i in kept.items()} | {
        "chance": np.array(found.chance),
        "share": np.array(found.share),
        "method": np.array({"auc": "AUC", "accuracy": "accuracy"}[metric]),
    }


def _draws(speed: Speed, settings: Settings, rows: int) -> int:
    seconds = 60 * settings.budget_minutes * _SHARE
    affordable = seconds / max(2 * _MOST * rows * speed.forward, 1e-9)
    return int(np.clip(affordable, _DRAWS[1], _DRAWS[0]))
