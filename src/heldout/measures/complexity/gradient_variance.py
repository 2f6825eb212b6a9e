"""How far the gradients of single training examples lie from their mean."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from heldout.core.borrow import borrowed
from heldout.core.outputs import logits_of
from heldout.core.pergrad import squared_norms
from heldout.measures.complexity._examples import refuse_inputs, refuse_labels


def gradient_variance(model: nn.Module, x: Float[Tensor, "n ..."], y: Int[Tensor, " n"]) -> float:
    """Total variance of the per-example gradients of the cross-entropy (Jiang et al. 2020, C.7).

    `(1/n) sum_i |g_i - gbar|^2 = (1/n) sum_i |g_i|^2 - |gbar|^2`, over all weights that are
    trained. Zero when all examples pull alike.

    DIFFERS: at the end of training over all of its examples, where the paper also takes it after
    the first epoch.

    Cost: about three training passes; a copy of the weights, never n gradients.

    Raises:
        InputError: inputs or labels that are not the model's, or not finite.

    >>> net = nn.Linear(2, 2)
    >>> gradient_variance(net, torch.ones(3, 2), torch.zeros(3).long()) < 1e-6  # all alike
    True
    """
    logits = refuse_inputs(model, x)
    refuse_labels(y, len(x), logits.shape[1])
    squares = squared_norms(model, x, y)
    each = torch.stack([s.double() for s in squares.values()]).sum(0)
    with borrowed(model), torch.enable_grad():
        weights = [p for p in model.parameters() if p.requires_grad]
        loss = nn.functional.cross_entropy(logits_of(model(x)), y)
        mean = torch.autograd.grad(loss, weights)
    length = sum(float(g.double().square().sum()) for g in mean)
    return max(0.0, float(each.mean()) - length)
