"""Mixtures over binary Markov chains of every order."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

from heldout.core.seeds import stream


def markov(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return regrets of mixtures over binary Markov chains: one order, or all up to the largest.

    Each context has a Beta(1/2, 1/2) prior, whose integral is closed: ln B(a + 1/2, b + 1/2) / pi.
    """
    rng = stream(seed, "universality_lens", "markov")
    points, largest, runs = setting["points"], setting["largest"], setting["runs"]
    log_q, log_p = np.zeros((largest + 1, runs, len(points))), np.zeros((runs, len(points)))
    order = setting["order"]
    for r in range(runs):
        chance = rng.uniform(0.2, 0.8, 2**order)
        bits = _chain(chance, order, largest, max(points), rng)
        for k in range(largest + 1):
            context = _contexts(bits, k, largest)
            for j, n in enumerate(points):
                a, b = _tally(context[:n], bits[largest:][:n], k)
                log_q[k, r, j] = _evidence(a, b).sum()
                if k == order:
                    log_p[r, j] = float(b @ np.log(chance) + a @ np.log1p(-chance))
    regret = (log_p - log_q).mean(1)
    all_orders = (log_p - (logsumexp(log_q, axis=0) - np.log(largest + 1))).mean(0)
    x = np.log(points)
    slope = float(np.polyfit(x, regret[order], 1)[0])
    out = {
        f"regret/order_{order}@{n}": float(v) for n, v in zip(points, regret[order], strict=True)
    }
    out |= {f"regret/all_orders@{n}": float(v) for n, v in zip(points, all_orders, strict=True)}
    return out | {
        "slope/over_half_d": slope / (2**order / 2),
        "slope/error": abs(slope / (2**order / 2) - 1),
        "slope/largest_over_half_d": float(np.polyfit(x, regret[largest], 1)[0]) / (2**order / 2),
        "regret/all_over_own": float(all_orders[-1] / regret[order, -1]),
        "regret/largest_over_own": float(regret[largest, -1] / regret[order, -1]),
    }


def _chain(
    chance: np.ndarray, order: int, lead: int, n: int, rng: np.random.Generator
) -> np.ndarray:
    # `lead` fair bits first, so that every order has its contexts from the first symbol on
    bits = [int(v) for v in rng.integers(2, size=lead)]
    draws = rng.random(n)
    for t in range(n):
        context = 0
        for k in range(order):
            context |= bits[-1 - k] << k
        bits.append(int(draws[t] < chance[context]))
    return np.array(bits)


def _contexts(bits: np.ndarray, order: int, lead: int) -> np.ndarray:
    n = len(bits) - lead
    context = np.zeros(n, dtype=np.int64)
    for k in range(order):
        context |= bits[lead - 1 - k : lead - 1 - k + n] << k
    return context


def _tally(context: np.ndarray, symbol: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(context * 2 + symbol, minlength=2 ** (order + 1)).reshape(-1, 2)
    return counts[:, 0], counts[:, 1]


def _evidence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(a + 0.5) + gammaln(b + 0.5) - gammaln(a + b + 1) - np.log(np.pi))
