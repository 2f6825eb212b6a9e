"""Tasks on spheres in a Gaussian-process base space, and networks on digits measured in one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from heldout.bench.digits import digits
from heldout.core.seeds import derived_seed, stream
from heldout.measures.gp_base import GPBase, compare, rbf
from heldout.measures.inductive_bias import bits, fit_ncx2
from heldout.measures.quadratic_law import QuadraticLaw
from heldout.nets.small import SmallCNN, mlp


def _law(
    setting: dict[str, Any], seed: int, d: int, n: int, points: int, width: float
) -> QuadraticLaw:
    """Law of the test loss on S^d with target x0 + 2 x0 x1, standardized."""
    rng = stream(seed, "exact_inductive_bias", d)
    z = rng.standard_normal((setting["most"], d + 1))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    y = z[:, 0] + 2 * z[:, 0] * z[:, 1]
    y = (y - y.mean()) / y.std()
    # Test points from the front and training points from the back: sizes are nested.
    test, train = slice(0, points), slice(len(z) - n, None)
    return GPBase(rbf(width)).law(z[train], y[train], z[test], y[test])


def _mean_bits(setting: dict[str, Any], seed: int, **given: Any) -> tuple[float, float, float]:
    """Exact, Chernoff and fitted bits, means over draws of the task; fit only where asked."""
    fit = given.pop("fit", False)
    found = []
    for draw in range(setting["repeats"]):
        law = _law(setting, derived_seed(seed, "draw", draw), **given)
        exact = bits(law, setting["eps"], family="gp_exact")
        fitted = math.nan
        if fit:
            losses = law.sample(setting["draws"], derived_seed(seed, "losses", draw))
            fitted = -fit_ncx2(losses).log_cdf(setting["eps"]) / math.log(2)
        found.append((exact.value, float(exact.chernoff or 0.0), fitted))
    exact_, chernoff, fitted_ = np.mean(found, axis=0).tolist()
    return exact_, chernoff, fitted_


def spheres(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return bits by dimension, training size, test size and kernel width."""
    base = {"n": setting["n"], "points": setting["points"], "width": setting["width"]}
    out: dict[str, float] = {}
    off = []
    for d in setting["dimensions"]:
        fit = d in setting["fitted"]
        exact, chernoff, fitted = _mean_bits(setting, seed, d=d, fit=fit, **base)
        out |= {f"bits/d@{d}": exact, f"chernoff/d@{d}": chernoff}
        if fit:
            out[f"fit/d@{d}"] = fitted
            off.append(abs(fitted / exact - 1))
    first, last = setting["dimensions"][0], setting["dimensions"][-1]
    out["bits/by_dimension"] = out[f"bits/d@{last}"] - out[f"bits/d@{first}"]
    out["fit/relative_error"] = float(np.mean(off))
    last_exact = out[f"bits/d@{last}"]
    out["chernoff/relative_gap"] = 1 - out[f"chernoff/d@{last}"] / last_exact
    for n in setting["sizes"]:
        given = base | {"n": n, "d": setting["size_dimension"]}
        out[f"bits/n@{n}"] = _mean_bits(setting, seed, **given)[0]
    out["bits/by_data"] = (
        out[f"bits/n@{setting['sizes'][0]}"] - out[f"bits/n@{setting['sizes'][-1]}"]
    )
    for points in setting["tests"]:
        given = base | {"points": points, "d": setting["caveat_dimension"]}
        out[f"bits/points@{points}"] = _mean_bits(setting, seed, **given)[0]
    few, many = setting["tests"][0], setting["tests"][-1]
    ratio = out[f"bits/points@{many}"] / out[f"bits/points@{few}"]
    out["bits/test_size_ratio"] = ratio
    out["bits/per_point_change"] = abs(ratio * few / many - 1)
    for width in setting["widths"]:
        given = base | {"width": width, "d": setting["caveat_dimension"]}
        out[f"bits/width@{width}"] = _mean_bits(setting, seed, **given)[0]
    narrow, wide = setting["widths"][0], setting["widths"][-1]
    out["bits/width_change"] = 1 - out[f"bits/width@{wide}"] / out[f"bits/width@{narrow}"]
    return out


def _network(kind: str, setting: dict[str, Any], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "linear":
            return mlp([64, 10])
        if kind == "mlp":
            return mlp([64, *setting["hidden"], 10])
        return SmallCNN(1, 8, 10, setting["channels"])


def loss_of(kind: str, rate: float, setting: dict[str, Any], data: Any, seed: int) -> float:
    """Return the mean squared test error of a network trained on one-hot targets by Adam."""
    (x, y), (xt, yt) = data
    net = _network(kind, setting, seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    order = torch.Generator().manual_seed(seed)
    for _ in range(setting["epochs"]):
        for rows in torch.split(torch.randperm(len(x), generator=order), setting["batch"]):
            optimizer.zero_grad()
            ((net(x[rows]) - y[rows]) ** 2).mean().backward()
            optimizer.step()
    with torch.no_grad():
        return float(((net(xt) - yt) ** 2).mean())


def split(setting: dict[str, Any], seed: int) -> Any:
    """Return training and test images with one-hot targets, as tensors."""
    parts = digits(derived_seed(seed, "exact_inductive_bias"), setting["n"])
    made = [(torch.tensor(x), torch.eye(10)[torch.tensor(y)]) for x, y in parts]
    (train, (xt, yt)), points = made, setting["points"]
    return train, (xt[:points], yt[:points])


def networks(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return bits per test point that linear models, MLPs and CNNs stand for."""
    data = split(setting, seed)
    (x, y), (xt, yt) = data
    flat = [t.flatten(1).double().numpy() for t in (x, y, xt, yt)]
    base = GPBase(rbf(setting["width"])).law(*flat)
    out = {"base/loss": base.mean}
    for kind, rate in setting["rates"].items():
        losses = [
            loss_of(kind, rate, setting, data, derived_seed(seed, kind, i))
            for i in range(setting["nets"])
        ]
        found = compare({str(i): loss for i, loss in enumerate(losses)}, base)
        out[f"bits/{kind}"] = float(np.mean([b.value for b in found.values()])) / base.points
        out[f"loss/{kind}"] = float(np.mean(losses))
    out["bits/cnn_minus_mlp"] = out["bits/cnn"] - out["bits/mlp"]
    out["bits/mlp_minus_linear"] = out["bits/mlp"] - out["bits/linear"]
    return out


MEASURES = {"spheres": spheres, "networks": networks}
"""One experiment each."""
