"""Random ReLU networks as a class of boolean functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from heldout.core.seeds import stream, torch_stream
from heldout.measures.mixture import regret_bound

NOISE = 0.1
"""Probability that a label is flipped; every hypothesis knows it."""
_KL = (1 - 2 * NOISE) * np.log((1 - NOISE) / NOISE)  # of two that disagree on an input, in nats


def inputs(bits: int) -> Tensor:
    """Return {0, 1}^bits as (2^bits, bits)."""
    index = torch.arange(2**bits)
    return ((index[:, None] >> torch.arange(bits)) & 1).float()


def random_functions(bits: int, width: int, count: int, seed: int, purpose: str) -> np.ndarray:
    """Return outputs of random networks on all inputs as integers of 2^bits bits, (count,).

    One hidden layer of ReLUs; weights N(0, 1 / fan-in), biases N(0, 0.01); the sign decides.
    """
    rng, x = torch_stream(seed, "universality_lens", purpose, width), inputs(bits)
    powers = 2 ** torch.arange(len(x))
    found = []
    for start in range(0, count, 4096):
        c = min(4096, count - start)
        first = torch.randn(bits, c * width, generator=rng) / bits**0.5
        bias = torch.randn(c * width, generator=rng) / 10
        hidden = torch.addmm(bias, x, first).clamp_(min=0).view(len(x), c, width)
        second = torch.randn(c, width, generator=rng) / width**0.5
        z = torch.einsum("xcw,cw->xc", hidden, second) + torch.randn(c, generator=rng) / 10
        found.append((powers[:, None] * (z > 0)).sum(0))
    return torch.cat(found).numpy()


def signs(codes: np.ndarray, size: int) -> np.ndarray:
    """Return functions as rows of -1 and 1, (m, size), float32."""
    return ((codes[:, None] >> np.arange(size)) & 1).astype(np.float32) * 2 - 1


def chosen(codes: np.ndarray, count: int, fewest: int) -> np.ndarray:
    """Return functions from the commonest to one seen `fewest` times, spread in log frequency."""
    found, times = np.unique(codes, return_counts=True)
    order = np.lexsort((found, -times))
    found, times = found[order], times[order]
    wanted = np.geomspace(times[0], fewest, count)
    rows = [int(np.argmin(abs(np.log(times / w)))) for w in wanted]
    return found[np.unique(rows)]


class Sampled:
    """A mixture over the distinct functions of sampled networks, prior by frequency.

    Exact, and for many data sets at once: the likelihood of n labels depends on a hypothesis
    through the number of disagreements only, so that all of them are one matrix product. A test
    holds it equal to `MixtureLearner`.
    """

    def __init__(self, codes: np.ndarray, size: int, uniform: bool = False) -> None:
        found, times = np.unique(codes, return_counts=True)
        self.rows = signs(found, size)
        flat = np.full(len(found), -np.log(len(found)))
        self.log_prior = flat if uniform else np.log(times / times.sum())

    def regret(self, truth: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ln P_0(y | x) - ln Q(y | x) in nats for each run, (runs,).

        Args:
            truth: (size,) of -1 and 1.
            x: input numbers (runs, n).
            y: noisy labels (runs, n), -1 or 1.
        """
        counts = _sums(x, y, len(truth))
        agree = (self.rows - truth) @ counts.T / 2  # disagreements fewer than the truth has
        log_odds = np.log((1 - NOISE) / NOISE)
        shared = self.log_prior[:, None] + agree.astype(np.float64) * log_odds
        return np.asarray(-logsumexp(shared, axis=0))

    def excess(self, truth: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return KL(P_0 || predictive) over all inputs after these examples, (runs,), in nats."""
        counts = _sums(x, y, len(truth))
        log_odds = np.log((1 - NOISE) / NOISE)
        weight = self.log_prior[:, None] + (self.rows @ counts.T / 2).astype(np.float64) * log_odds
        weight = np.exp(weight - logsumexp(weight, axis=0))
        p = 0.5 + (0.5 - NOISE) * truth * (weight.T @ self.rows)  # of the truth's own label
        kl = (1 - NOISE) * np.log((1 - NOISE) / p) + NOISE * np.log(NOISE / (1 - p))
        return np.asarray(kl.mean(1))


def _sums(x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    # labels summed by input: (runs, size)
    out = np.zeros((len(x), size), dtype=np.float32)
    np.add.at(out, (np.arange(len(x))[:, None], x), y)
    return out


def log_weights(codes: np.ndarray, truth: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return eps and ln W_eps for 0, 1, ... size disagreements, among sampled networks."""
    apart = codes ^ truth
    differ = np.array([0] * len(codes))
    for bit in range(size):
        differ += (apart >> bit) & 1
    near = np.cumsum(np.bincount(differ, minlength=size + 1))
    with np.errstate(divide="ignore"):
        return np.arange(size + 1) / size * _KL, np.log(near / len(codes))


def boolean(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return regrets, bounds and samples needed for chosen functions, at two widths.

    Weights in the bound are counted on other networks than those that are mixed, and the
    functions are chosen on a third lot: nothing is compared with itself.
    """
    bits, size, m = setting["bits"], 2 ** setting["bits"], setting["nets"]
    narrow, wide = setting["widths"]
    truths = chosen(
        random_functions(bits, narrow, m, seed, "choose"), setting["truths"], setting["fewest"]
    )
    rng = stream(seed, "universality_lens", "labels")
    runs, n = setting["runs"], max(setting["points"])
    x = rng.integers(size, size=(runs, n))
    flips = np.where(rng.random((runs, n)) < NOISE, -1, 1)
    out: dict[str, float] = {"functions/chosen": float(len(truths))}
    for name, width in (("narrow", narrow), ("wide", wide)):
        counted = random_functions(bits, width, m, seed, "count")
        mixed = random_functions(bits, width, m, seed, "mix")
        learners = {name: Sampled(mixed, size)}
        if name == "narrow":
            for rank, code in (("commonest", truths[0]), ("rarest", truths[-1])):
                row = signs(np.array([code]), size)[0]
                out[f"samples/{rank}"] = samples_needed(learners[name], row, setting, seed)
            learners["uniform"] = Sampled(mixed, size, uniform=True)
        out[f"distinct/{name}"] = float(len(learners[name].log_prior))
        for i, code in enumerate(truths):
            truth = signs(np.array([code]), size)[0]
            eps, log_w = log_weights(counted, int(code), size)
            out[f"log_inverse_weight/{name}@{i}"] = float(min(-log_w[0], 2 * np.log(m)))
            for kind, learner in learners.items():
                out |= _of_truth(learner, truth, x, flips, setting["points"], eps, log_w, kind, i)
    out["samples/rarest_over_commonest"] = out["samples/rarest"] / out["samples/commonest"]
    return out | _compared(out, setting)


def _of_truth(
    learner: Sampled, truth: np.ndarray, x: np.ndarray, flips: np.ndarray, points: list[int],
    eps: np.ndarray, log_w: np.ndarray, kind: str, i: int,
) -> dict[str, float]:  # fmt: skip
    y = truth[x] * flips
    ratios, needed = [], float(points[-1] * 2)  # not reached counts as twice the last
    for n in points:
        regret = float(learner.regret(truth, x[:, :n], y[:, :n]).mean())
        ratios.append(regret / regret_bound(eps, log_w, n).nats)
        if needed > n and float(learner.excess(truth, x[:, :n], y[:, :n]).mean()) < 0.02:
            needed = float(n)
    found = {"regret": regret, "over_bound": max(ratios), "samples": needed}
    return {f"{k}/{kind}@{i}": v for k, v in found.items()}


def samples_needed(
    learner: Sampled, truth: np.ndarray, setting: dict[str, Any], seed: int
) -> float:
    """Return after how many examples the mean excess log-loss falls below 0.02 nats.

    Between points of the grid, on a line in ln n and ln excess; twice the last when it never does.
    """
    grid, repeats, wanted = setting["grid"], setting["repeats"], 0.02
    rng = stream(seed, "universality_lens", "samples_needed")
    x = rng.integers(len(truth), size=(repeats, max(grid)))
    y = truth[x] * np.where(rng.random(x.shape) < NOISE, -1, 1)
    before = (grid[0], np.inf)
    for n in grid:
        parts = [slice(i, i + 50) for i in range(0, repeats, 50)]  # of a run's 10^5 weights each
        excess = float(
            np.concatenate([learner.excess(truth, x[p, :n], y[p, :n]) for p in parts]).mean()
        )
        if excess < wanted:
            if not np.isfinite(before[1]):
                return float(n)
            share = np.log(before[1] / wanted) / np.log(before[1] / excess)
            return float(before[0] * (n / before[0]) ** share)
        before = (n, excess)
    return float(2 * grid[-1])


def _compared(out: dict[str, float], setting: dict[str, Any]) -> dict[str, float]:
    count = int(out["functions/chosen"])

    def series(name: str) -> np.ndarray:
        return np.array([out[f"{name}@{i}"] for i in range(count)])

    regret = {k: series(f"regret/{k}") for k in ("narrow", "wide", "uniform")}
    weight = {k: series(f"log_inverse_weight/{k}") for k in ("narrow", "wide")}
    bits, (narrow, wide) = setting["bits"], setting["widths"]
    return {
        "over_bound/largest": float(max(series(f"over_bound/{k}").max() for k in weight)),
        "over_bound/uniform": float(series("over_bound/uniform")[0]),
        "regret/wide_over_narrow": float(regret["wide"].mean() / regret["narrow"].mean()),
        "regret/uniform_over_narrow": float(regret["uniform"][0] / regret["narrow"][0]),
        "parameters/wide_over_narrow": (wide * (bits + 2) + 1) / (narrow * (bits + 2) + 1),
        "correlation/smallest": float(min(np.corrcoef(regret[k], weight[k])[0, 1] for k in weight)),
        "slope/uniform_over_narrow": float(
            np.polyfit(weight["narrow"], regret["uniform"], 1)[0]
            / np.polyfit(weight["narrow"], regret["narrow"], 1)[0]
        ),
    }
