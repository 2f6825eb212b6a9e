"""Which statistic of one trained checkpoint tells memory from generalization?

    python benchmarks/memorization.py       # about four minutes; rewrites results/memorization.json

Small MLPs and a CNN on digits and breast cancer, with 0 to 100 % wrong training labels, three
widths and three training lengths. A model memorises when its training accuracy (on the labels it
was given) exceeds its accuracy on clean held-out data by more than 10 points, and does not when
by less than 5; the rest is left out. Reported: area under the ROC curve of each statistic for
that, over all models and over those that fit more than 97 % of their training labels, and the
rank correlation with the gap. Statistics are signed so that larger means more memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from heldout.bench.defects import wrong_labels
from heldout.bench.training import train_network
from heldout.core.pergrad import cross_entropy
from heldout.core.seeds import stream
from heldout.measures.coherence import coherence, coherence_null
from heldout.measures.memorization import memorization_statistics
from heldout.nets.small import SmallCNN, mlp

RESULTS = Path(__file__).parent / "results" / "memorization.json"
NOISE, EPOCHS = (0.0, 0.1, 0.2, 0.4, 1.0), (10, 50, 120)
NETS = {"digits": ("16", "48", "128", "cnn"), "breast_cancer": ("16", "48", "128")}
SIZES = {"digits": 600, "breast_cancer": 300}


def models() -> Iterator[tuple[dict[str, Any], nn.Module, tuple[Tensor, ...]]]:
    """Train every model of the grid; yield its setting, itself, and train and test data."""
    for dataset, noise, epochs in itertools.product(NETS, NOISE, EPOCHS):
        for net in NETS[dataset]:
            rng = stream(0, dataset, str(noise), epochs, net)
            x, y, xt, yt = _data(dataset, net == "cnn", rng)
            classes = int(y.max()) + 1
            if noise == 1:
                y = rng.permutation(y)
            elif noise:
                y = wrong_labels(y, noise, classes, rng)[0]
            make = partial(_net, net, x[0].size, classes)
            model = train_network(make, x, y, epochs=epochs)
            setting = {"dataset": dataset, "noise": noise, "epochs": epochs, "net": net}
            yield setting, model, tuple(map(torch.as_tensor, (x, y, xt, yt)))


def _net(net: str, width: int, classes: int) -> nn.Module:
    if net == "cnn":
        return SmallCNN(1, 8, classes, 8)
    return mlp([width, int(net), int(net), classes])


def _data(dataset: str, image: bool, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    load = {"digits": load_digits, "breast_cancer": load_breast_cancer}[dataset]
    x, y = load(return_X_y=True)
    order, n = rng.permutation(len(y)), SIZES[dataset]
    x, y = x[order], y[order].astype(np.int64)
    x = x / 16 if dataset == "digits" else (x - x[:n].mean(0)) / x[:n].std(0)
    x = x.astype(np.float32).reshape((-1, 1, 8, 8) if image else (len(x), -1))
    return x[:n], y[:n], x[n : n + 400], y[n : n + 400]


def statistics_of(model: nn.Module, parts: tuple[Tensor, ...]) -> dict[str, float]:
    """Return every candidate, larger meaning more memory."""
    x, y, xt, yt = (part[:200] for part in parts)
    found = memorization_statistics(model, x, y, xt, yt, seed=0)
    train, test = coherence(model, x, y), coherence(model, xt, yt)
    null = coherence_null(model, x, y, seed=0, repeats=1)[0]
    with torch.no_grad():
        losses = [float(cross_entropy(model(a), b).mean()) for a, b in ((x, y), (xt, yt))]
    norms = found.train_norms.mean(), found.test_norms.mean()
    return {
        "excess (held-out minus train, of null)": found.excess.value,
        "train ratio to null": -found.train_ratio.value,
        "test ratio to null": found.test_ratio.value,
        "log norm ratio test/train": float(np.log((norms[1] + 1e-12) / (norms[0] + 1e-12))),
        "same-label cosine": -found.cosine.value,
        "same-label cosine above null": found.cosine_null.value - found.cosine.value,
        "m alpha, train": -train.m_alpha,
        "unbiased alpha, train": -train.unbiased.value,
        "unbiased alpha above null, train": null.unbiased.value - train.unbiased.value,
        "cosine, train": -train.cosine.value,
        "cosine above null, train": null.cosine.value - train.cosine.value,
        "m alpha, test": -test.m_alpha,
        "cosine, test": -test.cosine.value,
        "loss gap (needs no gradients)": losses[1] - losses[0],
    }


def main() -> None:
    """Measure, compare, write."""
    torch.set_num_threads(1)
    rows = []
    for setting, model, parts in models():
        x, y, xt, yt = parts
        with torch.no_grad():
            fit = [float((model(a).argmax(1) == b).float().mean()) for a, b in ((x, y), (xt, yt))]
        rows.append({**setting, "train": fit[0], "test": fit[1], **statistics_of(model, parts)})
        print(len(rows), setting, [round(value, 3) for value in fit])
    gap = np.array([row["train"] - row["test"] for row in rows])
    fitted = np.array([row["train"] > 0.97 for row in rows])
    told = (gap > 0.10) | (gap < 0.05)
    names = [key for key in rows[0] if key not in ("dataset", "noise", "epochs", "net", "train",
                                                  "test")]  # fmt: skip
    table = {}
    for name in names:
        value = np.nan_to_num(np.array([row[name] for row in rows]), nan=0.0)
        table[name] = {
            "auc": float(roc_auc_score(gap[told] > 0.10, value[told])),
            "auc_fitted": float(roc_auc_score(gap[told & fitted] > 0.10, value[told & fitted])),
            "spearman_with_gap": float(spearmanr(value, gap)[0]),
        }
    record = {
        "what": __doc__.splitlines()[0] if __doc__ else "",
        "models": len(rows),
        "memorising": int((gap > 0.10).sum()),
        "not_memorising": int((gap < 0.05).sum()),
        "fitted": {"memorising": int(((gap > 0.10) & fitted).sum()),
                   "not_memorising": int(((gap < 0.05) & fitted).sum())},
        "statistics": dict(sorted(table.items(), key=lambda item: -item[1]["auc"])),
        "rows": rows,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["statistics"], indent=1))


if __name__ == "__main__":
    main()
