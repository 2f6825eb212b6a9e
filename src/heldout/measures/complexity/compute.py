"""All complexity measures of one trained network."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.errors import InputError
from heldout.measures.complexity._examples import refuse_inputs, refuse_labels
from heldout.measures.complexity._folding import Folded, Layer, fold, plain
from heldout.measures.complexity.bounds import pacbayes_bounds, sharpness_bounds
from heldout.measures.complexity.flatness import noise_scale, worst_step
from heldout.measures.complexity.gradient_variance import gradient_variance
from heldout.measures.complexity.margins import percentile_margin
from heldout.measures.complexity.norms import norm_measures
from heldout.measures.complexity.path_norm import folded_path_norm

FAMILIES = ("margin", "path_norm", "flatness", "sharpness", "gradient_variance")
"""What `without` may leave out."""
NOTE = "No measure is a guarantee: each ranks some sets of models the wrong way round."
"""To be printed wherever a measure is."""


@dataclass(frozen=True)
class Options:
    """How the searches are done."""

    drop: float = 0.1
    """Drop of training accuracy that the searches look for."""
    draws: int = 10
    """Of noise at each scale. For two models that lie close together take more: over seeds, the
    scale found for a net of 114 weights varied by 8 % (sd) with 10, by 4 % with 100."""
    steps: int = 20
    """Of the ascent that looks for a worst step."""
    tolerance: float = 0.02
    """Relative, of the scales found."""
    seed: int = 0
    """Of the noise."""


def complexity_measures(
    model: nn.Module, initial_state: Mapping[str, Any] | None,
    x: Float[Tensor, "n ..."], y: Int[Tensor, " n"], *,
    history: Sequence[tuple[float, float]] | None = None, stopping_loss: float | None = 0.1,
    without: Collection[str] = (), normalized: bool = False, options: Options | None = None,
) -> dict[str, float]:  # fmt: skip
    """Every measure of Jiang et al. (2020) that a trained network and its start give.

    Larger means more complex, so the paper's hypothesis is that it goes with a larger gap. Batch
    norms are folded into the layers before. By name: `params`, `inverse_margin`, those of
    `norm_measures`, `path_norm` and `path_norm_over_margin`, those of `pacbayes_bounds` and
    `sharpness_bounds`, `gradient_variance`, and `steps_to_ce_0.1` with a history. Two models
    can be compared when they were trained to one loss on as many examples. No measure is a
    guarantee: each ranks some sets of models the wrong way round.

    Args:
        model: feed-forward or convolutional, trained; borrowed.
        initial_state: its `state_dict()` before training.
        x: all training inputs, in the form that the model takes.
        y: their labels, 0 .. classes-1.
        history: (step, training cross-entropy), for the steps that it took to reach 0.1.
        stopping_loss: the training cross-entropy must be at most this; None takes any model.
        without: families to leave out, of `FAMILIES`.
        normalized: report sqrt(value / n), or (value - log n) / 2 of logarithms, as bounds do;
            without it values of sets of different size cannot be compared. The sign of a
            negative bound is kept. Gradient variance and steps are no bounds and stay.
        options: of the searches.

    Raises:
        InputError: inputs or labels that are not the model's, or not finite; fewer than ten; no
            initial state or one of another model, a loss above `stopping_loss`,
            training accuracy below 0.9 for margins, a residual or smooth network for the path
            norm, and what `fold` refuses.

    Cost: about 400 training passes with the default options, nearly all for sharpness.

    >>> from heldout.nets.small import mlp
    >>> x = torch.cat([torch.ones(8, 2), -torch.ones(8, 2)]); y = torch.arange(16) // 8
    >>> start, net = mlp([2, 4, 2]), mlp([2, 4, 2])
    >>> found = complexity_measures(
    ...     net, start.state_dict(), x, y, stopping_loss=None,
    ...     without=("margin", "flatness", "sharpness"))
    >>> found["params"]
    16.0
    """
    options = options or Options()
    _refuse(model, x, y, initial_state, without)
    net = fold(model, x)
    first = fold(model, x, initial_state)
    with torch.no_grad():
        logits = net.logits(x)
    _require_converged(logits, y, stopping_loss)
    margin = None if "margin" in without else percentile_margin(logits, y)
    found = norm_measures(net.layers, first.layers, margin)
    found["params"] = float(sum(a.weight.numel() for a in net.layers))
    if margin is not None:
        found["inverse_margin"] = margin**-2
    if "path_norm" not in without:
        found["path_norm"] = folded_path_norm(net, x)
        if margin is not None:
            found["path_norm_over_margin"] = found["path_norm"] / margin**2
    found |= _searched(net, first, x, y, without, options)
    if normalized:
        found = {name: _normalized(name, value, len(x)) for name, value in found.items()}
    if "gradient_variance" not in without:
        net.model.requires_grad_(True)
        found["gradient_variance"] = gradient_variance(net.model, x, y)
    if history is not None:
        found["steps_to_ce_0.1"] = _steps(history)
    return found


def _searched(
    net: Folded, first: Folded, x: Tensor, y: Tensor, without: Collection[str], options: Options
) -> dict[str, float]:
    weights, start = _flat(net.layers), _flat(first.layers)
    moved = weights - start
    found: dict[str, float] = {}
    shared = {"drop": options.drop, "tolerance": options.tolerance}
    if "flatness" not in without:
        scales = [
            noise_scale(net.model, x, y, magnitude_aware=aware, draws=options.draws,
                        seed=options.seed, **shared)
            for aware in (False, True)
        ]  # fmt: skip
        found |= pacbayes_bounds(weights, moved, len(x), *scales)
    if "sharpness" not in without:
        steps = [
            worst_step(net.model, x, y, magnitude_aware=aware, steps=options.steps, **shared)
            for aware in (False, True)
        ]
        found |= sharpness_bounds(weights, moved, len(x), *steps)
    return found


def _flat(layers: Sequence[Layer]) -> np.ndarray:
    return torch.cat([a.weight.flatten() for a in layers]).cpu().numpy()


def _normalized(name: str, value: float, n: int) -> float:
    if name.startswith("log_"):
        return 0.5 * (value - math.log(n))
    return math.copysign(math.sqrt(abs(value) / n), value)


def _steps(history: Sequence[tuple[float, float]]) -> float:
    try:
        reached = [float(step) for step, loss in history if loss <= 0.1]
    except (TypeError, ValueError):
        reached = []
    if reached:
        return reached[0]
    raise InputError(
        f"a history of {len(history)} entries in which no loss falls to 0.1",
        "(step, training cross-entropy) up to the end of training",
        "leave history out",
    )


def _refuse(model: Any, x: Any, y: Any, state: Any, without: Collection[str]) -> None:
    if state is None:
        raise InputError(
            "no initial state",
            "the model's state_dict() before training: distances are measured from it",
            "keep copy.deepcopy(model.state_dict()) before the first step",
        )
    if unknown := sorted(set(without) - set(FAMILIES)):
        raise InputError(f"without={unknown}", f"some of {FAMILIES}", "check the spelling")
    logits = refuse_inputs(plain(model), x)
    if len(x) < 10:
        raise InputError(f"{len(x)} inputs", "at least ten", "pass all training examples")
    refuse_labels(y, len(x), logits.shape[1])


def _require_converged(logits: Tensor, y: Tensor, stopping_loss: float | None) -> None:
    loss = float(nn.functional.cross_entropy(logits.double(), y))
    if not math.isfinite(loss) or (stopping_loss is not None and loss > stopping_loss):
        raise InputError(
            f"a model of training cross-entropy {loss:.3g}",
            f"at most {stopping_loss}: measures of models that stopped elsewhere do not compare",
            "train on to a common loss, drop the model, or pass stopping_loss=None",
        )
