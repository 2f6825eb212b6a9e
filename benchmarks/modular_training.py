"""Modular-arithmetic training as a share of what its matrix products alone would allow.

    python benchmarks/modular_training.py            # about 1.5 minutes on an idle machine

One process per number of threads. In each, every way of making one full-batch step is timed in
turn, many rounds over, right after the step's matrix products alone (six of them, or three with
one hidden layer, into ready-made outputs, same type, same threads). `share_of_products` is the
median over rounds of products' time / step's time: 1 is a step that costs nothing but products.

- products, products_bfloat16: the products alone; the first is what all shares refer to.
- pair_net/*: `PairNet.accumulate` and fused AdamW.
- recipe/*: the step of `heldout reproduce grokking_stability`, which uses it, with its softmax
  that rounds to any format.
- whole/*: as pair_net, but all rows at once and StableMax through autograd, as the recipe had it.
- graph/*: `PairNet.forward`, autograd and fused AdamW: what is fast and ordinary.
- ordinary/*: one-hot rows, `Linear` layers, autograd, foreach AdamW.
- quadratic/recipe: the step of `grokking_corrupted`, against its three products.
- small_batches: `train_network` on 64 inputs, 64 hidden units and 10 classes, against its five.

What was found (one core, 5108 pairs modulo 113, two hidden layers of 200; from the record, where
other sizes and two cores are as well):

- The products take 25 ms, near the core's peak. bfloat16 takes less than half of that, but the
  gradient is then off by 5 % of its norm at the start and by 12 % once fitted (float32: below
  0.1 %), so it is measured here and not offered.
- A step as the recipe had it (whole/*) takes 27 ms with softmax, a share of 0.94, and 39 ms with
  StableMax, 0.67: the loss in float64 through autograd takes a third. In closed form it is eight
  plain passes, 26 ms and a share of 0.96.
- Denormals: with 60 % of softmax's terms denormal, to flush them brought a tenth in the record.
- One-hot rows cost 42 ms (0.61): the first layer's product and its gradient's are as large as
  the second's. As a sum of rows the same graph takes 30 ms (0.88).
- Blocks of rows bring little, 25 to 27 ms against 27 at once: the activations of a whole batch
  (4 MB each) still fit the last cache. They keep memory flat.
- Small batches are another matter. Of a step of `train_network` on 64 rows the products are less
  than a sixth, at 4096 rows about half; the rest is calls: autograd, some 60 operators, the
  optimizer's and the schedule's Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace

RESULT = Path(__file__).parent / "results" / "modular_training.json"
# name: modulus, share of the pairs to train on, width of both hidden layers
TASKS = {"p=113": (113, 0.4, 200), "p=47": (47, 0.8, 200)}
QUADRATIC = (97, 0.5, 500)
ROUNDS, FITTED = 11, 200
OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-25}


def _data(p, share):
    import torch

    from heldout.bench.modular import modular_addition, one_hot_pairs

    split = modular_addition(p, share, 0)
    x = torch.from_numpy(one_hot_pairs(split.train_pairs, p))
    return torch.from_numpy(split.train_pairs), torch.from_numpy(split.train_labels), x


def _products(n, p, width, hidden=2, dtype=None):
    # forward and backward, none for the first layer: a sum of rows needs no product
    import torch

    sizes = ((n, width), (n, width), (n, width), (n, p), (width, width), (width, p))
    h, d, out, z, w, v = (torch.randn(s).to(dtype) for s in sizes)
    gw, gv, logits = torch.empty_like(w), torch.empty_like(v), torch.empty_like(z)

    def run():
        torch.mm(h, v, out=logits)
        torch.mm(h.T, z, out=gv)
        torch.mm(z, v.T, out=out)
        if hidden == 2:
            torch.mm(h, w, out=out)
            torch.mm(h.T, d, out=gw)
            torch.mm(d, w.T, out=out)

    return run


def _recipe(pairs, y, p, width):
    from heldout.dynamics.stablemax_gradient import stablemax_gradient
    from heldout.nets.pair_net import PairNet
    from heldout.papers._grokking_stability import backward, softmax_gradient

    net, task = PairNet((p, p), (width, width), p), SimpleNamespace(x=pairs, y=y)

    def step(gradient, optimizer):
        net.zero_grad()
        backward(net, task, gradient)
        optimizer.step()

    rounded = partial(softmax_gradient, precision="float32")
    losses = {"softmax": rounded, "stablemax": stablemax_gradient}
    return {
        f"recipe/{loss}/{name}": partial(step, gradient, optimizer)
        for loss, gradient in losses.items()
        for name, optimizer in _optimizers(net.parameters()).items()
    }


def _optimizers(weights):
    import torch

    from heldout.dynamics.orthograd import OrthoGrad

    weights = list(weights)
    return {
        "adamw": torch.optim.AdamW(weights, fused=True, **OPTIONS),
        "orthograd": OrthoGrad(weights, torch.optim.AdamW, fused=True, **OPTIONS),
    }


def _pair_net(pairs, y, p, width):
    import torch

    from heldout.dynamics.stablemax import StableMaxCrossEntropy
    from heldout.dynamics.stablemax_gradient import stablemax_gradient
    from heldout.nets.pair_net import PairNet

    def by_graph(z, y):
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            return torch.autograd.grad(StableMaxCrossEntropy("sum")(leaf, y), leaf)[0]

    def step(net, gradient, optimizer):
        net.zero_grad()
        net.accumulate(pairs, y, gradient)
        optimizer.step()

    ways = {}
    for kind, block in (("pair_net", 1024), ("whole", len(y))):
        net = PairNet((p, p), (width, width), p, block=block)
        optimizer = _optimizers(net.parameters())["adamw"]
        ways[f"{kind}/softmax/adamw"] = partial(step, net, None, optimizer)
        closed = stablemax_gradient if kind == "pair_net" else by_graph
        ways[f"{kind}/stablemax/adamw"] = partial(step, net, closed, optimizer)
    return ways


def _graphs(pairs, y, x, p, width):
    import torch

    from heldout.dynamics.stablemax import StableMaxCrossEntropy
    from heldout.nets.pair_net import PairNet

    fast = PairNet((p, p), (width, width), p)
    plain = fast.one_hot()
    ways = {
        "graph": (fast, pairs, torch.optim.AdamW(fast.parameters(), fused=True, **OPTIONS)),
        "ordinary": (plain, x, torch.optim.AdamW(plain.parameters(), foreach=True, **OPTIONS)),
    }
    losses = {"softmax": torch.nn.CrossEntropyLoss(), "stablemax": StableMaxCrossEntropy()}

    def step(net, rows, optimizer, loss):
        optimizer.zero_grad()
        loss(net(rows), y).backward()
        optimizer.step()

    return {
        f"{name}/{loss}/adamw": partial(step, *way, losses[loss])
        for name, way in ways.items()
        for loss in losses
    }


def _time(ways):
    """Time every way in turn; median seconds, CPU seconds, and share of the products' time."""
    took = {name: [] for name in ways}
    for turn in range(int(os.environ.get("ROUNDS", ROUNDS)) + 1):
        for name, run in ways.items():
            wall, busy = time.perf_counter(), time.process_time()
            run()
            found = time.perf_counter() - wall, time.process_time() - busy
            if turn:  # the first turn makes the buffers and the optimizers' state
                took[name].append(found)
    base = took["products"]
    return {
        name: {
            "median_s": median(w for w, _ in t),
            "cpu_median_s": median(c for _, c in t),
            "steps_per_s": 1 / median(w for w, _ in t),
            "share_of_products": median(b[0] / w for (w, _), b in zip(t, base, strict=True)),
            # of CPU time: what to read at one thread on a machine that others use, too
            "cpu_share_of_products": median(b[1] / c for (_, c), b in zip(t, base, strict=True)),
        }
        for name, t in took.items()
    }


def _full_batch(p, share, width):
    import torch

    pairs, y, x = _data(p, share)
    n = len(y)
    ways = {
        "products": _products(n, p, width),
        "products_bfloat16": _products(n, p, width, dtype=torch.bfloat16),
    }
    ways |= _recipe(pairs, y, p, width) | _pair_net(pairs, y, p, width)
    return {"rows": n, "width": width} | _time(ways | _graphs(pairs, y, x, p, width))


def _quadratic():
    import torch

    from heldout.papers._grokking_corrupted_net import SquareNet, initial_weights

    p, share, width = QUADRATIC
    pairs, y, _ = _data(p, share)
    weights = [w.requires_grad_() for w in initial_weights(p, width, 0)]
    net, optimizer = SquareNet(weights, pairs, y), torch.optim.AdamW(weights, fused=True, lr=0.01)

    def step():
        net.backward()
        optimizer.step()

    ways = {"products": _products(len(y), p, width, hidden=1), "recipe": step}
    return {"rows": len(y), "width": width} | _time(ways)


def _denormals(p, share, width):
    """Time a step at logits so far apart that softmax meets denormals, flushed to zero and not."""
    import torch

    pairs, y, _ = _data(p, share)
    net, optimizer, step = _trained(pairs, y, p, width, FITTED)
    optimizer.param_groups[0]["lr"] = 0.0  # stay there
    with torch.no_grad():
        z = net(pairs)
        # exp(-95) is denormal in float32
        net.weights[-1].mul_(95 / (z.amax(1, keepdim=True) - z).median())
        z = net(pairs).double()
        shares = (z - z.amax(1, keepdim=True)).exp()

    def flushed(on):
        torch.set_flush_denormal(on)
        step()

    ways = {"kept": partial(flushed, False), "flushed": partial(flushed, True)}
    timed = _time({"products": _products(len(y), p, width)} | ways)
    small = float((shares < torch.finfo(torch.float32).tiny).float().mean())
    return {"denormal_shares": small, **timed}


def _trained(pairs, y, p, width, steps):
    # a net after so many steps, and the next one
    import torch

    from heldout.nets.pair_net import PairNet

    net = PairNet((p, p), (width, width), p)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True, **(OPTIONS | {"lr": 0.01}))

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(pairs), y).backward()
        optimizer.step()

    for _ in range(steps):
        step()
    return net, optimizer, step


def _gradient_errors(p, share, width):
    # before training and once fitted, by type of the products
    pairs, y, _ = _data(p, share)
    nets = {steps: _trained(pairs, y, p, width, steps)[0] for steps in (0, FITTED)}
    return {
        f"{name}, step {steps}": _gradient_error(net, pairs, y, name)
        for steps, net in nets.items()
        for name in ("float32", "bfloat16")
    }


def _gradient_error(net, pairs, y, name):
    """Return |g - g64| / |g64| over all weights, products in the named type, else float32."""
    import torch

    def gradient(net, dtype):
        net = deepcopy(net)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = net(pairs)
        keep = torch.float64 if dtype == "float64" else torch.float32
        torch.nn.functional.cross_entropy(logits.to(keep), y).backward()
        return torch.cat([w.grad.double().flatten() for w in net.weights])

    true = gradient(deepcopy(net).double(), "float64")
    return float((gradient(net, name) - true).norm() / true.norm())


def _small_batches():
    """Time `train_network` per step against the products of its step, by batch size."""
    import numpy as np
    import torch

    from heldout.bench.training import train_network
    from heldout.nets.small import mlp

    x, y = np.random.default_rng(0).normal(size=(4096, 64)), np.arange(4096) % 10
    make, out = partial(mlp, [64, 64, 10]), {}
    for batch in (64, 256, 1024, 4096):
        epochs = max(4, batch // 64)
        steps = epochs * (4096 // batch)
        h, w, v, z = (torch.randn(s) for s in ((batch, 64), (64, 64), (64, 10), (batch, 10)))

        def products(h=h, w=w, v=v, z=z, steps=steps):
            for _ in range(steps):
                h @ w, h @ v, h.T @ z, z @ v.T, h.T @ h

        run = partial(train_network, make, x, y, epochs=epochs, batch_size=batch)
        timed = _time({"products": products, "train_network": run})
        out[str(batch)] = {
            "step_s": timed["train_network"]["median_s"] / steps,
            **{k: v for k, v in timed["train_network"].items() if "share" in k},
        }
    return out


def _profile(ways, steps=5):
    """Return each operator's share of the time of a step, where above one percent."""
    from torch.profiler import profile

    out = {}
    for name, run in ways.items():
        run()
        with profile() as found:
            for _ in range(steps):
                run()
        spent = {e.key: e.self_cpu_time_total for e in found.key_averages()}
        total = sum(spent.values())
        shares = sorted(((v / total, k) for k, v in spent.items()), reverse=True)
        out[name] = {k: round(v, 3) for v, k in shares if v > 0.01}
    return out


def _worker(threads):
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    found = {name: _full_batch(*task) for name, task in TASKS.items()}
    found["quadratic"] = _quadratic()
    found["small_batches"] = _small_batches()
    if threads == 1:
        found["denormals"] = _denormals(*TASKS["p=47"])
        torch.set_flush_denormal(True)
        found["gradient_error"] = _gradient_errors(*TASKS["p=47"])
        p, share, width = TASKS["p=113"]
        pairs, y, x = _data(p, share)
        ways = _pair_net(pairs, y, p, width) | _graphs(pairs, y, x, p, width)
        found["profile, p=113"] = _profile(ways)
    return found | {"load_average": os.getloadavg()[0]}


def main() -> None:
    """Measure at one and two threads and write the record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(_worker(options.worker)))
        return
    from heldout.core.environment import environment
    from heldout.core.files import write_json

    os.environ["ROUNDS"] = str(options.rounds)
    record = {"rounds": options.rounds, "environment": environment(), "threads": {}}
    for threads in options.threads:
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--worker", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=env)
        if done.returncode:
            sys.exit(done.stderr)
        record["threads"][str(threads)] = json.loads(done.stdout.strip().splitlines()[-1])
    for threads, found in record["threads"].items():
        for task, ways in found.items():
            for way, numbers in ways.items() if isinstance(ways, dict) else ():
                if isinstance(numbers, dict) and "share_of_products" in numbers:
                    print(f"{threads} {task:14s} {way:30s} {numbers['share_of_products']:.2f}")
    write_json(options.out, record)


if __name__ == "__main__":
    main()
