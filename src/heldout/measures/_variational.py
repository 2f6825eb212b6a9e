"""Simplicity from above: the best Gaussian around a solution, for networks of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.func import grad_and_value

from heldout.core.interval import Interval
from heldout.core.seeds import torch_stream
from heldout.measures._geometry import Preconditioner, Target, geometry_at
from heldout.measures.prior import Flat, Likelihood, divergence_between, head, over

Distance = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps draws (m, d) and row numbers to D over these rows (m,) and its gradient (m, d)."""

_ROWS = 512  # inputs per step, and per pass of the final measurement
_DRAWS = 4  # of the Gaussian per step
_MEASURED = 200  # fresh draws for the bound itself
_FULL = 500  # parameters up to which the Gaussian lies along the Fisher information's directions
_RATE = 0.05


def upper_bound(
    flat: Flat, x: Tensor, n: int, likelihood: Likelihood, noise: float | None, steps: int,
    seed: int,
) -> tuple[Interval, float]:  # fmt: skip
    """Return n E_q[D] + KL(q || prior) for a fitted Gaussian q, and 2 n E_q[D].

    At least C_n = -ln E_prior[exp(-n D)] for every q (Donsker and Varadhan), so that neither the
    fit nor the shape of q can make it too small: draws made after the fit measure it. Of two fits,
    from the solution and from the prior, the smaller bound counts.
    """
    generator = torch_stream(seed, "simplicity", "variational")
    with torch.no_grad():
        truth = torch.cat([head(flat(flat.solution, a), likelihood, noise) for a in x.split(_ROWS)])
    labels = torch.zeros(len(x), dtype=torch.long)
    target = Target(flat, x, labels, n, likelihood, noise)
    kind: Preconditioner = "full" if len(flat.solution) <= _FULL else "diagonal"
    geometry = geometry_at(target, flat.solution[None], kind, generator)

    def distance(us: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        def one(z: Tensor) -> Tensor:
            out = head(flat(z, x[rows]), likelihood, noise)
            return divergence_between(truth[rows], out, likelihood)

        gradient, value = over(grad_and_value(one), geometry.back(us))
        return value.detach(), geometry.turn(gradient.detach())

    # of a quadratic divergence the first start is the posterior, and the bound is C_n itself; the
    # second, the prior, keeps a solution that is far out from costing more than not to find it
    stiff = n * geometry.curvature
    near = geometry.turn(flat.solution[None])[0] * stiff / (1 + stiff), (1 + stiff).rsqrt()
    prior = torch.zeros_like(stiff), torch.ones_like(stiff)
    found = []
    for centre, width in (near, prior):
        mean, scale = _fitted(distance, centre, width, len(x), n, steps, generator)
        found.append(_measured(distance, mean, scale, len(x), n, generator))
    return min(found, key=lambda f: f[0].value)


def _fitted(
    distance: Distance, centre: Tensor, width: Tensor, inputs: int, n: int, steps: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shift, spread = (torch.zeros_like(width, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([shift, spread], _RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))

    def now() -> tuple[Tensor, Tensor]:
        return (centre + width * shift).detach(), (width * spread.exp()).detach()

    for _ in range(steps):
        mean, scale = now()
        e = torch.randn(_DRAWS, len(mean), generator=generator).to(mean)
        rows = torch.arange(inputs)
        if inputs > _ROWS:
            rows = torch.randint(inputs, (_ROWS,), generator=generator)
        slope = n * distance(mean + scale * e, rows)[1]
        shift.grad = width * (slope.mean(0) + mean)
        spread.grad = (slope * e).mean(0) * scale + scale**2 - 1
        optimizer.step()
        decay.step()
    return now()


def _measured(
    distance: Distance, mean: Tensor, scale: Tensor, inputs: int, n: int, generator: torch.Generator
) -> tuple[Interval, float]:
    found = []
    for _ in range(_MEASURED // _DRAWS):
        us = mean + scale * torch.randn(_DRAWS, len(mean), generator=generator).to(mean)
        parts = torch.arange(inputs).split(_ROWS)
        found.append(sum((distance(us, r)[0] * len(r) for r in parts), torch.zeros(())) / inputs)
    d = torch.cat(found).double().cpu().numpy()
    m, s = mean.double(), scale.double()
    paid = float(((m**2 + s**2 - 1) / 2 - s.log()).sum())
    value = n * float(d.mean()) + paid
    error = float(d.std(ddof=1) / np.sqrt(len(d)))
    half = n * float(stats.t.ppf(0.975, len(d) - 1)) * error
    said = "student t over draws of a Gaussian; an upper bound of the nats"
    return Interval(value, value - half, value + half, len(d), method=said), 2 * n * float(d.mean())
