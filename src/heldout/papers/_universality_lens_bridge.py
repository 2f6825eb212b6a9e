"""A small network's exact mixture by importance sampling, and SGLD's approximation beside it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from heldout.core.seeds import derived_seed, torch_stream
from heldout.measures.distillation import Distilling, distill
from heldout.measures.langevin_ensemble import Langevin, langevin_ensemble
from heldout.measures.posterior_ensemble import PosteriorEnsemble
from heldout.measures.prior import GaussianPrior, flatten, over

_PURPOSE = "universality_lens/bridge"
_CHUNK = 20_000  # parameter vectors at a time
_HEAVY = 1 - 1e-6  # of the posterior's mass is asked for predictions


def network(width: int, seed: int, *purpose: str | int) -> nn.Module:
    """Return a tanh network of two inputs and two classes, drawn from the prior N(0, I)."""
    with torch.random.fork_rng():  # nn.Linear draws its first weights from the global state
        net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2))
    rng = torch_stream(seed, _PURPOSE, *purpose)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return net


def exact_mixture(
    net: nn.Module, x: Tensor, y: Tensor, new: Tensor, draws: int, rng: torch.Generator
) -> tuple[np.ndarray, float]:
    """Return the mixture's probabilities at new inputs (n, K), and the draws that they are worth.

    Draws of the prior, each weighted by its likelihood: exact as their number grows, whatever the
    posterior looks like, which no chain can promise.
    """
    flat = flatten(net, GaussianPrior(1.0))

    def log_p(us: Tensor, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = over(lambda u: flat(u, inputs), us).double().log_softmax(2)
        return found

    us = torch.randn(draws, len(flat.solution), generator=rng)
    fit = torch.cat(
        [log_p(c, x)[:, torch.arange(len(x)), y].sum(1) for c in torch.split(us, _CHUNK)]
    )
    weight = np.exp(fit.numpy() - logsumexp(fit.numpy()))
    order = np.argsort(-weight)
    order = order[: int(np.searchsorted(np.cumsum(weight[order]), _HEAVY)) + 1]
    total = np.zeros((len(new), 2))
    for start in range(0, len(order), _CHUNK // 10):
        rows = order[start : start + _CHUNK // 10]
        p = log_p(us[torch.from_numpy(rows)], new).exp().numpy()
        total += np.einsum("m,mnk->nk", weight[rows], p)
    return total / weight[order].sum(), float(1 / (weight**2).sum())


def descended(net: nn.Module, x: Tensor, y: Tensor, steps: int, penalty: float) -> nn.Module:
    """Return the network after Adam on n * cross-entropy + penalty |theta|^2 / 2.

    With penalty 1 that is the mode of the posterior; with 0, maximum likelihood.
    """
    parameters = list(net.parameters())
    optimizer = torch.optim.Adam(parameters, 0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(x), y, reduction="sum")
        loss = loss + penalty / 2 * torch.stack([(p**2).sum() for p in parameters]).sum()
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        optimizer.step()
        decay.step()
    return net


def bridge(setting: dict[str, Any], seed: int) -> dict[str, float]:
    """Return divergences from the exact mixture of what approximates it, added up over worlds."""
    worlds = [_world(setting, seed, k) for k in range(setting["worlds"])]
    total = {k: float(sum(w[k] for w in worlds)) for k in worlds[0]}
    out = {k: v / len(worlds) for k, v in total.items() if "/" in k}
    single = total["from_mixture/single"]
    names = ("ensemble", "student", "wrong_noise", "student_of_single", "unpenalized")
    return out | {
        **{f"{k}/over_single": total[f"from_mixture/{k}"] / single for k in names},
        "logits/over_ensemble": total["from_mixture/logits"] / total["from_mixture/ensemble"],
        "reference/fewest_draws": min(w["draws"] for w in worlds),
        "r_hat/largest": max(w["r_hat"] for w in worlds),
        "parameters": worlds[0]["parameters"],
    }


def _world(setting: dict[str, Any], seed: int, k: int) -> dict[str, float]:
    rng, width = torch_stream(seed, _PURPOSE, "data", k), setting["width"]
    teacher = network(width, seed, "teacher", k)
    x, new, more = (
        torch.randn(setting[m], 2, generator=rng) for m in ("examples", "new", "inputs")
    )
    y = torch.multinomial(torch.from_numpy(_p(teacher, x)), 1, generator=rng)[:, 0]
    mixture, draws = exact_mixture(teacher, x, y, new, setting["draws"], rng)

    def start() -> nn.Module:
        return network(width, seed, "start", k)

    singles = [
        descended(start(), x, y, setting["descent"], penalty) for penalty in setting["penalties"]
    ]
    # a generous baseline: the penalty that comes nearest to the mixture, known to nobody else
    single = min(singles, key=lambda net: _kl(mixture, _p(net, new)))
    made = sampled(start(), x, y, setting, derived_seed(seed, _PURPOSE, "noise", k))
    wrong = sampled(start(), x, y, setting, derived_seed(seed, _PURPOSE, "wrong", k), True)
    options = Distilling(setting["distilling"], rate=0.02)

    def pupil_of(teaching: Any) -> np.ndarray:
        found = distill(
            teaching, network(width, seed, "student", k), more, held_out=new, options=options,
            seed=seed,
        )  # fmt: skip
        return _p(found.student, new)

    q = {
        "ensemble": made.predict_proba(new), "single": _p(single, new),
        "unpenalized": _p(singles[0], new), "wrong_noise": wrong.predict_proba(new),
        "student": pupil_of(made), "student_of_single": pupil_of(lambda z: _p(single, z)),
        "logits": _mean_of_logits(made, new),
    }  # fmt: skip
    truth = _p(teacher, new)
    return {
        **{f"from_mixture/{name}": _kl(mixture, p) for name, p in q.items()},
        **{f"regret/{name}": _kl(truth, p) for name, p in (q | {"mixture": mixture}).items()},
        "draws": draws, "r_hat": made.r_hat,
        "parameters": float(sum(p.numel() for p in teacher.parameters())),
    }  # fmt: skip


def sampled(
    net: nn.Module, x: Tensor, y: Tensor, setting: dict[str, Any], seed: int, wrong: bool = False
) -> PosteriorEnsemble:
    """Return SGLD's ensemble on mini-batches.

    Args:
        net: the architecture.
        x: inputs.
        y: labels.
        setting: of the recipe.
        seed: of the noise.
        wrong: multiply a mini-batch's mean loss by the batch's size in place of n, the usual
            mistake: the posterior of n / T examples, T = n / batch, under the same prior.
    """
    t = len(x) / setting["batch"] if wrong else 1.0
    options = Langevin(
        chains=setting["chains"], samples=setting["samples"], thinning=setting["thinning"],
        burn_in=setting["burn_in"], batch_size=setting["batch"], temperature=t, refuse=False,
    )  # fmt: skip
    with warnings.catch_warnings():  # R-hat is recorded, and a control
        warnings.simplefilter("ignore")
        return langevin_ensemble(
            net, x, y, prior=GaussianPrior(t**-0.5), options=options, seed=seed
        )


def _mean_of_logits(made: PosteriorEnsemble, x: Tensor) -> np.ndarray:
    total = torch.zeros(len(x), 2, dtype=torch.float64)
    with torch.no_grad():
        for member in made.members:
            total += torch.func.functional_call(made.module, dict(member), (x,)).double()
    return np.asarray((total / len(made.members)).softmax(1).numpy())


def _p(net: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net(x).double().softmax(1).numpy())


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    logs = np.log(p) - np.log(np.maximum(q, 1e-12))
    return float((p * logs).sum(1).mean())
