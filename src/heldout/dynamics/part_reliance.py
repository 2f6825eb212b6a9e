"""Group reliance for any form of input: tables with text, frames, images, spectra, several inputs.

`heldout.dynamics.feature_reliance.group_reliance` takes one array of numbers and may rotate it;
here parts are those of `heldout.dynamics.regions`, exchanged in the form the model takes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from heldout.core.classifier import Predict
from heldout.core.errors import InputError
from heldout.core.inputs import Inputs, stack
from heldout.core.interval import Interval
from heldout.core.seeds import derived_seed
from heldout.core.statistics import paired_difference, proportion
from heldout.data.forests import ForestOptions, fit_classes
from heldout.dynamics.feature_reliance import GroupReliance
from heldout.dynamics.regions import Region, coordinates, transplant
from heldout.dynamics.row_scores import Metric, mean_score

_WIDEST = 400  # cells that a probe sees; more are thinned evenly
_TINY = 1e-12

Labelled = tuple[Inputs, Int[np.ndarray, " n"]]


def part_reliance(
    predict: Predict,
    test: Labelled,
    region: Region,
    rng: np.random.Generator,
    *,
    train: Labelled | None = None,
    metric: Metric = "accuracy",
    n_perm: int = 20,
    trees: int = 100,
    seed: int = 0,
) -> GroupReliance:
    """Score a model with a part, or all but the part, taken from other examples.

    With S the part, C the rest and pi a permutation of examples: score(x_pi_S, x_C) and
    score(x_S, x_pi_C), each a mean over permutations, and the scores of extremely randomized
    trees that are trained on S alone and on C alone.

    Shah et al. 2020, arXiv:2006.07710, section 3 (S-randomized score). DIFFERS: one permutation
    there; the probes are ours. With accuracy, the interval of `complement_randomized` is that of
    its change from `standard` over the same examples, put at `standard`: whether the rest is idle
    is a matter of that change, and few examples suffice to see that there is none.

    Args:
        predict: the model.
        test: held-out inputs and their classes.
        region: S.
        rng: draws the permutations.
        train: other examples, to fit the probes on; without them, no probes.
        metric: "accuracy" or "auc", see `heldout.dynamics.row_scores.mean_score`.
        n_perm: permutations.
        trees: of each probe.
        seed: of the probes.

    Returns:
        Intervals, 95 %, over examples; `chance` is the largest class's share, or 1/2 for AUC.

    Cost: 1 + 2 n_perm forward passes over the test examples, and two small forests.

    Raises:
        InputError: no permutation, labels of one class, or of another length than the inputs.

    >>> from heldout.core.classifier import classifier
    >>> from heldout.core.inputs import from_native
    >>> x = np.random.default_rng(0).normal(size=(300, 2)); y = (x[:, 0] > 0) * 1
    >>> model = classifier(lambda z: np.c_[-z[:, 0], z[:, 0]])
    >>> part = Region("column 0", "column", "input", (0,), 0.5)
    >>> r = part_reliance(model, (from_native(x), y), part, np.random.default_rng(1))
    >>> r.standard.value, bool(0.45 < r.randomized.value < 0.55), r.complement_randomized.value
    (1.0, True, 1.0)
    """
    inputs, labels = test
    if n_perm < 1 or len(labels) != len(inputs):
        raise InputError(
            f"n_perm {n_perm}, {len(labels)} labels for {len(inputs)} examples",
            "at least one permutation, and a label each",
            "n_perm=20",
        )
    whole = predict(inputs).logits
    standard = mean_score([whole], labels, metric)
    swapped, kept = [], []
    for _ in range(n_perm):
        other = inputs.take(rng.permutation(len(labels)))
        swapped.append(predict(transplant(inputs, other, region)).logits)
        kept.append(predict(transplant(other, inputs, region)).logits)
    own, rest = (None, None)
    if train is not None:
        own, rest = _probes(train, test, region, metric, trees, seed)
    chance = 0.5 if metric == "auc" else float(np.bincount(labels).max() / len(labels))
    return GroupReliance(
        standard,
        mean_score(swapped, labels, metric),
        _beside(standard, whole, kept, labels, metric),
        own,
        rest,
        chance,
        region.share,
    )


def _beside(
    standard: Interval,
    whole: np.ndarray,
    kept: list[np.ndarray],
    labels: np.ndarray,
    metric: Metric,
) -> Interval:
    if metric == "auc":
        return mean_score(kept, labels, metric)
    hits = np.mean([z.argmax(axis=1) == labels for z in kept], axis=0)
    change = paired_difference(hits, (whole.argmax(axis=1) == labels).astype(float))
    low, high = change.low, change.high
    if low == high:  # no example changed, which does not say that none ever will
        low = -proportion(0, len(labels)).high
    at = standard.value
    return Interval(
        at + change.value, max(0.0, at + low), min(1.0, at + high), len(labels), 0.95, "paired"
    )


def _probes(
    train: Labelled, test: Labelled, region: Region, metric: Metric, trees: int, seed: int
) -> tuple[Interval, Interval]:
    # Together, since text columns are coded by what occurs in either.
    both = coordinates(stack([train[0], test[0]]), region.space)
    cells = np.asarray(region.cells)
    found = []
    for name, chosen in (("own", cells), ("rest", np.setdiff1d(np.arange(both.shape[1]), cells))):
        if len(chosen) > _WIDEST:
            chosen = chosen[np.linspace(0, len(chosen) - 1, _WIDEST).astype(int)]
        view = both[:, chosen].reshape(len(both), -1)
        votes = _votes(view, train[1], int(test[1].max()), trees, derived_seed(seed, "probe", name))
        found.append(mean_score([np.log(votes)], test[1], metric))
    return found[0], found[1]


def _votes(
    view: np.ndarray, labels: np.ndarray, last: int, trees: int, seed: int
) -> Float[np.ndarray, "m c"]:
    n = len(labels)
    # Without bootstrap: out-of-bag votes are not asked for, and every row is learned from.
    forest = fit_classes(view[:n], labels, seed, ForestOptions(trees, bootstrap=False))
    assert forest.classes is not None
    shares = forest.predict(view[n:])
    votes = np.full((len(shares), 1 + max(last, int(labels.max()))), _TINY)
    votes[:, forest.classes.astype(int)] = np.maximum(shares, _TINY)
    return votes
