"""Numbers of the recipe `grokking_corrupted`: train, regularize, silence neurons, look again."""

from __future__ import annotations

from typing import Any

import numpy as np

from heldout.bench.corrupted_modular import CorruptedModular, corrupted_modular
from heldout.bench.modular import one_hot_pairs
from heldout.core.seeds import derived_seed, stream
from heldout.dynamics.fourier_ipr import neuron_ipr
from heldout.dynamics.memorizing_units import PruningCurve, prune_and_measure, unit_attribution
from heldout.papers._grokking_corrupted_batches import BatchArm, train_batches
from heldout.papers._grokking_corrupted_net import Arm, Trace, module, train

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_DRAWS = 5
_UNITS = "1"  # of the module: the squares


def points(steps: int) -> list[int]:
    """Return the steps to look at: 0, then eight to a decade, and the last.

    >>> points(4)
    [0, 1, 2, 3, 4]
    """
    spaced = {round(10 ** (i / 8)) for i in range(8 * len(str(steps)) + 1)}
    return sorted({0, steps} | {s for s in spaced if s <= steps})


def measure(experiment: str, setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Run one experiment of one seed; see the recipe's SETTINGS for what is in `setting`."""
    made = {"corrupted": _corrupted, "dropout": _dropout, "forgetting": _forgetting}
    return (made | {"batches": _batches})[experiment](setting, seed)


def _dropout(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Dropout at several rates, and none, from the same weights on the same pairs."""
    arms = {"none": Arm(setting["steps"])}
    arms |= {f"dropout_{rate}": Arm(setting["steps"], dropout=rate) for rate in setting["rates"]}
    out = _arms(arms, _task(setting, setting["train_share"], seed), setting["width"], seed)
    for name in arms:
        for kind in ("inverted", "test"):
            out[f"{kind}_over_none/{name}"] = out[f"{kind}/{name}"] - out[f"{kind}/none"]
    return out


def _forgetting(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Weight decay of two strengths for long; `left` is the larger of both final accuracies."""
    arms = {
        name: Arm(setting["steps"], weight_decay=value)
        for name, value in setting["weight_decay"].items()
    }
    out = _arms(arms, _task(setting, setting["train_share"], seed), setting["width"], seed)
    for name in arms:
        out[f"left/{name}"] = max(out[f"train/{name}"], out[f"test/{name}"])
        out[f"peak/{name}"] = max(v for k, v in out.items() if k.startswith(f"test/{name}@"))
    return out


def _batches(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Small batches without and with batch norm, and all pairs at once; same weights and pairs."""
    task, steps = _task(setting, setting["train_share"], seed), setting["steps"]
    looks = sorted({*points(steps), *range(0, steps, max(1, steps // 20))})
    out = _arms({"full_batch": Arm(setting["full_steps"])}, task, setting["width"], seed)
    for name, norm in (("small_batches", False), ("batch_norm", True)):
        arm = BatchArm(steps, setting["batch"], norm)
        trace = train_batches(arm, task, setting["width"], seed, looks)
        out |= _series(name, trace)
        # single steps are noisy: the mean over looks of the last quarter
        late = [v for step, v in trace.inverted.items() if step >= 3 * steps / 4]
        out[f"inverted_late/{name}"] = sum(late) / len(late)
    out["inverted_late/norm_minus_none"] = (
        out["inverted_late/batch_norm"] - out["inverted_late/small_batches"]
    )
    return out


def _arms(arms: dict[str, Arm], task: CorruptedModular, width: int, seed: int) -> dict[str, float]:
    out: dict[str, float] = {"share/true": float(1 - task.corrupted.mean())}
    for name, arm in arms.items():
        out |= _series(name, train(arm, task, width, seed, points(arm.steps)))
    return out


def _corrupted(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Train both arms from the same weights on the same pairs, and prune the one without decay."""
    task = _task(setting, setting["train_share"], seed)
    out: dict[str, float] = {"share/true": float(1 - task.corrupted.mean())}
    spread = {}
    for name, options in setting["arms"].items():
        arm = Arm(**options)
        trace = train(arm, task, setting["width"], seed, points(arm.steps))
        out |= _series(name, trace)
        spread[name] = _mean_ipr(trace)
        out[f"ipr/{name}"] = spread[name]
        if name == "plain":
            out |= _pruned(trace, task, seed)
    # a control: too few pairs to find the rule are learned by heart just as well
    few = train(
        Arm(setting["few_steps"]), _task(setting, setting["few_share"], seed),
        setting["width"], seed, points(setting["few_steps"]),
    )  # fmt: skip
    out |= _series("few", few)
    out["ipr/decay_minus_plain"] = spread["decay"] - spread["plain"]
    out["train/decay_off_share"] = abs(out["train/decay"] - out["share/true"])
    return out


def _task(setting: dict[str, Any], share: float, seed: int) -> CorruptedModular:
    drawn = derived_seed(seed, "grokking_corrupted", "task")
    return corrupted_modular(setting["p"], share, setting["corrupted_share"], seed=drawn)


def _series(name: str, trace: Trace) -> dict[str, float]:
    out: dict[str, float] = {}
    for kind in ("memorized", "inverted", "train", "test"):
        values: dict[int, float] = getattr(trace, kind)
        out |= {f"{kind}/{name}@{s}": v for s, v in values.items()}
        out[f"{kind}/{name}"] = values[max(values)]
    out[f"unlearned/{name}"] = max(trace.memorized.values()) - out[f"memorized/{name}"]
    return out


def _mean_ipr(trace: Trace) -> float:
    # weighted by how large a neuron's output can be, so that near-dead neurons do not count
    assert trace.weights is not None
    first, last = trace.weights
    ipr = neuron_ipr(first.T, last.T)
    size = (last.norm(dim=1) * first.norm(dim=0) ** 2).double().numpy()
    alive = np.isfinite(ipr)
    return float((ipr[alive] * size[alive]).sum() / size[alive].sum())


def _pruned(trace: Trace, task: CorruptedModular, seed: int) -> dict[str, float]:
    assert trace.weights is not None
    net = module(trace.weights)
    x, wrong = one_hot_pairs(task.train_pairs, task.p), task.corrupted
    rng = stream(seed, "grokking_corrupted", "half")
    scored = np.zeros(len(wrong), dtype=bool)
    scored[rng.permutation(len(wrong))[: len(wrong) // 2]] = True

    def rows(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x[which], task.train_labels[which]

    ipr = neuron_ipr(trace.weights[0].T, trace.weights[1].T)
    scores = {
        "ipr": -np.nan_to_num(ipr),
        "attribution": unit_attribution(
            net, _UNITS, rows(wrong & scored), rows(~wrong & scored)
        ).scores,
    }
    held = (one_hot_pairs(task.test_pairs, task.p), task.test_labels)
    sets = {"memorized": rows(wrong), "unseen": rows(wrong & ~scored), "test": held}
    found = {
        k: prune_and_measure(net, _UNITS, v, sets, FRACTIONS, _DRAWS, seed=seed)
        for k, v in scores.items()
    }
    return _curves(found)


def _curves(found: dict[str, PruningCurve]) -> dict[str, float]:
    ipr, attribution = found["ipr"], found["attribution"]
    out: dict[str, float] = {}
    for kind, whole in ipr.whole.items():
        ways = {
            "low_ipr": ipr.highest[kind].mean(1),  # scores are minus the IPR
            "high_ipr": ipr.lowest[kind].mean(1),
            "attribution": attribution.highest[kind].mean(1),
            "random": ipr.random[kind].mean(0),
        }
        for way, accuracy in ways.items():
            out[f"{kind}/pruned_{way}@0"] = float(whole.mean())
            for share, value in zip(FRACTIONS, accuracy, strict=True):
                out[f"{kind}/pruned_{way}@{round(100 * share)}"] = float(value)
    out["test/gain_low_ipr"] = out["test/pruned_low_ipr@50"] - out["test/pruned_low_ipr@0"]
    return out
