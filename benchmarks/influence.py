"""EK-FAC influence side by side: Heldout, kronfluence, dattri; time to fit, to score, peak memory.

    python benchmarks/influence.py                      # all anew, into results/influence.json
    python benchmarks/influence.py --cases transformer  # this one anew, the others as they are

Equal settings: the same weights, data, sampled labels (handed to the peers), damping of 0.1 times
each layer's mean eigenvalue, float32, batch sizes and threads, factors written to disk. Every
method runs in a process of its own; methods take turns in every round, so that other load strikes
them alike. The record is written after every run, so that one that is cut keeps what it has.

Memory is the highest resident size above the one before the fit. `cpu` is processor time, `wall`
the clock. `limit_gflops` is the machine's float32 matrix product, timed before each case; `gflop`
counts a stage's matrix products and attention in one more run that is not timed (not those of
eigendecompositions), and `limit_share` is gflop / wall / limit: what a stage makes of the machine.

dattri 0.3.0 as published computes something else: `estimate_eigenvector` returns eigenvectors in
columns, and all its products take them as rows (`q_s @ dW @ q_a.T`, for the corrected eigenvalues
and for the scores), so that gradients are rotated by the inverse of what takes them to the
eigenbasis. `dattri_published` is this, run once for its agreement alone; `dattri` is given the
eigenvectors as rows, from a float64 decomposition as the others', at equal cost otherwise. It also
folds a bias into the wrong entries of the weight, so that it runs on `mlp_no_bias` only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import environment, limit
from _influence_cases import RUNS, SIZES, build, make

from heldout.core.files import write_json

RESULTS = Path(__file__).parent / "results" / "influence.json"
LONGEST = 600
"""Seconds that a method may take for one run; a slower one is reported as not run."""
METHODS = {
    "mlp": ("heldout", "kronfluence"),
    "mlp_no_bias": ("heldout", "kronfluence", "dattri", "dattri_published"),
    "transformer": ("heldout", "kronfluence"),
}
ONCE = {"dattri_published"}
CASES = {
    "mlp": "64-512-512-10, ReLU, digits, 1,200 x 100 rows",
    "mlp_no_bias": "the same without biases",
    "transformer": "4 layers, width 256, 64 tokens, 256 words, 200 x 20 sequences",
}
STAGES = ("fit", "score")
KEYS = ("wall", "cpu", "peak_mb")


def one(method: str, name: str, place: Path, counted: bool) -> None:
    """Run a method on a case in this process and print what it took, or what it multiplies."""
    warnings.simplefilter("ignore")
    torch.set_flush_denormal(True)  # for all: gradients of sure examples are full of denormals
    kept = torch.load(place / name)
    model = build(name)
    model.load_state_dict(kept["weights"])
    model.eval()
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = RUNS[method](name, model, kept, Path(folder))
        if counted:
            print(json.dumps({k: _counted(s) for k, s in zip(STAGES, steps, strict=True)}))
            return
        if method == "heldout":  # so that no method pays for the libraries' own first calls
            _warm()
        before = _resident()
        for stage, step in zip(STAGES, steps, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            scores = step()
            out[stage] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            out[stage]["peak_mb"] = (_peak() - before) / 2**20
    np.save(place / f"{method}-{name}.npy", scores)
    print(json.dumps(out))


def _warm() -> None:
    torch.linalg.eigh(torch.eye(3, dtype=torch.float64))


def _resident() -> int:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from here
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _counted(step: Any) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    def inplace(_: Any, a: Any, b: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    aten = torch.ops.aten
    own = {aten.addmm_: inplace}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        step()
    return counter.get_total_flops() / 1e9


def agreement(name: str, place: Path) -> dict[str, dict[str, float]]:
    """Compare each peer's scores with ours: Spearman over each query's row, and relative error."""
    from scipy.stats import spearmanr

    if not (place / f"heldout-{name}.npy").exists():
        return {}
    ours = np.load(place / f"heldout-{name}.npy")
    found = {}
    for method in METHODS[name][1:]:
        if not (place / f"{method}-{name}.npy").exists():
            continue
        theirs = np.load(place / f"{method}-{name}.npy")
        sign = np.sign((ours * theirs).sum())
        rows = [float(spearmanr(a, sign * b)[0]) for a, b in zip(ours, theirs, strict=True)]
        scale = (ours * theirs).sum() / (theirs**2).sum()
        error = np.linalg.norm(ours - scale * theirs) / np.linalg.norm(ours)
        found[method] = {"spearman_mean": float(np.mean(rows)), "spearman_min": min(rows),
                         "relative_error": float(error), "scale": float(scale)}  # fmt: skip
    return found


def measure(name: str, rounds: int, place: Path, threads: int, save: Any) -> None:
    """Run every method on a case in turns; `save` gets medians of what there is after every run."""
    speed, about = limit(), environment(("torch", "kronfluence", "dattri"), threads=threads)
    make(name, place)
    seen: dict[str, list[Any]] = {method: [] for method in METHODS[name]}
    errors: dict[str, str] = {}
    counts: dict[str, dict[str, float]] = {}

    def keep() -> None:
        table = summary(seen, errors, counts, speed)
        save({"methods": table, "agreement": agreement(name, place), "limit_gflops": speed,
              "environment": about})  # fmt: skip

    for number in range(rounds):
        for method in METHODS[name]:
            if method in errors or (number and method in ONCE):
                continue
            found = run(method, name, place, threads)
            if isinstance(found, str):
                errors[method] = found
            else:
                seen[method].append(found)
            keep()
    for method in ("heldout", "kronfluence"):
        found = run(method, name, place, threads, counted=True)
        if not isinstance(found, str):
            counts[method] = found
            keep()


def run(method: str, name: str, place: Path, threads: int, counted: bool = False) -> Any:
    """Run a method in a process of its own; return what it took, or why it did not run."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    command = [sys.executable, __file__, "--one", method, name, str(place)]
    try:
        done = subprocess.run(
            command + ["--count"] * counted,
            capture_output=True, text=True, env=variables, timeout=LONGEST,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done in {LONGEST} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(
    seen: dict[str, list[Any]], errors: dict[str, str], counts: dict[str, Any], speed: float
) -> dict[str, Any]:
    """Return medians over the rounds so far, and our shares of the peers'."""
    table: dict[str, Any] = {method: {"not_run": why} for method, why in errors.items()}
    for method, runs in seen.items():
        if not runs or method in errors:
            continue
        table[method] = {"rounds": len(runs)}
        for stage in STAGES:
            row = {key: statistics.median(taken[stage][key] for taken in runs) for key in KEYS}
            if method in counts:
                row["gflop"] = counts[method][stage]
                row["limit_share"] = row["gflop"] / row["wall"] / speed
            table[method][stage] = row
    ours = table.get("heldout", {})
    for method, row in table.items():
        if method != "heldout" and "fit" in row and "fit" in ours:
            row["heldout_share"] = {
                f"{stage}_{key}": ours[stage][key] / row[stage][key]
                for stage in STAGES
                for key in KEYS
            }
    return table


def main() -> None:
    """Measure the cases and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "CASE", "FOLDER"))
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=list(SIZES), metavar="CASE")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1], Path(options.one[2]), options.count)
        return
    torch.set_num_threads(options.threads)
    record: dict[str, Any] = {"what": __doc__, "cases": CASES, "results": {}}
    if options.cases and options.out.exists():
        record["results"] = json.loads(options.out.read_text())["results"]

    def save(name: str, found: dict[str, Any]) -> None:
        record["results"][name] = found
        write_json(options.out, record)

    with tempfile.TemporaryDirectory() as place:
        for name in options.cases or SIZES:
            measure(
                name, options.rounds, Path(place), options.threads,
                lambda found, name=name: save(name, found),
            )  # fmt: skip
            print(name, json.dumps(record["results"][name], indent=1), flush=True)


if __name__ == "__main__":
    main()
