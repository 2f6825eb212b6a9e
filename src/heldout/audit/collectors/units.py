"""Units of the last hidden layer, silenced by what they do for labels that look wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from heldout.audit.artifacts import Arrays, Artifacts
from heldout.audit.context import Collector, Context, Cost, Settings, Speed
from heldout.audit.result import NotApplicableError
from heldout.audit.suspects import evidence_id, held_out_sources, likely_wrong
from heldout.core.borrow import borrowed
from heldout.core.inputs import Inputs
from heldout.core.outputs import call_module
from heldout.core.seeds import derived_seed, stream
from heldout.core.task import Task
from heldout.data.label_noise import rank_label_noise
from heldout.dynamics.memorizing_units import PruningCurve, prune_and_measure, unit_attribution

# After the folds: held-out answers of the user's own model say best which labels are wrong.
COLLECTOR = Collector("units", "Units that serve suspect labels, silenced", order=65)

FEWEST = 20  # suspects that the model fits: ten to choose units by, ten to judge them on
_NARROWEST = 8  # units; a tenth of fewer is none
_FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_DRAWS = 10
_ROWS = 1000  # per set: an interval of a share is then at most 6 points wide
_WORK = 2e10  # multiplications in all; less than that per set in wide layers
_SETS = ("suspect", "clean", "held-out")


def plan(task: Task, speed: Speed, settings: Settings) -> Cost:
    """One forward pass of one row; the rest is done on stored embeddings, at 1e9 products a second.

    The ranking of the labels takes about 0.5 s per 1,000 rows of ten classes.
    """
    if task.classifier.module is None:
        return Cost(0)
    n, classes = len(task.splits["train"]), task.n_classes
    return Cost(0.5 + n / 1000 * 0.5 * (1 + classes / 10) + 1.0, n * classes * 8 * 12 / 1e6)


def collect(context: Context) -> None:
    """Store `units/<evidence>`, named by what the suspects rest on (`evidence_id`).

    `suspects` and `fitted` are positions in the training split. Where at least 20 suspects are
    fitted, also `head` (name of the last layer), `order` (its inputs, by what they do for one
    half of the suspects beyond one half of the clean rows: fitted, and held-out answers agree
    with the label), `counts`, and of the other halves and the test set `whole/<set>`,
    `highest/<set>`, `lowest/<set>`, `random/<set>`.
    """
    task, artifacts = context.task, context.artifacts
    module = task.classifier.module
    if module is None:
        raise NotApplicableError("only torch modules have units")
    name, head = last_linear(module, task.splits["train"].inputs)
    weight, bias = _weights(head)
    _refuse_other_heads(artifacts, weight, bias)
    context.keep(f"units/{evidence_id(artifacts)}", partial(_measured, context, name, weight, bias))


def curve_of(stored: Arrays) -> PruningCurve:
    """Return what was kept of a pruning as the object that `pruning_finding` reads.

    Args:
        stored: of `units/<evidence>`, with `order`.
    """
    of = {
        kind: {s: stored[f"{kind}/{s}"] for s in _SETS}
        for kind in ("whole", "highest", "lowest", "random")
    }
    return PruningCurve(
        f"input of {stored['head']}",
        stored["counts"],
        len(stored["order"]),
        {k: v.astype(bool) for k, v in of["whole"].items()},
        {k: v.astype(bool) for k, v in of["highest"].items()},
        {k: v.astype(bool) for k, v in of["lowest"].items()},
        of["random"],
    )


def last_linear(module: nn.Module, inputs: Inputs) -> tuple[str, nn.Linear]:
    """Return the linear layer that is called last, and its name; the embedding is its input.

    Raises:
        NotApplicableError: there is none, or no other layer has weights: then its inputs are
            features, not units.

    >>> from heldout.core.inputs import from_native
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> last_linear(net, from_native(np.zeros((1, 2))))[0]
    '2'
    """
    called: list[str] = []
    linear = {k: m for k, m in module.named_modules() if isinstance(m, nn.Linear)}
    handles = [
        m.register_forward_pre_hook(lambda _, __, k=k: called.append(k)) for k, m in linear.items()
    ]
    try:
        with borrowed(module), torch.inference_mode():
            first = next(module.parameters(), torch.zeros(()))
            floating = (p.dtype for p in module.parameters() if p.is_floating_point())
            rows = inputs.take(np.arange(1))
            call_module(module, rows.tensors(first.device, next(floating, None)))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise NotApplicableError("the model has no linear layer at its end")
    name = called[-1]
    own = {id(p) for p in linear[name].parameters()}
    if all(id(p) in own for p in module.parameters()):
        raise NotApplicableError("the model is one linear layer: it has features, but no units")
    return name, linear[name]


def _weights(head: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    w = head.weight.detach().float().cpu().numpy()
    b = np.zeros(len(w), np.float32)
    if head.bias is not None:
        b = head.bias.detach().float().cpu().numpy()
    if len(w) == 1:  # one logit z is the pair (0, z)
        w, b = np.concatenate([0 * w, w]), np.concatenate([0 * b, b])
    return w, b


def _refuse_other_heads(artifacts: Artifacts, w: np.ndarray, b: np.ndarray) -> None:
    """What is computed from the embedding is only true where the logits are linear in it."""
    features, logits = artifacts.features("train"), artifacts.logits("train")
    if features is None or features.shape[1] != w.shape[1] or logits.shape[1] != len(w):
        raise NotApplicableError("the logits are not those of the last linear layer")
    if w.shape[1] < _NARROWEST:
        raise NotApplicableError(f"the last hidden layer has {w.shape[1]} units, fewer than 8")
    some = slice(0, 256)
    off = np.abs(features[some] @ w.T + b - logits[some]).max()
    if not off <= 0.03 * max(float(logits[some].std()), 1e-6):  # half precision rounds by 1 %
        raise NotApplicableError(
            f"the logits are no linear function of the embedding (they differ by {off:.3g})"
        )


def _measured(context: Context, name: str, w: np.ndarray, b: np.ndarray) -> Arrays:
    artifacts = context.artifacts
    labels = artifacts.labels("train")
    assert labels is not None
    sources, _ = held_out_sources(artifacts, len(labels))
    ranking = rank_label_noise(sources, labels)
    suspects = likely_wrong(ranking, labels)
    right = artifacts.correct("train")
    fitted = suspects[right[suspects]]
    found = {"suspects": suspects, "fitted": fitted}
    if len(fitted) < FEWEST:
        return found
    context.tell(f"silencing units for {len(fitted)} suspects")
    # Not all others: wrong labels that are no suspects would speak for the units that hold them.
    clean = np.flatnonzero(right & (ranking.suggested == labels))
    return found | {"head": np.array(name)} | _pruned(context, w, b, fitted, clean)


def _pruned(
    context: Context, w: np.ndarray, b: np.ndarray, fitted: np.ndarray, clean: np.ndarray
) -> Arrays:
    artifacts, seed = context.artifacts, context.settings.seed
    rng = stream(seed, "units", "halves")
    halves = [np.array_split(rng.permutation(rows), 2) for rows in (fitted, clean)]
    x, y = artifacts.features("train"), artifacts.labels("train")
    xt, yt = artifacts.features("test"), artifacts.labels("test")
    assert x is not None and y is not None and xt is not None and yt is not None
    last = nn.Linear(w.shape[1], len(w), device="meta").to_empty(device="cpu")
    with torch.no_grad():  # made without a draw from the user's random state
        last.weight.copy_(torch.from_numpy(w))
        last.bias.copy_(torch.from_numpy(b))
    head = nn.Sequential(nn.Identity(), last)
    most = _rows(*w.shape)
    (suspect_a, suspect_b), (clean_a, clean_b) = (
        [(x[part], y[part]) for part in halves[k]] for k in (0, 1)
    )
    sets = dict(zip(_SETS, (suspect_b, clean_b, (xt, yt)), strict=True))
    own = derived_seed(seed, "units")
    scores = unit_attribution(
        head, "0", suspect_a, clean_a, batch_size=most, max_examples=most, seed=own
    )
    shares = [f for f in _FRACTIONS if round(f * w.shape[1]) >= 1]
    curve = prune_and_measure(
        head, "0", scores, sets, shares, _DRAWS, batch_size=most, max_examples=most, seed=own
    )
    stored = {"order": np.argsort(-scores.scores, kind="stable"), "counts": curve.units}
    for kind in ("whole", "highest", "lowest", "random"):
        stored |= {f"{kind}/{s}": v for s, v in getattr(curve, kind).items()}
    return stored


def _rows(classes: int, width: int) -> int:
    passes = len(_SETS) * (1 + (2 + _DRAWS) * len(_FRACTIONS))
    return int(np.clip(_WORK / (passes * classes * width), 200, _ROWS))
