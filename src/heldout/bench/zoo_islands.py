"""Zoo models of data pooled from two sites, with groups, and whether the model follows the site.

For `heldout.bench.zoo.world`, after the data are made and before a model is trained:

    if case.defect in DEFECTS:
        made = pooled(case.defect, (x, y), (xt, yt), case.model, derived_seed(case.seed, case.id))
        return World(made.arguments, (), truth=made.truth)

`made.arguments` hold `groups` ({"train": {"site": ...}, "test": ...}) for
`heldout.core.preparing.prepare`, and no shifted sets. `made.truth["present"]` says whether the
model truly follows the site, by exchanging the sites' look on held-out rows: a hit of
`fragmentation` counts where it does, and no alarm may where it does not. Models: `mlp`, and `cnn`
for images. Cost: one training, under 5 s.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from heldout.bench.planted_truth import Labelled
from heldout.bench.zoo_units import Planted, trainer
from heldout.core.classifier import classifier
from heldout.core.inputs import from_native
from heldout.core.seeds import derived_seed, stream

DEFECTS = ("islands", "bridged_islands", "balanced_islands")
"""Names, for `pooled`; only the first is a fault, the others have one half of it each."""

_OWN = 0.9  # share of a class that comes from its own site
_DROP = 0.05  # accuracy that must be lost on exchanged sites before they count as followed
_COLUMN, _PIXEL = 8.0, 3.0  # how far apart the sites look, in columns scaled to 1, and in ranges


def pooled(
    defect: str, train: Labelled, test: Labelled, model: str = "mlp", seed: int = 0
) -> Planted:
    """Pool clean data from two sites that look different, train a model, measure what it follows.

    The site's look joins the inputs: a column of a table, or the brightness of a frame around an
    image. Half of the classes belong to each site.

    - `islands`: 90 % of a class come from its site, and each site has one look (+- 5 %).
    - `bridged_islands`: the same sites and classes, but both sites show every look.
    - `balanced_islands`: each site has one look, and classes come from both alike.

    Args:
        defect: one of `DEFECTS`.
        train: clean training data, a table (n, d) or images (n, 1, s, s), s even.
        test: clean held-out data.
        model: `mlp`, or `cnn` for images.
        seed: of sites, looks and training.

    Returns:
        `truth`: `accuracy`, `exchanged` (with the other site's look), `present`: 1 where the
        difference is at least 0.05. `cells`: flat positions of the look.

    Jang et al. 2025, arXiv:2508.06426.

    >>> x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> made = pooled("islands", (x, np.arange(60) % 4), (x, np.arange(60) % 4))
    >>> made.arguments["train"][0].shape, sorted(made.arguments["groups"])
    ((60, 4), ['test', 'train'])
    """
    rng = stream(seed, "zoo islands", defect)
    (x, y), (xt, yt) = train, test
    n_classes = int(max(y.max(), yt.max())) + 1
    scale = _PIXEL * float(x.max()) if x.ndim == 4 else _COLUMN
    sites = [_sites(labels, n_classes, defect, rng) for labels in (y, yt)]
    looks = [_looks(site, defect, rng) for site in sites]
    shown = [_with_look(a, look, scale) for a, look in ((x, looks[0]), (xt, looks[1]))]
    fit = trainer(model, n_classes)
    net = fit((shown[0], y), derived_seed(seed, "fit"))
    other = _with_look(xt, _looks(1 - sites[1], defect, rng), scale)
    accuracy, exchanged = (
        float((classifier(net)(from_native(a)).logits.argmax(axis=1) == yt).mean())
        for a in (shown[1], other)
    )
    truth = {
        "accuracy": accuracy,
        "exchanged": exchanged,
        "present": float(accuracy - exchanged >= _DROP),
    }
    names = [np.array(["north", "south"])[site] for site in sites]
    arguments = {
        "model": net, "train": (shown[0], y), "test": (shown[1], yt), "fit": fit,
        "groups": {"train": {"site": names[0]}, "test": {"site": names[1]}},
    }  # fmt: skip
    return Planted(arguments, truth, cells=_cells(shown[0]))


def dealt(n: int, rng: np.random.Generator) -> np.ndarray:
    """Deal examples to two to four sites at random, 60 to each where there are 120: no islands.

    >>> names, counts = np.unique(dealt(130, np.random.default_rng(0)), return_counts=True)
    >>> names.tolist(), counts.tolist()
    (['east', 'north'], [65, 65])
    """
    names = np.array(["east", "north", "south", "west"])
    return names[rng.permutation(np.arange(n) % min(4, max(2, n // 60)))]


def unequal(n: int, rng: np.random.Generator) -> np.ndarray:
    """Deal examples at random to a large site and a small one, of about 15 %: rare for no reason.

    >>> names, counts = np.unique(unequal(1000, np.random.default_rng(0)), return_counts=True)
    >>> names.tolist(), bool(abs(counts[1] - 150) < 40)
    (['north', 'south'], True)
    """
    return np.where(rng.random(n) < 0.85, "north", "south")


def _sites(
    y: np.ndarray, n_classes: int, defect: str, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    own = (y >= (n_classes + 1) // 2).astype(np.int64)
    share = 0.5 if defect == "balanced_islands" else _OWN
    return np.where(rng.random(len(y)) < share, own, 1 - own)


def _looks(
    site: Int[np.ndarray, " n"], defect: str, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    if defect == "bridged_islands":
        return rng.random(len(site))
    return np.asarray(site + rng.uniform(-0.05, 0.05, len(site)))


def _with_look(x: np.ndarray, look: np.ndarray, scale: float) -> np.ndarray:
    value = (scale * look).astype(x.dtype)
    if x.ndim == 2:
        return np.concatenate([x, value[:, None] - scale / 2], axis=1).astype(x.dtype)
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    frame = np.ones(wide.shape[2:], dtype=bool)
    frame[1:-1, 1:-1] = False
    return np.asarray(np.where(frame, value[:, None, None, None], wide))


def _cells(x: np.ndarray) -> Int[np.ndarray, " k"]:
    if x.ndim == 2:
        return np.arange(x.shape[1] - 1, x.shape[1])
    frame = np.ones(x.shape[2:], dtype=bool)
    frame[1:-1, 1:-1] = False
    return np.flatnonzero(frame)
