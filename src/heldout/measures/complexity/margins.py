"""The margin by which training examples are classified."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from heldout.core.errors import InputError
from heldout.measures.complexity._examples import refuse_labels

LEAST_ACCURACY = 0.9
"""Training accuracy below which the tenth percentile of the margins is a mistake's."""


def margins(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Logit of the label minus the largest other one; negative for a mistake.

    Raises:
        InputError: labels that are no class ids of these logits.

    >>> margins(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1])).tolist()
    [1.0]
    """
    refuse_labels(labels, len(logits), logits.shape[1])
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)


def percentile_margin(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"], share: float = 0.1
) -> float:
    """The margin that a tenth of the training examples do not exceed (Jiang et al. 2020, eq. 22).

    The `floor(share n)`-th smallest, at least the first.

    DIFFERS: a margin of zero or less is refused; the public reimplementation takes its absolute
    value, by which a worse mistake counts as a larger margin.

    Raises:
        InputError: training accuracy is below 0.9, the margin is not positive, or labels that are
            no class ids of these logits.

    >>> percentile_margin(torch.tensor([[2.0, 0.0]] * 9 + [[5.0, 0.0]]), torch.zeros(10).long())
    2.0
    """
    found = margins(logits.double(), labels)
    right = float((found > 0).double().mean())
    margin = float(found.kthvalue(max(1, int(share * len(found)))).values)
    if right < LEAST_ACCURACY or margin <= 0:
        raise InputError(
            f"training accuracy {right:.3f} and a margin of {margin:.3g}",
            f"training accuracy of at least {LEAST_ACCURACY}, and a positive margin",
            "train on, or leave these measures out: without=('margin',)",
        )
    return margin
