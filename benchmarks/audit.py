"""Whole audit against Deepchecks' full suite and cleanlab's Datalab, on one model and data.

    python benchmarks/audit.py --deepchecks-python PATH    # see requirements.txt

Deepchecks needs versions of numpy and scikit-learn of its own, so it runs under the python that is
given; without it, it is left out and the result says so. Each tool gets the same rows and a model
trained by the same call, runs alone, and is timed without importing and without training. They do
not do the same work: what each answers is listed in the result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "audit.json"
ANSWERS = {
    "heldout": "accuracy, gap, groups, calibration, forecast, leakage, label noise, memorization, "
    "shortcuts, numerics; HTML and JSON",
    "deepchecks": "full_suite: integrity, train-test drift and leakage, evaluation; HTML",
    "cleanlab": "Datalab: label issues, outliers, near duplicates, non-iid, imbalance, groups",
}


def _data(name: str):
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-2)
    n = int(0.6 * len(y))
    return (x[:n], y[:n]), (x[n:], y[n:])


def _model(train):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500).fit(*train)


def _heldout(train, test):
    import heldout.audit.api as api

    model = _model(train)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        api.audit(model, train, test, {"shifted": test[0] * 1.1}, out=out)
    return time.perf_counter() - start


def _cleanlab(train, test):
    from cleanlab import Datalab
    from sklearn.model_selection import cross_val_predict

    x, y = train
    start = time.perf_counter()
    model = _model(train)
    probabilities = cross_val_predict(model, x, y, cv=5, method="predict_proba")
    lab = Datalab({"x": list(x), "y": y}, label_name="y", verbosity=0)
    lab.find_issues(pred_probs=probabilities, features=x)
    return time.perf_counter() - start


def _deepchecks(train, test):
    import pandas as pd
    from deepchecks.tabular import Dataset
    from deepchecks.tabular.suites import full_suite

    columns = [f"f{i}" for i in range(train[0].shape[1])]
    sets = [
        Dataset(pd.DataFrame(x, columns=columns).assign(y=y), label="y", cat_features=[])
        for x, y in (train, test)
    ]
    model = _model((sets[0].data[columns], sets[0].data["y"]))
    start = time.perf_counter()
    result = full_suite().run(*sets, model)
    with tempfile.TemporaryDirectory() as out:
        result.save_as_html(f"{out}/report.html", as_widget=False)
    return time.perf_counter() - start


def _timed(tool: str, name: str) -> float:
    warnings.simplefilter("ignore")
    return {"heldout": _heldout, "cleanlab": _cleanlab, "deepchecks": _deepchecks}[tool](
        *_data(name)
    )


def _run(python: str, tool: str, name: str) -> float | str:
    command = [python, __file__, "--worker", tool, "--data", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 else done.stderr.strip()[-300:]


def main() -> None:
    """Run every tool three times per data set, alternating, and write the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deepchecks-python", default="")
    parser.add_argument("--worker", default="")
    parser.add_argument("--data", default="")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(_timed(options.worker, options.data)))
        return
    from heldout.core.environment import environment
    from heldout.core.files import write_json

    pythons = {"heldout": sys.executable, "cleanlab": sys.executable}
    if options.deepchecks_python:
        pythons["deepchecks"] = options.deepchecks_python
    found = {}
    for name in ("breast_cancer", "digits"):
        runs = {tool: [] for tool in pythons}
        for _ in range(3):
            for tool, python in pythons.items():
                runs[tool].append(_run(python, tool, name))
        found[name] = {tool: _summary(times) for tool, times in runs.items()}
        for row in found[name].values():
            if "median_s" in row and "median_s" in found[name]["heldout"]:
                ratio = found[name]["heldout"]["median_s"] / row["median_s"]
                row["heldout_over_this"] = round(ratio, 3)
        print(name, json.dumps(found[name]))
    write_json(RESULT, {"seconds": found, "answers": ANSWERS, "environment": environment()})


def _summary(times):
    numbers = [t for t in times if isinstance(t, float)]
    if len(numbers) < len(times):
        return {"error": next(t for t in times if not isinstance(t, float))}
    return {
        "median_s": round(float(np.median(numbers)), 3),
        "runs_s": [round(t, 3) for t in numbers],
    }


if __name__ == "__main__":
    main()
