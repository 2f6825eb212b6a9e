"""Published constants, spheres, and digits as they are, noisier, fewer and in pairs."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from heldout.core.seeds import derived_seed, stream
from heldout.measures.difficulty import bound_bits, control_bits, estimate

PUBLISHED = {
    "mnist": (60_000, 14, 17.179, 2.3987, 10, 0.001),
    "svhn": (73_257, 19, 53.869, 1.5767, 10, 0.01),
    "cifar10": (50_000, 27, 54.916, 2.7506, 10, 0.01),
    "imagenet": (1_280_901, 48, 943.592, 65.0, 1000, 0.1),
}
"""Examples, dimension, radius, resolution, classes and error, as the authors' code states them."""

_CONTROL = {"reacher": (6, 2), "hopper": (15, 4), "cheetah": (17, 6)}


def constants(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return `log10/<data>` at the published constants, and what moves the one of ImageNet."""
    found = {name: bound_bits(*given) for name, given in PUBLISHED.items()}
    out = {f"log10/{name}": r.log10_bits for name, r in found.items()}
    out["log10/least_step"] = min(b - a for a, b in pairwise([*out.values()]))
    n, m, radius, delta, classes, eps = PUBLISHED["imagenet"]
    now = found["imagenet"].log10_bits
    finer = bound_bits(n, m, radius, 0.8 * delta, classes, eps).log10_bits - now
    more = bound_bits(n, m + 1, radius, delta, classes, eps).log10_bits - now
    out |= {"log10/finer": finer, "log10/dimension": more}
    out["log10/dimension_minus_finer"] = more - finer
    data = bound_bits(100 * n, m, radius, delta, classes, eps).log10_bits
    out["log10/hundredfold_data"] = data - now
    for name, (observed, actions) in _CONTROL.items():
        out[f"log10/{name}"] = control_bits(1_000_000, observed, actions).log10_bits
    for t in range(1, 6):
        out[f"log10/cartpole@{t}"] = control_bits(10_000, 2 * t, 1).log10_bits
    return out


def _sphere(d: int, n: int, gap: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n points of S^d in R^50, labelled by the side of a plane; none closer to it than the gap."""
    z = rng.standard_normal((20 * n, d + 1))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    z = z[np.abs(z[:, 0]) > gap][:n]
    turn = np.linalg.qr(rng.standard_normal((50, d + 1)))[0]
    return z @ turn.T, (z[:, 0] > 0).astype(int)


def spheres(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return estimated dimension and log10 bits by the dimension of the sphere."""
    out: dict[str, float] = {}
    for name, gap in (("gap", setting["gap"]), ("touching", 0.0)):
        for d in setting["dimensions"]:
            both = []
            for sample in range(setting["samples"][name]):
                at = (name, d, sample) if sample else (name, d)
                rng = stream(seed, "generalization_difficulty", *at)
                x, y = _sphere(d, setting["points"], gap, rng)
                found = estimate(x, y, setting["eps"], draws=1, seed=derived_seed(seed, *at))
                # Below a dimension of three the class can be determined: a floor of one bit.
                both.append((max(found.log10_bits, 0.0), found.m.value))
            out[f"{name}@{d}"], out[f"m/{name}@{d}"] = np.mean(both, axis=0).tolist()
    for name, worst in (("gap", "m/worst"), ("touching", "m/worst_touching")):
        low, high = setting[f"{name}_range"]
        out[f"{name}/per_dimension"] = (out[f"{name}@{high}"] - out[f"{name}@{low}"]) / (high - low)
        tracked = [d for d in range(low, high + 1) if f"m/{name}@{d}" in out]
        out[worst] = max(abs(out[f"m/{name}@{d}"] / d - 1) for d in tracked)
    return out


def digits(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return log10 bits of scikit-learn's digits: fewer, halved, and with noise on their pixels."""
    x, y = load_digits(return_X_y=True)
    x = x / 16.0
    rng = stream(seed, "generalization_difficulty", "digits")

    def log10(rows: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
        noisy = x[rows] + noise * rng.standard_normal((len(rows), x.shape[1]))
        found = estimate(noisy, y[rows], setting["eps"], draws=1)
        return found.log10_bits, found.m.value

    out: dict[str, float] = {}
    for n in setting["sizes"]:
        repeats = setting["repeats"] if n < len(y) else 1
        parts = [log10(rng.permutation(len(y))[:n])[0] for _ in range(repeats)]
        out[f"bits/n@{n}"] = float(np.mean(parts))
    least, most = min(setting["sizes"]), max(setting["sizes"])
    out["bits/more_data"] = out[f"bits/n@{most}"] - out[f"bits/n@{least}"]
    for noise in setting["noise"]:
        both = [log10(np.arange(len(y)), noise) for _ in range(setting["repeats"])]
        value, m = np.mean(both, axis=0)
        out |= {f"bits/noise@{noise}": float(value), f"m/noise@{noise}": float(m)}
    none, little, much = setting["compared"]
    out["bits/little_noise"] = out[f"bits/noise@{little}"] - out[f"bits/noise@{none}"]
    out["bits/more_noise"] = out[f"bits/noise@{much}"] - out[f"bits/noise@{little}"]
    out["m/more_noise"] = out[f"m/noise@{much}"] - out[f"m/noise@{little}"]
    apart = []
    for _ in range(setting["halvings"]):
        halves = np.array_split(rng.permutation(len(y)), 2)
        apart.append(abs(log10(halves[0])[0] - log10(halves[1])[0]))
    out["bits/halves"] = float(np.mean(apart))
    return out


def pairs(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return Kendall's tau of bits and error, over the tasks of telling two digits apart."""
    x, y = load_digits(return_X_y=True)
    x = x / 16.0
    rng = stream(seed, "generalization_difficulty", "pairs")
    bits, errors = [], []
    for a, b in combinations(range(setting["classes"]), 2):
        rows = np.flatnonzero((y == a) | (y == b))
        bits.append(estimate(x[rows], y[rows], setting["eps"], draws=1).log10_bits)
        errors.append(_error(x[rows], y[rows], setting, rng))
    tau = float(kendalltau(bits, errors).statistic)
    return {"pairs/tau": tau, "pairs/error": float(np.mean(errors))}


def _error(
    x: np.ndarray, y: np.ndarray, setting: dict[str, Any], rng: np.random.Generator
) -> float:
    """Mean error of the nearest neighbour, learned from few examples of each of two classes."""
    wrong = []
    for _ in range(setting["splits"]):
        train = np.concatenate(
            [rng.permutation(np.flatnonzero(y == c))[: setting["shots"]] for c in np.unique(y)]
        )
        test = np.setdiff1d(np.arange(len(y)), train)
        model = KNeighborsClassifier(1).fit(x[train], y[train])
        wrong.append(float((model.predict(x[test]) != y[test]).mean()))
    return float(np.mean(wrong))


MEASURES = {"constants": constants, "spheres": spheres, "digits": digits, "pairs": pairs}
"""One experiment each."""
