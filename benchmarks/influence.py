"""EK-FAC influence side by side: Heldout, kronfluence, dattri; time to fit, to score, peak memory.

    python benchmarks/influence.py            # about five minutes; rewrites results/influence.json

Equal settings: the same weights, data, sampled labels (handed to the peers), damping of 0.1 times
each layer's mean eigenvalue, float32, batch sizes and threads, factors written to disk. Every
method runs in a process of its own; methods take turns in every round, so that other load strikes
them alike. Memory is the highest resident size above the one before the fit. `cpu` is processor
time, `wall` the clock. `limit_gflops` is the machine's float32 matrix product, timed here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heldout.data.influence import EKFAC, CausalLanguageModel, Classification
from heldout.data.influence.batches import Draws, batches

RESULTS = Path(__file__).parent / "results" / "influence.json"
SIZES = {"mlp": (1200, 100, 256), "mlp_no_bias": (1200, 100, 256), "transformer": (200, 20, 25)}
"""Training rows, queries, batch size."""
LONGEST = 600
"""Seconds that a method may take for one run; a slower one is reported as not run."""
METHODS = {"mlp": ("heldout", "kronfluence"), "mlp_no_bias": ("heldout", "kronfluence", "dattri"),
           "transformer": ("heldout", "kronfluence")}  # fmt: skip
Data = tuple[Tensor, Tensor]


class Block(nn.Module):
    """One causal pre-norm transformer layer made of plain modules."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, t, width) to (n, t, width)."""
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    """Token and position embeddings, four layers of width 256, LayerNorm, logits of 256 words."""

    def __init__(self, words: int = 256, width: int = 256, length: int = 64) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(4))
        self.norm, self.head = nn.LayerNorm(width), nn.Embedding(words, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (n, t) to logits (n, t, words)."""
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.norm(h) @ self.head.weight.t()


def build(name: str) -> nn.Module:
    """Return the untrained model of a case."""
    torch.manual_seed(0)
    if name == "transformer":
        return Language()
    bias = name == "mlp"
    widths = [(64, 512), (512, 512), (512, 10)]
    linears = [nn.Linear(a, b, bias=bias) for a, b in widths]
    return nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])


def make(name: str, folder: Path) -> None:
    """Train the model of a case for a little while, and write it with its data and labels."""
    model = build(name)
    n, q, _ = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    if name == "transformer":
        table = torch.randn(256, 256, generator=generator).mul_(3).softmax(1).cumsum(1)
        x = torch.randint(0, 256, (n + q, 64), generator=generator)
        for t in range(1, 64):  # a Markov chain
            u = torch.rand(n + q, 1, generator=generator)
            x[:, t] = (table[x[:, t - 1]] < u).sum(1).clamp(max=255)
        y, steps, rate = x, 40, 1e-3
    else:
        from sklearn.datasets import load_digits

        digits, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=generator)[: n + q]
        x, y = torch.tensor(digits / 16).float()[order], torch.tensor(labels)[order]
        steps, rate = 150, 1e-3
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        rows = torch.randint(0, n, (16 if name == "transformer" else 64,), generator=generator)
        optimizer.zero_grad()
        task(name).per_example(model(x[rows]), y[rows]).sum().div(len(rows)).backward()
        optimizer.step()
    model.eval()
    batch = next(batches((x[:n], y[:n]), n))
    with torch.no_grad():
        drawn = task(name).sample_targets(model(batch.inputs), batch.targets, Draws(0, batch))
    torch.save({"weights": model.state_dict(), "x": x, "y": y, "drawn": drawn}, folder / name)


def task(name: str) -> Any:
    """Return the loss and measure of a case."""
    return CausalLanguageModel() if name == "transformer" else Classification("log_prob")


def layers(model: nn.Module) -> list[str]:
    """Names of the linear layers."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


Step = Callable[[], Any]


def heldout(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with this library."""
    n, q, size = SIZES[name]
    x, y = kept["x"], kept["y"]
    fitted = EKFAC(model, task(name), batch_size=size)
    return [
        lambda: fitted.fit((x[:n], y[:n]), folder / "factors"),
        lambda: -fitted.scores((x[n:], y[n:]), (x[:n], y[:n])),
    ]


def kronfluence(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with kronfluence, on the same sampled labels."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    n, q, size = SIZES[name]
    loss = task(name)

    class Peer(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            return loss.per_example(model(batch[0]), batch[2 if sample else 1]).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return loss.measure(model(batch[0]), batch[1]).sum()

        def get_influence_tracked_modules(self) -> list[str]:
            return layers(model)

    peer = Peer()
    drawn = torch.cat([kept["drawn"], kept["y"][n:]])
    parts = [
        torch.utils.data.TensorDataset(kept["x"][p], kept["y"][p], drawn[p])
        for p in (slice(0, n), slice(n, None))
    ]
    model = prepare_model(model, peer)
    analyzer = Analyzer(
        "bench", model, peer, cpu=True, output_dir=str(folder), disable_tqdm=True,
        disable_model_save=True,
    )  # fmt: skip

    def score() -> np.ndarray:
        analyzer.compute_pairwise_scores(
            "scores", "factors", parts[1], parts[0], per_device_query_batch_size=q,
            per_device_train_batch_size=size, score_args=ScoreArguments(damping_factor=None),
        )  # fmt: skip
        return analyzer.load_pairwise_scores("scores")["all_modules"].numpy()

    return [
        lambda: analyzer.fit_all_factors(
            "factors", parts[0], per_device_batch_size=size, factor_args=FactorArguments("ekfac")
        ),
        score,
    ]


def dattri(name: str, model: nn.Module, kept: dict[str, Tensor], folder: Path) -> list[Step]:
    """Fit and score with dattri; its damping is one number, so each layer's is added to Lambda."""
    from dattri.algorithm.influence_function import IFAttributorEKFAC
    from dattri.task import AttributionTask

    n, q, size = SIZES[name]
    x, y = kept["x"], kept["y"]

    def loss(params: Any, data: Any) -> Tensor:
        inputs, labels = data
        out = torch.func.functional_call(model, params, (inputs,))
        return F.cross_entropy(out, labels.reshape(-1))

    def loader(x: Tensor, y: Tensor, size: int) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=size)

    peer = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    found = IFAttributorEKFAC(task=peer, device="cpu")

    def fit() -> None:
        found.cache(loader(x[:n], kept["drawn"], size))
        found.cached_lambdas = {k: v + 0.1 * v.mean() for k, v in found.cached_lambdas.items()}

    def score() -> np.ndarray:
        made = found.attribute(loader(x[:n], y[:n], size), loader(x[n:], y[n:], q))
        return -made.detach().T.numpy()

    return [fit, score]


RUNS = {"heldout": heldout, "kronfluence": kronfluence, "dattri": dattri}


def one(method: str, name: str, place: Path) -> None:
    """Run a method on a case in this process and print what it took."""
    warnings.simplefilter("ignore")
    torch.set_flush_denormal(True)  # for all: gradients of sure examples are full of denormals
    kept = torch.load(place / name)
    model = build(name)
    model.load_state_dict(kept["weights"])
    model.eval()
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = RUNS[method](name, model, kept, Path(folder))
        if method == "heldout":  # so that no method pays for the libraries' own first calls
            _warm()
        before = _resident()
        for stage, step in zip(("fit", "score"), steps, strict=True):
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


def limit() -> float:
    """Return the float32 matrix product's speed here, in GFLOP/s: the best of ten of size 1024."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times) / 1e9


def agreement(name: str, place: Path) -> dict[str, dict[str, float]]:
    """Compare each peer's scores with ours: Spearman over each query's row, and relative error."""
    from scipy.stats import spearmanr

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


def measure(name: str, rounds: int, place: Path, threads: int) -> dict[str, Any]:
    """Run every method on a case in turns; medians over the rounds."""
    make(name, place)
    seen: dict[str, list[Any]] = {method: [] for method in METHODS[name]}
    errors: dict[str, str] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    for _ in range(rounds):
        for method in METHODS[name]:
            if method in errors:
                continue
            command = [sys.executable, __file__, "--one", method, name, str(place)]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=environment, timeout=LONGEST
                )
            except subprocess.TimeoutExpired:
                errors[method] = f"not done in {LONGEST} s"
                continue
            if done.returncode:
                errors[method] = done.stderr.strip().splitlines()[-1][:200]
            else:
                seen[method].append(json.loads(done.stdout.strip().splitlines()[-1]))
    table: dict[str, Any] = {method: {"not_run": why} for method, why in errors.items()}
    for method, runs in seen.items():
        if runs:
            table[method] = {
                stage: {
                    key: statistics.median(run[stage][key] for run in runs)
                    for key in ("wall", "cpu", "peak_mb")
                }
                for stage in ("fit", "score")
            }
    for method in METHODS[name][1:]:
        if "fit" in table.get(method, {}) and "fit" in table.get("heldout", {}):
            table[method]["heldout_share"] = {
                f"{stage}_{key}": table["heldout"][stage][key] / table[method][stage][key]
                for stage in ("fit", "score")
                for key in ("wall", "cpu", "peak_mb")
            }
    return {"methods": table, "agreement": agreement(name, place), "rounds": rounds}


def main() -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "CASE", "FOLDER"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1], Path(options.one[2]))
        return
    torch.set_num_threads(options.threads)
    load = round(os.getloadavg()[0], 1)
    record: dict[str, Any] = {
        "what": __doc__,
        "cases": {
            "mlp": "64-512-512-10, ReLU, digits, 1,200 x 100 rows",
            "mlp_no_bias": "the same without biases: dattri folds a bias into the wrong entries",
            "transformer": "4 layers, width 256, 64 tokens, 256 words, 200 x 20 sequences",
        },
        "limit_gflops": limit(),
        "results": {},
    }
    with tempfile.TemporaryDirectory() as place:
        for name in options.cases:
            record["results"][name] = measure(name, options.rounds, Path(place), options.threads)
            print(name, json.dumps(record["results"][name], indent=1))
    record["environment"] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "load_before": load,
        **{package: _version(package) for package in ("torch", "kronfluence", "dattri")},
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
