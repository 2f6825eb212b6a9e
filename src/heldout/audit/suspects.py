"""Training rows that held-out predictions call mislabelled: one reading of them for all stages."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float, Int

from heldout.audit.artifacts import Artifacts
from heldout.audit.result import SkippedError
from heldout.core.statistics import softmax
from heldout.data.label_noise import NoiseRanking


def held_out_sources(
    artifacts: Artifacts, n: int
) -> tuple[dict[str, Float[np.ndarray, "n c"]], bool]:
    """Return probabilities by source for the training labels, each row predicted unseen.

    Args:
        artifacts: with `probes/...`, and `crossfit/...` where the model could be retrained.
        n: number of training rows.

    Returns:
        Probabilities by name, and whether all come from an embedding that saw the labels.

    Raises:
        SkippedError: there are none.
    """
    found, clean = {}, []
    for key in artifacts.keys("probes"):
        stored = artifacts.read(key)
        found[key.removeprefix("probes/")] = stored["probs"].astype(np.float64)
        clean.append(bool(stored["clean"]))
    rounds = finished_rounds(artifacts, n)
    if rounds:
        found["model"] = np.mean(rounds, axis=0)
    if not found:
        raise SkippedError("no held-out predictions were collected")
    return found, not rounds and not any(clean)


def finished_rounds(artifacts: Artifacts, n: int) -> list[Float[np.ndarray, "n c"]]:
    """Return held-out probabilities of the user's model, one array per finished round of folds."""
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for key in artifacts.keys("crossfit"):
        repeat = key.removeprefix("crossfit/").split("-")[0]
        parts.setdefault(repeat, []).append(artifacts.read(key))
    finished = []
    for folds in parts.values():
        rows = np.concatenate([f["rows"] for f in folds])
        if len(rows) == n and len(np.unique(rows)) == n:
            probs = np.zeros((n, folds[0]["logits"].shape[1]))
            probs[rows] = softmax(np.concatenate([f["logits"] for f in folds]))
            finished.append(probs)
    return finished


def likely_wrong(ranking: NoiseRanking, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """Return the suspects: the worst rows that another class fits better, worst first.

    As many rows as are estimated wrong are looked at, `round(rate * n)`.

    >>> from heldout.data.label_noise import rank_label_noise
    >>> p = np.tile([[0.98, 0.02], [0.02, 0.98]], (20, 1)); y = np.tile([0, 1], 20); y[3] = 0
    >>> likely_wrong(rank_label_noise({"a": p}, y), y).tolist()
    [3]
    """
    order = ranking.order[: round(ranking.rate.value * len(labels))]
    return np.asarray(order[ranking.suggested[order] != labels[order]])


def evidence_id(artifacts: Artifacts) -> str:
    """Return a short name of what the suspects rest on; it changes when an audit collects more.

    What is stored of one set of suspects under this name is not mistaken for another's.
    """
    keys = [*artifacts.keys("probes"), *artifacts.keys("crossfit")]
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:12]
