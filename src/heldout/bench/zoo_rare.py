"""Zoo models that saw some classes hardly ever; with the truth.

For `heldout.bench.zoo.world`, after the data are made and before a model is trained:

    if case.defect == DEFECT:
        made = rare_classes((x, y), (xt, yt), case.model, derived_seed(case.seed, case.id))
        return World(made.arguments, (), truth=made.truth)

`made.truth["present"]` says by measurement whether rarity costs accuracy: a hit of `coverage`
counts where it is 1, and no alarm may where it is 0. Cost: two trainings; under 10 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from heldout.bench.planted_truth import Labelled
from heldout.bench.zoo_units import Planted, trainer
from heldout.core.errors import InputError
from heldout.core.seeds import derived_seed, stream
from heldout.core.statistics import difference, proportion

DEFECT = "rare_classes"
"""Name of the fault."""
KEPT = 0.05
"""Share of the examples of a rare class that stay in training."""
MATERIAL = 0.1
"""Accuracy lost on the rare classes from which the fault counts as present."""


def rare_classes(
    train: Labelled,
    test: Labelled,
    model: str = "mlp",
    seed: int = 0,
    kept: float = KEPT,
    fit: Callable[[Any, int], Any] | None = None,
) -> Planted:
    """Thin out a third of the classes in training, train, and measure what their rarity costs.

    The truth is measured, not assumed: a second model is trained on the same examples before they
    were thinned out, and both are compared on the test examples of the rare classes. `present` is
    1 when the loss is at least `MATERIAL` and its 95 % interval above 0, 0 when it is below
    `MATERIAL`.

    Args:
        train: clean training data, a table (n, d) or images (n, 1, s, s).
        test: clean held-out data, left as it is.
        model: `mlp`, or `cnn` for images; not used with `fit`.
        seed: of the plant and of training.
        kept: share of a rare class's examples that stay, at least one.
        fit: `fit(dataset, seed)` of another kind of model.

    Returns:
        Arguments for `heldout.core.preparing.prepare`; `cells` are the rare classes.

    Raises:
        InputError: fewer than two classes, or a share outside 0 to 1.

    >>> x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> y = (x[:, 0] > 0) * 1
    >>> made = rare_classes((x, y), (x, y))
    >>> len(made.cells), sorted(made.truth)
    (1, ['accuracy_rare', 'accuracy_rare_before', 'loss', 'loss_high', 'loss_low', 'present'])
    """
    (x, y), (xt, yt) = train, test
    n_classes = int(max(y.max(), yt.max())) + 1
    if n_classes < 2 or not 0 < kept < 1:
        raise InputError(f"{n_classes} classes, {kept} kept", "two or more, 0 to 1", "kept=0.05")
    rng = stream(seed, "zoo rare")
    chosen = np.sort(rng.choice(n_classes, max(1, n_classes // 3), replace=False))
    rows = [np.flatnonzero(~np.isin(y, chosen))]
    for c in chosen.tolist():
        own = rng.permutation(np.flatnonzero(y == c))
        rows.append(own[: max(1, round(kept * len(own)))])
    left = np.sort(np.concatenate(rows))
    make = fit or trainer(model, n_classes)
    thin = (x[left], y[left])
    nets = [make(data, derived_seed(seed, "fit")) for data in (thin, (x, y))]
    asked = np.isin(yt, chosen)
    right = [int((_predicted(net, xt[asked]) == yt[asked]).sum()) for net in nets]
    after, before = (proportion(r, int(asked.sum())) for r in right)
    lost = difference(before, after)
    truth = {
        "accuracy_rare": after.value, "accuracy_rare_before": before.value, "loss": lost.value,
        "loss_low": lost.low, "loss_high": lost.high,
        "present": float(lost.value >= MATERIAL and lost.low > 0),
    }  # fmt: skip
    arguments = {"model": nets[0], "train": thin, "test": (xt, yt), "fit": make}
    return Planted(arguments, truth, cells=chosen)


def _predicted(net: Any, x: np.ndarray) -> np.ndarray:
    if hasattr(net, "predict"):
        return np.asarray(net.predict(np.asarray(x).reshape(len(x), -1)))
    import torch

    with torch.no_grad():
        return net(torch.as_tensor(x, dtype=torch.float32)).argmax(dim=1).numpy()
